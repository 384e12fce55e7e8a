"""Ctrl-C, SIGTERM and SIGUSR1 as wishes that the training loop looks at between steps, and samplers between theirs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_STOP = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVE = ("SIGUSR1",)


class StopAsked(BaseException):
    """A signal asked to stop, and what was being done can be left: whoever does it catches this.

    No Exception, like KeyboardInterrupt: code that makes do with any error must not take it for one.
    """


class Signals:
    """While entered, signals set flags instead of ending the process; a second Ctrl-C ends it at once.

    Outside the main thread Python delivers no signals, and this does nothing.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        """Number of the signal that asked to stop."""
        self.save = False
        """True where a checkpoint was asked for (SIGUSR1)."""
        self._at_once = False
        self._before: dict[int, object] = {}
        self._owner = os.getpid()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in (*_STOP, *_SAVE):
                number = getattr(signal, name, None)
                if number is not None:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def heed(self) -> None:
        """Raise StopAsked if a stop was asked for."""
        if self.stop is not None:
            raise StopAsked

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While entered, a wish to stop raises StopAsked wherever the program is; for what may be left anywhere."""
        self._at_once = True
        try:
            self.heed()  # now and not before, or a wish would fall between
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a worker process: its parent decides
            return
        if number in {getattr(signal, name, None) for name in _SAVE}:
            self.save = True
        elif self.stop is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.stop = number
            if self._at_once:
                self._at_once = False  # what cleans up is left alone
                raise StopAsked
