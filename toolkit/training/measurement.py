"""One measurement of the loss at fixed noise (held_out.py), as a line of metrics.jsonl, and how two of them differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from toolkit.errors import UsageError
from toolkit.training.difference import Difference
from toolkit.training.storage.files import read_capped

MAX_NUMBERS = 10_000
"""Examples of one measurement that are read."""
MAX_BYTES = 256 << 20
"""Size of metrics.jsonl up to which it is read."""
MAX_LEVELS = 64
_KINDS = ("held_out", "trained", "floor")


class Level(NamedTuple):
    """Mean losses in one bin of noise levels; None where they are not known."""

    noise: float
    """sigma / alpha in its middle."""
    held_out: float | None
    trained: float | None
    floor: float | None


@dataclass(frozen=True)
class Measurement:
    """Losses of the averaged weights at one step, to six digits: what a line of metrics.jsonl holds."""

    step: int
    held_out: tuple[float, ...]
    """Mean loss over noise levels of each held-out example; empty where too few are held out."""
    trained: tuple[float, ...]
    """Mean loss of each of a few training examples."""
    draws: int
    """Noise levels for each example."""
    floor: float | None = None
    """The least mean loss that training examples can have (floor.py), of these and more; None where it is not known."""
    levels: tuple[Level, ...] = ()
    floor_each: tuple[float, ...] = ()
    """The least mean loss of each of the training examples."""
    verdict: str = ""
    """A sentence on the run, in the measurement at its end."""

    @property
    def each(self) -> Tensor:
        """The losses that decide, (n,) float64: of held-out examples, or of training examples where none are."""
        return torch.tensor(self.held_out or self.trained, dtype=torch.float64)

    @property
    def loss(self) -> float:
        """Mean of `each`."""
        return float(self.each.mean())

    def to_mapping(self) -> dict[str, Any]:
        """One line of metrics.jsonl."""
        held_out, trained = _mean(self.held_out), _mean(self.trained)
        return {
            "step": self.step,
            "held_out": held_out[0],
            "held_out_error": held_out[1],
            "trained": trained[0],
            "trained_error": trained[1],
            "floor": self.floor,
            "levels": [level._asdict() for level in self.levels],
            "draws": self.draws,
            "each": {"held_out": list(self.held_out), "trained": list(self.trained), "floor": list(self.floor_each)},
            **({"verdict": self.verdict} if self.verdict else {}),
        }


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error."""
    each = torch.tensor(values, dtype=torch.float64)
    error = _six(float(each.std()) / math.sqrt(len(each))) if len(each) > 1 else None
    return (_six(float(each.mean())) if len(each) else None), error


def measurement(
    step: int, held_out: Tensor, trained: Tensor, floor: Tensor | None = None, levels: Sequence[Level] = ()
) -> Measurement:
    """Make a measurement from losses (n, draws) of each kind, which may have no rows; round as the file does.

    `floor`: (m, draws), the first of them of the training examples.
    """
    least = trained[:0] if floor is None else floor[: len(trained)]
    rows = [tuple(_six(value) for value in losses.double().mean(1).tolist()) for losses in (held_out, trained, least)]
    rounded = tuple(Level(*(None if value is None else _six(value) for value in level)) for level in levels)  # type: ignore[arg-type]
    mean = None if floor is None else _six(float(floor.mean()))
    return Measurement(step, rows[0], rows[1], held_out.shape[1], mean, rounded, rows[2])


def read(lines: Iterable[str | bytes]) -> list[Measurement]:
    """The measurements among the lines of metrics.jsonl, steps ascending; damaged ones are skipped.

    A step that comes again, after a rollback, replaces itself and those after it.
    """
    series: list[Measurement] = []
    for line in lines:
        if (entry := _parse(line)) is not None:
            while series and series[-1].step >= entry.step:
                series.pop()
            series.append(entry)
    return series


def _parse(line: str | bytes) -> Measurement | None:
    if (b'"each"' if isinstance(line, bytes) else '"each"') not in line:  # type: ignore[operator]
        return None
    try:
        entry = json.loads(line)
        step, draws, each, text = entry["step"], entry["draws"], entry["each"], entry.get("verdict", "")
        rows = [_numbers(each[name]) for name in ("held_out", "trained", "floor")]
        levels = [
            Level(_number(level["noise"]), *map(_optional_number, (level[k] for k in _KINDS)))
            for level in entry["levels"]
        ]
        floor = _optional_number(entry["floor"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    whole = type(step) is int and type(draws) is int and isinstance(text, str) and len(levels) <= MAX_LEVELS
    if not whole or step < 0 or draws < 1 or not (rows[0] or rows[1]):
        return None
    return Measurement(step, rows[0], rows[1], draws, floor, tuple(levels), rows[2], text)


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) > MAX_NUMBERS:
        raise ValueError
    return tuple(_number(value) for value in values)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _optional_number(value: Any) -> float | None:
    return None if value is None else _number(value)


def change(a: Measurement, b: Measurement, kind: Literal["held_out", "trained"] | None = None) -> Difference:
    """Return the change from a to b on common examples; `kind`: None for the one that decides. Raises ValueError."""
    first, second = (m.each if kind is None else torch.tensor(getattr(m, kind), dtype=torch.float64) for m in (a, b))
    n = min(len(first), len(second))
    return Difference.between(first[:n], second[:n])


def best(series: Sequence[Measurement], steps: Iterable[int]) -> Measurement | None:
    """The newest measurement at one of `steps`, unless an earlier one is significantly lower; None if there is none."""
    stored = set(steps)
    there = [m for m in series if m.step in stored]
    if not there:
        return None
    lowest = min(there, key=lambda m: m.loss)
    return lowest if change(lowest, there[-1]).low > 0 else there[-1]


def best_step(metrics: Path, steps: Sequence[int]) -> int:
    """The best of the stored `steps`, by a run's metrics.jsonl. Raises UsageError when none was measured."""
    try:
        lines = read_capped(metrics, MAX_BYTES).splitlines()
    except OSError:
        lines = []
    lowest = best(read(lines), steps)
    if lowest is None:
        known = ", ".join(map(str, steps)) or "none"
        raise UsageError(f"the held-out loss of no stored step was measured ({metrics}); name the step: {known}")
    return lowest.step


def _six(value: float) -> float:
    return float(f"{value:.6g}")
