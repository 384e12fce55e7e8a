"""Files that a run can do without: what the disk does not take is left for later, and training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.errors import StorageError
from toolkit.run.events import Note
from toolkit.run.layout import METRICS
from toolkit.training.storage.metrics import Metrics


class SpareFiles:
    """Remembers what could not be written, and says so once until it can be."""

    def __init__(self) -> None:
        self.missing: dict[str, StorageError] = {}
        """Errors for files that are not there now, by kind of file."""
        self._notes: list[str] = []

    @contextmanager
    def file(self, kind: str) -> Iterator[None]:
        """Write a file inside; StorageError ends the block and nothing else."""
        try:
            yield
        except StorageError as error:
            if kind not in self.missing:
                self._notes.append(f"{error}. Going on without it, and it is tried again later")
            self.missing[kind] = error
        else:
            self.missing.pop(kind, None)

    @contextmanager
    def statistics(self, metrics: Metrics) -> Iterator[None]:
        """Write statistics inside; what waits for the disk when the block ends is missing."""
        yield
        self.missing.pop(METRICS, None)
        if metrics.failed is not None:
            self.missing[METRICS] = metrics.failed

    def take_notes(self) -> Iterator[Note]:
        """Yield what the user should know since the last call."""
        while self._notes:
            yield Note(self._notes.pop(0))
