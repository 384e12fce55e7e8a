"""A time distribution that learns, while a network trains, which noise levels teach most."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from toolkit.diffusion.loss import TimeDistribution, slope
from toolkit.diffusion.schedule import Schedule

SHARPEST = 30.0
"""Maximum density of a bin, as a multiple of the mean density."""
MAX_BINS = 4_096
FAINT = 1e-3
"""Minimum decayed example count of a bin before it is used."""


class Adaptive(TimeDistribution):
    """log(sigma / alpha) with a density in proportion to the slope of the loss over it (Dieleman et al. 2022, CDCD).

    Where the loss rises from one noise level to the next, information is lost there; where it is flat, all is learned
    already or nothing can be learned. The averaged quantity is `Denoiser.uncertainty`, which rises with the noise: the
    cross-entropy of tokens, the squared error of x_hat. `bins` equal bins between `low` and `high` hold a running mean
    each, of about the last `horizon` steps; isotonic regression makes the means rise, and their slopes are smoothed.
    A share `mix` of the density remains that of the initial distribution: log-normal with median `middle`.
    """

    def __init__(
        self,
        low: float = 0.01,
        high: float = 100.0,
        middle: float = 0.6,
        std: float = 1.2,
        bins: int = 64,
        mix: float = 0.1,
        warmup: int = 200,
        horizon: int = 300,
    ) -> None:
        """`low`, `middle`, `high`: levels sigma / alpha; `warmup`: steps before it adapts. Raises ValueError."""
        if not 0 < low < middle < high < math.inf:
            raise ValueError(f"0 < low < middle < high expected, got {low}, {middle} and {high}")
        if not 4 <= bins <= MAX_BINS or not 0 < mix <= 1 or std <= 0 or horizon < 1:
            raise ValueError(f"4 <= bins <= {MAX_BINS}, 0 < mix <= 1, std > 0 and horizon >= 1 expected")
        self.low, self.high, self.bins, self.mix = low, high, bins, mix
        self.warmup, self.horizon = warmup, horizon
        self.edges = torch.linspace(math.log(low), math.log(high), bins + 1, dtype=torch.float64)
        below = torch.special.ndtr((self.edges - math.log(middle)) / std)
        self.initial = below.diff() / (below[-1] - below[0])
        self.total = torch.zeros(bins, dtype=torch.float64)
        self.count = torch.zeros(bins, dtype=torch.float64)
        self.steps = 0

    def fresh(self) -> Adaptive:
        copy = Adaptive.__new__(Adaptive)
        copy.__dict__.update(self.__dict__)
        copy.total, copy.count, copy.steps = self.total.clone(), self.count.clone(), self.steps
        return copy

    def observe(self, t: Tensor, uncertainty: Tensor, schedule: Schedule) -> None:
        keep = 1 - 1 / self.horizon
        place = self._bin(-schedule.log_snr(t.cpu()) / 2)
        value = uncertainty.detach().double().cpu()
        fine = value.isfinite()
        self.total = self.total * keep + torch.zeros(self.bins, dtype=torch.float64).index_add_(
            0, place[fine], value[fine]
        )
        self.count = self.count * keep + torch.bincount(place[fine], minlength=self.bins)
        self.steps += 1

    def state(self) -> dict[str, object]:
        return {"total": self.total.tolist(), "count": self.count.tolist(), "steps": self.steps}

    def restore(self, state: Mapping[str, object]) -> None:
        total, count = (_numbers(state.get(name), self.bins) for name in ("total", "count"))
        steps = state.get("steps")
        if total is None or count is None or not isinstance(steps, int):
            raise ValueError(f"the saved state of an adaptive time distribution does not fit one of {self.bins} bins")
        self.total, self.count = total, count.clamp(min=0)
        self.steps = steps

    def shares(self) -> Tensor:
        """Return the probability of each bin: (bins,), sums to 1."""
        if self.steps < self.warmup or int((self.count > FAINT).sum()) < 3:
            return self.initial
        means = self.means()
        rise = rises(means)
        if float(rise.sum()) <= 0:
            return self.initial
        share = rise / rise.sum()
        share = (1 - self.mix) * share.clamp(max=SHARPEST / self.bins)
        return share + (1 - share.sum()) * self.initial

    def means(self) -> Tensor:
        """Return the mean uncertainty in each bin, rising: (bins,)."""
        filled = self.count > FAINT
        places = filled.nonzero()[:, 0]
        values = isotonic(self.total[filled] / self.count[filled], self.count[filled])
        # empty bins are interpolated between their neighbours
        at = torch.arange(self.bins)
        right = torch.searchsorted(places, at).clamp(max=len(places) - 1)
        left = (torch.searchsorted(places, at, right=True) - 1).clamp(min=0)
        span = (places[right] - places[left]).clamp(min=1)
        part = ((at - places[left]) / span).clamp(0, 1).double()
        return values[left] + part * (values[right] - values[left])

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        reached = torch.cat([torch.zeros(1, dtype=torch.float64), self.shares().cumsum(0)])
        reached = reached / reached[-1]
        u = u.double().cpu()
        place = (torch.searchsorted(reached, u.contiguous(), right=True) - 1).clamp(0, self.bins - 1)
        part = (u - reached[place]) / (reached[place + 1] - reached[place]).clamp(min=1e-300)
        level = self.edges[place] + part.clamp(0, 1) * (self.edges[1] - self.edges[0])
        return schedule.time(-2 * level)

    def density(self, t: Tensor, schedule: Schedule) -> Tensor:
        level = -schedule.log_snr(t) / 2
        inside = (level >= self.edges[0] - 1e-9) & (level <= self.edges[-1] + 1e-9)
        per_level = self.shares()[self._bin(level.cpu())].to(level) / float(self.edges[1] - self.edges[0])
        return torch.where(inside, per_level, 0.0) * slope(schedule, t) / 2

    def below(self, t: Tensor, schedule: Schedule) -> Tensor:
        level = -schedule.log_snr(t).cpu() / 2
        shares, place = self.shares(), self._bin(level)
        part = ((level - self.edges[place]) / (self.edges[1] - self.edges[0])).clamp(0, 1)
        return (shares.cumsum(0)[place] - shares[place] * (1 - part)).clamp(0, 1)

    def _bin(self, level: Tensor) -> Tensor:
        width = float(self.edges[1] - self.edges[0])
        return ((level.double() - self.edges[0]) / width).floor().long().clamp(0, self.bins - 1)


def rises(values: Tensor) -> Tensor:
    """Return central differences, smoothed twice by (1, 2, 1) / 4 and clamped to at least 0: (n,) -> (n,)."""
    padded = torch.cat([values[:1], values, values[-1:]])
    rise = (padded[2:] - padded[:-2]) / 2
    for _ in range(2):
        wide = torch.cat([rise[:1], rise, rise[-1:]])
        rise = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    return rise.clamp(min=0)


def isotonic(values: Tensor, weights: Tensor) -> Tensor:
    """Fit the rising sequence nearest to `values` (n,) in weighted squares, pooling neighbours (Ayer et al. 1955)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        size = 1
        while pools and pools[-1][0] >= value:
            before, heavy, count = pools.pop()
            value = (before * heavy + value * weight) / (heavy + weight)
            weight, size = heavy + weight, size + count
        pools.append((value, weight, size))
    return torch.cat([torch.full((size,), value, dtype=torch.float64) for value, _, size in pools])


def _numbers(value: object, count: int) -> Tensor | None:
    """Return `value` as (count,) float64, or None where it is no sequence of so many finite numbers."""
    if not isinstance(value, Sequence) or len(value) != count:
        return None
    if not all(isinstance(v, int | float) and abs(v) <= sys.float_info.max for v in value):
        return None
    return torch.tensor([float(v) for v in value], dtype=torch.float64)
