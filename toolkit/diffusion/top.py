"""A share of the training times for high noise, which decides the mean of a whole example, e.g. its brightness."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from toolkit.diffusion.loss import TimeDistribution, slope
from toolkit.diffusion.schedule import Schedule, wide

KNOTS = 256
"""Intervals that bracket the inverse before regula falsi."""


class Topped(TimeDistribution):
    """A mixture of `base` and, with probability `share`, log(sigma / alpha) uniform between `low` and `high`.

    Logit-normal times have a probability of 1e-5 above sigma / alpha = 70, where the brightness of a picture of 64
    pixels a side is as strong as the noise. The range ends where the schedule does; on a chain, where distributions
    are over its steps, nothing is added.
    """

    def __init__(self, base: TimeDistribution, share: float = 0.05, low: float = 1.0, high: float = 100.0) -> None:
        """`low`, `high`: levels sigma / alpha. Raises ValueError."""
        if not 0 < share < 1 or not 0 < low < high < math.inf:
            raise ValueError(f"0 < share < 1 and 0 < low < high expected, got {share}, {low} and {high}")
        self.base, self.share, self.low, self.high = base, share, low, high

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Invert `below`: outside the range by the base's own inverse, inside it numerically, to rounding."""
        ends = self._ends(schedule)
        if ends is None:
            return self.base.time(u, schedule)
        u = wide(u)
        levels = torch.linspace(*ends, KNOTS + 1, dtype=u.dtype, device=u.device)
        knots = schedule.time(-2 * levels)
        reached = self._below(knots, schedule, ends)
        # the base alone, on both sides of the range
        outside = torch.where(u < reached[0], u, u - self.share) / (1 - self.share)
        t = self.base.time(outside.clamp(0, 1), schedule)
        inside = (u >= reached[0]) & (u <= reached[-1])
        if bool(inside.any()):
            t[inside] = self._solve(u[inside], knots, reached, schedule, ends)
        return t

    def _solve(
        self, u: Tensor, knots: Tensor, reached: Tensor, schedule: Schedule, ends: tuple[float, float]
    ) -> Tensor:
        place = (torch.searchsorted(reached, u, right=True) - 1).clamp(0, KNOTS - 1)
        left, right = knots[place], knots[place + 1]
        before, now = left, right
        under, over = reached[place] - u, reached[place + 1] - u
        for _ in range(7):
            # regula falsi; an end that stays counts half (Dowell and Jarratt 1971, the Illinois algorithm)
            t = torch.where(over == under, now, (before * over - now * under) / (over - under))
            excess = self._below(t, schedule, ends) - u
            crossed = excess * over < 0
            before, under = torch.where(crossed, now, before), torch.where(crossed, over, under / 2)
            now, over = t, excess
        return now

    def density(self, t: Tensor, schedule: Schedule) -> Tensor:
        base = self.base.density(t, schedule)
        ends = self._ends(schedule)
        if ends is None:
            return base
        level = -schedule.log_snr(t) / 2
        inside = (level >= ends[0] - 1e-9) & (level <= ends[1] + 1e-9)
        top = torch.where(inside, slope(schedule, t) / 2 / (ends[1] - ends[0]), 0.0)
        return (1 - self.share) * base + self.share * top

    def below(self, t: Tensor, schedule: Schedule) -> Tensor:
        ends = self._ends(schedule)
        return self.base.below(t, schedule) if ends is None else self._below(t, schedule, ends)

    def _below(self, t: Tensor, schedule: Schedule, ends: tuple[float, float]) -> Tensor:
        base = self.base.below(t, schedule)
        top = ((-schedule.log_snr(t) / 2 - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)
        return (1 - self.share) * base + self.share * top

    def _ends(self, schedule: Schedule) -> tuple[float, float] | None:
        """Return the logarithms of the lowest and highest level within the schedule; None if there is none."""
        if schedule.T:
            return None
        least, most = schedule.noise_ratio(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        low, high = max(self.low, least), min(self.high, most)
        return (math.log(low), math.log(high)) if low < high else None

    def fresh(self) -> Topped:
        return Topped(self.base.fresh(), self.share, self.low, self.high)

    def observe(self, t: Tensor, uncertainty: Tensor, schedule: Schedule) -> None:
        self.base.observe(t, uncertainty, schedule)

    def state(self) -> dict[str, object]:
        return self.base.state()

    def restore(self, state: Mapping[str, object]) -> None:
        self.base.restore(state)


def without_top(times: TimeDistribution | None) -> TimeDistribution | None:
    """Return the distribution of training times without the share for high noise."""
    return times.base if isinstance(times, Topped) else times
