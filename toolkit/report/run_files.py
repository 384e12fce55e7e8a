"""The files of a run folder, read without trust: links are not followed, sizes are capped, damage is skipped."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from toolkit.errors import BusyError, ToolkitError
from toolkit.run.layout import METRICS
from toolkit.training import measurement
from toolkit.training.measurement import Measurement
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.storage.lock import RunLock
from toolkit.training.storage.manifest import Damaged, Manifest, read_manifest
from toolkit.training.storage.metrics import entries

MAX_BYTES = 64 << 20
"""Bytes of one file that are read."""
SHOWN = 12
"""Files of one folder that are listed by name."""


@dataclass(frozen=True)
class Line:
    """One line of metrics.jsonl."""

    step: int
    loss: float | None
    """Mean since the line before; None where nothing was finite."""
    lr: float | None
    grad_norm: float | None
    seconds: float | None
    """Seconds of this one step."""


def content(run: Path, path: Path, most: int = MAX_BYTES) -> bytes | None:
    """The bytes of a regular file inside `run`, or None: not there, a link or device, elsewhere, too large."""
    try:
        info = os.lstat(path)
        inside = path.resolve().is_relative_to(run.resolve())
        if not stat.S_ISREG(info.st_mode) or not inside or info.st_size > most:
            return None
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError):
        return None


def json_of(run: Path, path: Path) -> Any:
    """Return the content of a JSON file, or None."""
    data = content(run, path, 4 << 20)
    try:
        return None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None


def number(value: object) -> float | None:
    """A finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def metrics(run: Path) -> list[Line]:
    """The lines of metrics.jsonl on single steps that go up; what is damaged is skipped."""
    lines: list[Line] = []
    for _, entry in entries(content(run, run / METRICS) or b"")[0]:
        step = None if "each" in entry else number(entry["step"])
        if step is not None and step > (lines[-1].step if lines else -1):
            lines.append(Line(int(step), *(number(entry.get(key)) for key in ("loss", "lr", "grad_norm", "seconds"))))
    return lines


def damaged_lines(run: Path) -> int:
    """Return how many lines of metrics.jsonl cannot be read."""
    return entries(content(run, run / METRICS) or b"")[1]


def measurements(run: Path) -> list[Measurement]:
    """The loss at fixed noise in metrics.jsonl, steps ascending; what is damaged is skipped."""
    return measurement.read((content(run, run / METRICS) or b"").splitlines())


def training_seconds(lines: list[Line]) -> float | None:
    """Time in optimiser steps: each line's step stands for those since the line before."""
    before, total = 0, 0.0
    for line in lines:
        if line.seconds is not None:
            total += line.seconds * (line.step - before)
            before = line.step
    return total if before else None


def newest_checkpoint(run: Path) -> tuple[Path, Manifest] | None:
    """The last checkpoint that looks whole (its weights are not hashed)."""
    store = CheckpointStore(run / "checkpoints")
    try:
        steps = store.steps()
    except ToolkitError:
        return None
    for step in reversed(steps):
        for folder in sorted(store.folder.glob(f"step-{step:08d}*"), key=lambda path: (len(path.name), path.name))[
            ::-1
        ]:
            try:
                return folder, read_manifest(folder, step)
            except (Damaged, ToolkitError):
                continue
    return None


def parameter_count(folder: Path, width: float) -> int | None:
    """Numbers in a checkpoint's average of `width`: parameters are averaged, and nothing else is."""
    prefix = f"{width:g}/"
    try:
        with safetensors.safe_open(str(folder / "ema.safetensors"), "np") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118, it is no dict
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names) or None
    except Exception:  # a stranger's file can make the parser raise nearly anything
        return None


def in_use(run: Path) -> bool:
    """Return True where another process is training in `run` now. The lock that a killed one left is removed."""
    if not (run / "lock").exists():
        return False
    try:
        with RunLock(run):
            return False
    except BusyError:
        return True
    except ToolkitError:
        return False


def files(run: Path, ours: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """(name, bytes) of what is in the run but for `ours` at its top; a folder of many files is one row."""
    return [row for row in _files(run, "") if row[0] not in ours]


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    waiting = [(folder, prefix)]  # a list and no recursion: a stranger's run may be deeper than Python's stack
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                files = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        plain, below = [], []
        for entry in files:
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append((folder / entry.name, f"{prefix}{entry.name}/"))
                else:
                    plain.append((f"{prefix}{entry.name}", entry.stat(follow_symlinks=False).st_size))
            except OSError:
                continue  # a training that still runs has moved on
        if len(plain) > SHOWN and prefix:
            yield f"{prefix} ({len(plain):,} files)", sum(size for _, size in plain)
        else:
            yield from plain
        waiting += reversed(below)
