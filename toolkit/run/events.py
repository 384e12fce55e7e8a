"""Events of a training, for whoever iterates over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """A step was taken."""

    step: int
    total: int
    loss: float
    """Mean since the last event of this kind that was logged; smooth enough to read."""
    per_second: float
    """Examples."""
    seconds_left: float
    lr: float
    held_out: float | None = None
    """Last measured loss of held-out examples at fixed noise, under the averaged weights; None: not measured yet."""
    floor: float | None = None
    """The least that it can be in expectation, or None where that is not known."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class Preview:
    """A picture of samples was written."""

    path: Path
    lines: list[str]
    """The samples, where they can be read."""


@dataclass(frozen=True)
class Note:
    """Something the user should know, in one line."""

    text: str


@dataclass(frozen=True)
class Finished:
    """Training is over; `pictures[0]` is the one to look at."""

    run: Path
    pictures: list[Path]


Event = Progress | Saved | Preview | Note | Finished
