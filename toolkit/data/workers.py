"""Processes that do what may crash, such as decoders of foreign files, so that a crash costs one request.

A process is this Python with one module and little beside it. It is started and not forked, for torch's threads are
running here; it takes and gives JSON and bytes (`toolkit.data.worker`), so nothing is unpickled. It has a session of
its own, so that Ctrl-C reaches it through us alone, and it ends when its input does: with us, however we end.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from toolkit.data.worker import HEADER, Answer
from toolkit.errors import ToolkitError

_START = "import sys; sys.path[:] = sys.argv[2:]; from toolkit.data.worker import main; main(sys.argv[1])"
_START_SECONDS = 60.0
_END_SECONDS = 5.0
"""Time for which a killed process is waited for; one that waits for a dead disk cannot end."""
_TRIES = 2
"""Processes that a request may end: the first may have been damaged by what it did before."""
_MOST_TEXT = 1 << 24


class NoAnswer(ToolkitError):
    """Reason why a request was not answered: its process crashed, or stood still and was ended."""


class _StoodStill(Exception):
    pass


class Workers:
    """Processes for the requests of several threads, one for each that asks at once.

    Where none can be started (a frozen program, a system without `poll`, a limit on processes), `answer` is called in
    the thread that asks.
    """

    def __init__(self, module: str, answer: Answer) -> None:
        """module: the one whose function is `answer`; it may be heavy only in what its packages import."""
        self._module, self._answer = module, answer
        self._lock = threading.Lock()
        self._all: list[_Process] = []
        self._idle: list[_Process] = []
        self._stopped = False
        self._possible = bool(sys.executable) and not hasattr(sys, "frozen") and hasattr(select, "poll")

    def __enter__(self) -> Workers:
        """Start a process, which is not waited for."""
        with self._lock:
            if (process := self._begin()) is not None:
                self._idle.append(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        while self._idle:
            self._idle.pop().end()

    def stop(self) -> None:
        """End all processes at once: who waits for an answer gets NoAnswer, and so does who asks from now on."""
        with self._lock:
            self._stopped = True
            for process in self._all:
                process.kill()

    def ask(self, request: dict[str, Any], still: float) -> tuple[dict[str, Any], bytearray]:
        """Return the answer to a request, and its content. Raises NoAnswer.

        still: seconds without a sign of life after which a process is ended.
        """
        why = ""
        for _ in range(_TRIES):
            process = self._take(fresh=bool(why))
            if process is None and why:
                break  # the request ended a process, and must not end this one
            if process is None:
                return self._here(request)
            answered = False
            try:
                answer = process.ask(request, still)
                answered = True
                return answer
            except _StoodStill:
                raise NoAnswer(f"its decoder stood still for {still:,.0f} s") from None
            except (EOFError, OSError, ValueError) as error:
                why = f"its decoder crashed{process.signal() if isinstance(error, EOFError | OSError) else ''}"
            finally:
                self._give_back(process) if answered else self._lose(process)
        raise NoAnswer(why)

    def _here(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        content = bytearray()
        answer = self._answer(request, content.extend)
        return json.loads(json.dumps(answer)), content

    def _take(self, fresh: bool) -> _Process | None:
        """Return a process that is ready, or a new one; None where there can be none. Raises NoAnswer after `stop`."""
        with self._lock:
            if self._stopped:
                raise NoAnswer("reading was stopped")
            process = self._idle.pop() if self._idle and not fresh else self._begin()
        if process is None or process.is_ready():
            return process
        self._lose(process)
        self._possible = False
        return self._take(fresh)

    def _begin(self) -> _Process | None:
        if not self._possible:
            return None
        try:
            process = _Process(self._module)
        except (OSError, ValueError, subprocess.SubprocessError):
            self._possible = False
            return None
        self._all.append(process)
        return process

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            self._idle.append(process)

    def _lose(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._all.remove(process)


class _Process:
    """One process, used by one thread at a time; `kill` alone may be called from any."""

    def __init__(self, module: str) -> None:
        paths = [path for path in sys.path if isinstance(path, str)]
        self._popen = subprocess.Popen(
            [sys.executable, "-c", _START, module, *paths, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # threads nobody needs cost time
            start_new_session=True,
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._in, self._out = self._popen.stdin, self._popen.stdout
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._buffer = bytearray()
        self._ready = False

    def is_ready(self) -> bool:
        """Return True, once it is; False where it ends or stands still instead."""
        if not self._ready:
            with contextlib.suppress(EOFError, OSError, ValueError, _StoodStill):
                self._answer(_START_SECONDS)
                self._ready = True
        return self._ready

    def ask(self, request: dict[str, Any], still: float) -> tuple[dict[str, Any], bytearray]:
        """Return the answer. Raises _StoodStill, and EOFError, OSError or ValueError where the process is broken."""
        self._in.write(json.dumps(request).encode() + b"\n")
        return self._answer(still)

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._popen.kill()

    def signal(self) -> str:
        """Return the signal by which it ends, " (SIGSEGV)"; empty where there is none."""
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            code = self._popen.wait(_END_SECONDS)
            return f" ({signal.Signals(-code).name})" if code < 0 else ""
        return ""

    def end(self) -> None:
        self.kill()
        self._in.close()
        self._out.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_END_SECONDS)

    def _answer(self, still: float) -> tuple[dict[str, Any], bytearray]:
        content = bytearray()
        while True:
            text, size = HEADER.unpack(self._receive(HEADER.size, still))
            if text > _MOST_TEXT:
                raise ValueError("no such answer")
            about = self._receive(text, still)
            content += self._receive(size, still)
            if text:
                return json.loads(about), content

    def _receive(self, size: int, still: float) -> bytearray:
        while len(self._buffer) < size:
            if not self._poll.poll(min(still * 1000, 2**31 - 1)):
                raise _StoodStill
            part = os.read(self._out.fileno(), 1 << 16)
            if not part:
                raise EOFError
            self._buffer += part
        result = self._buffer[:size]
        del self._buffer[:size]
        return result
