"""A time budget that corrects itself: how many steps still fit is asked again and again, of the steps just taken.

A plan that is made once is as wrong as the moment it was made in: another program beside it, a processor that gets
hot, a suspended laptop. Here the number of steps follows the clock, and the learning rate follows the share of the
budget that is used (course.py).
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable

MARKS = (
    *(0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.85),
    *(0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995),
)
"""Shares of what is left when a session begins, after which the plan is made again; beyond 1, each hundredth."""
GRACE = 0.03
"""Share of the budget, times the missing progress: where time ran out in one leap, the learning rate still falls to 0
in so much more."""
KEPT = 16
"""Steps before a correction that count for the next one, where fewer came since: one pool of `Batches`."""
PASSES = 3
"""Network calls that a training step takes as long as: forward, and twice that backward."""


class Budget:
    """Counts the time of a run over all its sessions, and says how many steps fit into the rest.

    Each kind of work is booked when it ends, with the time since what was booked before. Time while the run is stopped
    does not count.
    """

    def __init__(self, seconds: float | None, spent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`seconds`: of the whole run; None: time is counted and nothing is planned. `spent`: by earlier sessions."""
        self.seconds = seconds
        self.spent = spent
        self._began_at = spent
        self._clock = clock
        self._last = clock()
        self._steps: list[float] = []
        """Seconds of each step since the last correction, and of a few before."""
        self._marks = 0
        """Passed in this session."""
        self._first: float | None = None
        """Progress when this session began."""
        self._pictures = 0
        self._drawn, self._drawing = 0.0, 0.0
        """Steps' worth of network calls in pictures, and what they took in steps' time."""
        self.last_save = 0.0
        """Seconds of the last checkpoint."""

    def lap(self) -> float:
        """Book what was done since the last call; returns its seconds."""
        now = self._clock()
        took, self._last = now - self._last, now
        self.spent += took
        return took

    def count_step(self) -> None:
        """A training step was taken."""
        self._steps.append(self.lap())

    def count_save(self) -> None:
        """A checkpoint was written."""
        self.last_save = self.lap()

    def count_pictures(self, work: float) -> None:
        """A picture was drawn that should have taken the time of `work` steps."""
        took = self.lap()
        self._pictures += 1
        # the first one loads what draws, once, and says nothing of the next
        if self._steps and self._pictures > 1:
            self._drawn += work
            self._drawing += took / self.per_step()

    def per_step(self) -> float:
        """Mean seconds of the last steps; the longest of them is left out, since it may have been a pause."""
        longest = max(self._steps) if len(self._steps) > 2 else 0.0
        return max(1e-9, (sum(self._steps) - longest) / (len(self._steps) - (longest > 0)))

    def seconds_left(self) -> float:
        """Seconds that are not used yet; infinite without a budget."""
        return math.inf if self.seconds is None else self.seconds - self.spent

    def steps_left(self, progress: float, pictures: float, save_every: float) -> int | None:
        """Steps that still fit after progress in [0, 1] with `pictures` to be drawn, in steps' worth of network calls,
        and a checkpoint every `save_every` seconds and at the end; None while the plan stands.
        """
        if self.seconds is None or len(self._steps) < 2 or not self._mark(progress):
            return None
        per_step = self.per_step()
        slower = self._drawing / self._drawn if self._drawn else 1.0
        usable = self.seconds_left() - pictures * slower * per_step - self.last_save
        usable -= max(0.0, usable) / (save_every + self.last_save) * self.last_save
        usable = max(usable, GRACE * (1 - progress) * self.seconds)
        self._steps = self._steps[-KEPT:]
        return int(usable / per_step)

    def _mark(self, progress: float) -> bool:
        """Return True where a mark was passed since the last one, by the clock or by the steps."""
        assert self.seconds is not None
        if self._first is None:
            self._first = progress
        used = (self.spent - self._began_at) / max(self.seconds - self._began_at, 0.01 * self.seconds)
        done = (progress - self._first) / max(1 - self._first, 1e-9)
        passed = bisect_right(MARKS, max(used, done)) + max(0, int(100 * (used - 1)))
        fresh, self._marks = passed > self._marks, max(passed, self._marks)
        return fresh
