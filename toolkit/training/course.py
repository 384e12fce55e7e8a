"""Progress of a training whose length is corrected on the way; the learning rate follows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Course:
    """Progress as an exact function of the step: straight from where it is at the step of each plan to 1 at its end.

    So a correction bends the course and never makes it jump, and the record of all plans gives it again, bit for bit.
    """

    plans: tuple[tuple[int, int], ...]
    """(from this step on, steps in all), the steps ascending and the first one 0."""

    @classmethod
    def of(cls, steps: int) -> Course:
        """Return the course without a correction: step / steps."""
        return cls(((0, steps),))

    @classmethod
    def read(cls, pairs: Iterable[Iterable[int]]) -> Course:
        """Return the course of `plans` from JSON. Raises ValueError when they are no course."""
        try:
            plans = tuple((int(start), int(end)) for start, end in pairs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"no course of a training: {error}") from None
        starts = [start for start, _ in plans]
        if not plans or starts[0] != 0 or starts != sorted(starts) or any(end < start for start, end in plans):
            raise ValueError("the plans of a training's course are out of order")
        return cls(plans)

    @property
    def steps(self) -> int:
        """Steps in all, by the last plan."""
        return self.plans[-1][1]

    def progress(self, step: float) -> float:
        """Return the progress after `step` steps, in [0, 1]."""
        done = 0.0
        for (start, end), (until, _) in zip(self.plans, (*self.plans[1:], (step, 0)), strict=True):
            if step > start or step == start == end:
                share = (min(step, until) - start) / (end - start) if end > start else 1.0
                done += (1 - done) * min(1.0, share)
        return done

    def correct(self, step: int, steps: int) -> Course:
        """Return this course up to `step`, and from there straight to 1 at `steps` >= step."""
        plans = tuple(plan for plan in self.plans if plan[0] < step)
        return Course((*plans, (step, steps))) if step else Course.of(steps)
