"""The numbers of a run, a line every few steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import StorageError, ToolkitError
from toolkit.training.loop import StepResult
from toolkit.training.measurement import MAX_BYTES, Measurement
from toolkit.training.storage.files import Growing, read_capped, write_bytes_atomic

HELD = 10_000
"""Lines that wait for a disk to take them."""


def entries(data: bytes) -> tuple[list[tuple[bytes, dict[str, Any]]], int]:
    """Return the lines of metrics.jsonl with what they say, and how many are damaged: cut, not JSON, without a step."""
    good, damaged = [], 0
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            whole = isinstance(entry, dict) and type(entry.get("step")) is int
        except (ValueError, RecursionError):  # bytes that are no UTF-8 are a ValueError too
            whole = False
        if whole:
            good.append((line, entry))
        else:
            damaged += 1
    return good, damaged


def content(path: Path) -> bytes:
    """Return what is in metrics.jsonl, b"" where it is missing. Raises ToolkitError for a file that cannot be it."""
    if not path.is_file():
        return b""
    try:
        return read_capped(path, MAX_BYTES)
    except OSError as error:
        raise ToolkitError(f"{path} cannot be read ({error.strerror}); move it away, training can do without") from None


def damage_line(damaged: int, path: Path) -> str:
    """Return the line about damaged lines."""
    return f"lines of {path} that cannot be read and are left out: {damaged:,}"


class Metrics:
    """metrics.jsonl: one object a line, cut back to the resumed step when opened.

    A disk that takes no more costs the training nothing: lines wait until it does, which is said once.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.loss: float | None = None
        """Mean loss in the last line."""
        self.failed: StorageError | None = None
        """Error that makes lines wait for the disk, or None where none do."""
        self._notes: list[str] = []
        self._file: Growing | None = None
        before = content(path)
        good, damaged = entries(before)
        if damaged:
            self._notes.append(damage_line(damaged, path))
        kept = b"".join(line + b"\n" for line, entry in good if entry["step"] <= step)
        self._anew: bytes | None = None if kept == before and path.is_file() and not path.is_symlink() else kept
        """The content of the file at the start, until it is there."""
        self._waiting: list[bytes] = []

    def __enter__(self) -> Metrics:
        self._put()
        return self

    def __exit__(self, *_: object) -> None:
        self._put()
        if self._file is not None:
            self._file.close()

    def take_notes(self) -> list[str]:
        """Return what the user should know since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def write(self, result: StepResult, losses: Sequence[float]) -> None:
        """One line: the mean loss since the line before, and the facts of this step; null where not finite."""
        finite = [value for value in losses if math.isfinite(value)]
        self.loss = sum(finite) / len(finite) if finite else None
        norm = result.grad_norm if math.isfinite(result.grad_norm) else None
        facts = {"step": result.step, "loss": self.loss, "lr": result.lr, "grad_norm": norm}
        self._add({**facts, "seconds": round(result.seconds, 4)})

    def add_measurement(self, measurement: Measurement) -> None:
        """One line of the loss at fixed noise, with what each example cost (convergence.read)."""
        self._add(measurement.to_mapping())

    def _add(self, line: dict[str, Any]) -> None:
        self._waiting = [*self._waiting[-HELD:], json.dumps(line).encode() + b"\n"]
        self._put()

    def _put(self) -> None:
        """Write what waits, if the disk takes it."""
        try:
            if self._anew is not None:
                write_bytes_atomic(self.path, self._anew)
                self._anew = None
            if self._file is None:
                self._file = Growing(self.path)
            if self._waiting:
                self._file.add(b"".join(self._waiting))
                self._waiting.clear()
        except StorageError as error:
            if self.failed is None:
                self._notes.append(f"{error}. Training goes on, and the lines are tried again later")
            self.failed = error
            return
        if self.failed is not None:
            self._notes.append(f"{self.path} is written again, with all its lines")
        self.failed = None
