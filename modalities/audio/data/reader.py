"""Sound files by way of processes of their own, so that a crash of a codec costs one file and its warnings nobody."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from modalities.audio.data import worker
from modalities.audio.data.decode import About
from modalities.audio.data.measure import Measured
from modalities.audio.data.treatment import Treatment
from toolkit.console import printable
from toolkit.data import store
from toolkit.data.listing import Entry
from toolkit.data.workers import NoAnswer, Workers
from toolkit.errors import DataError, StorageError

MODULE = worker.__name__
_STILL_SECONDS, _SLOWEST = 60.0, 100_000
"""Seconds, and bytes that even a slow disk gives in one."""
_FEW, _SMALL = 256, 4 << 20
"""Files, and their bytes, below which a second process would take longer to start than it saves."""
_COPIED = 1 << 22
_AT_ONCE = 8


def still_seconds(size: int) -> float:
    """Return the time without a block after which the decoder of a file of `size` bytes stands still."""
    return _STILL_SECONDS + size / _SLOWEST


class Sound(NamedTuple):
    """One file that is ready for the cache."""

    frames: int
    measured: Measured
    held: bytearray | None
    """Its samples, little-endian int16; None where `path` has them."""
    path: Path

    def blocks(self) -> Iterator[bytes | bytearray]:
        if self.held is not None:
            yield self.held
            return
        with self.path.open("rb") as file:
            while part := file.read(_COPIED):
                yield part


class Reader:
    """Processes that read sounds while it is entered. They read ahead, and give what is read in order."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        """entries: those that will be read; of few small ones one process makes less work."""
        few = len(entries) < _FEW and sum(entry.size for entry in entries) < _SMALL
        self._many = {"most": 1} if few else {}
        self._workers = Workers(MODULE, worker.answer)

    def __enter__(self) -> Reader:
        self._workers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.__exit__(kind, error, trace)

    def headers(self, entries: Sequence[Entry]) -> Generator[tuple[Entry, About | None], None, None]:
        """Yield each entry with its header, None where it has none."""

        def header(entry: Entry) -> About | None:
            try:
                answer, _ = self._ask("header", entry.path, entry.size)
            except NoAnswer:
                return None
            return None if answer["header"] is None else About(*answer["header"])

        return store.in_order(header, entries, _AT_ONCE, stop=self._workers.stop, **self._many)

    def prepare_all(
        self, entries: Sequence[Entry], treatment: Treatment, staging: Path
    ) -> Generator[tuple[Entry, Sound | str], None, None]:
        """Yield each entry with its sound, or the reason why it cannot be used; long ones are in files in `staging`.

        Raises StorageError.
        """

        def sound(entry: Entry) -> Sound | str:
            scratch = staging / f"{uuid.uuid4().hex}.f32"
            rest = {"name": printable(entry.name), "treatment": treatment, "scratch": worker.path_to(scratch)}
            try:
                answer, content = self._ask("prepare", entry.path, entry.size, **rest)
            except NoAnswer as error:
                scratch.unlink(missing_ok=True)
                return str(error)
            if "storage" in answer:
                raise StorageError(answer["storage"])
            if "rejected" in answer:
                return str(answer["rejected"])
            held = content if answer["held"] else None
            return Sound(answer["frames"], Measured.of(answer["measured"]), held, scratch)

        return store.in_order(sound, entries, stop=self._workers.stop, **self._many)

    def read(self, path: Path, rate: int, channels: int) -> np.ndarray:
        """Return a whole sound as (frames, channels) float32. Raises DataError."""
        size = path.stat().st_size if path.is_file() else 0
        try:
            answer, content = self._ask("read", path, size, rate=rate, channels=channels)
        except NoAnswer as error:
            raise DataError(f"{path} cannot be read: {error}") from None
        if "error" in answer:
            raise DataError(answer["error"])
        return np.frombuffer(content, np.float32).reshape(-1, channels)

    def _ask(self, do: str, path: Path, size: int, **rest: object) -> tuple[dict[str, Any], bytearray]:
        request = {"do": do, "path": worker.path_to(path), **rest}
        return self._workers.ask(request, still_seconds(size))


def read(path: Path, rate: int, channels: int) -> np.ndarray:
    """Return one sound as (frames, channels) float32 at `rate` Hz. Raises DataError."""
    with Reader() as reader:
        return reader.read(path, rate, channels)
