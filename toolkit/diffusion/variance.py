"""The posterior variance r(log-SNR) = E|x - x_hat|^2 / d, with which few ancestral steps keep the data's variance.

x given x_t has the mean x_hat and, on average, the variance r. A reverse step that uses x_hat for x lacks that
variance; a step that adds it gives Gaussian data exactly their variance, with any number of steps (Bao et al. 2022,
Analytic-DPM, theorem 1).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from toolkit.diffusion.schedule import Schedule

Error = Callable[[float], float]
"""log-SNR -> r, the mean over places and examples of (x - x_hat)^2."""

FAINT = 1e-3
"""Minimum decayed example count of a bin before it is used."""


def unit(log_snr: float) -> float:
    """Return r of white data of unit variance: sigma^2 / (alpha^2 + sigma^2)."""
    return 1 / (1 + math.exp(min(log_snr, 700.0)))


def error_of(choice: str | Error | None) -> Error | None:
    """Return the function that an option `error` names: "unit", a function or a table. Raises ValueError."""
    if choice is None or callable(choice):
        return choice
    if choice == "unit":
        return unit
    raise ValueError(f"error is 'unit', a function of the log-SNR or a table, got {choice!r}")


class PosteriorVariance:
    """A table of r over log-SNR, interpolated.

    The ratio to r of unit white data is linear between the entries, so that r may fall over decades, and constant
    beyond the ends. r is never above (sigma / alpha)^2, the error of the trivial estimate x_t / alpha.
    """

    def __init__(self, log_snr: Sequence[float], values: Sequence[float]) -> None:
        """`log_snr`: rising, finite; `values`: one each, finite and not negative. Raises ValueError."""
        knots, r = _numbers(log_snr), _numbers(values)
        if knots is None or r is None or len(knots) != len(r) or not knots:
            raise ValueError("a table of posterior variances needs as many finite values as log-SNRs, at least one")
        if any(a >= b for a, b in zip(knots, knots[1:], strict=False)):
            raise ValueError("the log-SNRs of a table of posterior variances rise")
        if min(r) < 0:
            raise ValueError("a variance is not negative")
        self.log_snr, self.values = knots, r
        self.shares = [value / unit(knot) for knot, value in zip(knots, r, strict=True)]

    def __call__(self, log_snr: float) -> float:
        knots, shares = self.log_snr, self.shares
        if log_snr <= knots[0]:
            share = shares[0]
        elif log_snr >= knots[-1]:
            share = shares[-1]
        else:
            i = next(k for k, knot in enumerate(knots) if knot > log_snr)
            part = (log_snr - knots[i - 1]) / (knots[i] - knots[i - 1])
            share = shares[i - 1] + part * (shares[i] - shares[i - 1])
        # share r_unit <= 1 / SNR, where r_unit = 1 / (1 + SNR)
        return unit(log_snr) * min(share, 1 + math.exp(min(-log_snr, 700.0)))

    def to_dict(self) -> dict[str, list[float]]:
        """Return two lists, log_snr and values, for JSON."""
        return {"log_snr": list(self.log_snr), "values": list(self.values)}

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> PosteriorVariance:
        """Return the table that `to_dict` wrote; the input is not trusted. Raises ValueError."""
        knots, values = (_numbers(table.get(name)) for name in ("log_snr", "values"))
        if knots is None or values is None:
            raise ValueError("a table of posterior variances is two lists of finite numbers, log_snr and values")
        return cls(knots, values)


class VarianceMeter:
    """r as a running mean of about the last `horizon` steps, in equal bins of log(sigma / alpha)."""

    def __init__(self, low: float = 0.01, high: float = 100.0, bins: int = 64, horizon: int = 300) -> None:
        """`low`, `high`: levels sigma / alpha; examples outside are ignored. Raises ValueError."""
        if not 0 < low < high < math.inf or bins < 1 or horizon < 1:
            raise ValueError("0 < low < high, bins >= 1 and horizon >= 1 expected")
        self.bins, self.horizon = bins, horizon
        self.low, self.width = math.log(low), (math.log(high) - math.log(low)) / bins
        self.total = torch.zeros(bins, dtype=torch.float64)
        self.count = torch.zeros(bins, dtype=torch.float64)

    def observe(self, t: Tensor, squared_error: Tensor, schedule: Schedule) -> None:
        """Record (x - x_hat)^2 averaged over each example, (B,), at times t (B,).

        This is the error of x_hat: c_out^2 times that of the network's own target.
        """
        level = -schedule.log_snr(t.cpu()) / 2
        value = squared_error.detach().double().cpu()
        place = ((level.double() - self.low) / self.width).floor()
        counted = value.isfinite() & (place >= 0) & (place < self.bins)
        where = place[counted].long()
        # relative to unit data, so that the width of a bin does not matter; `table` multiplies by it at mid-bin
        shares = value[counted] * (1 + torch.exp(-2 * level.double()[counted]))
        keep = 1 - 1 / self.horizon
        self.total = (self.total * keep).index_add_(0, where, shares)
        self.count = self.count * keep + torch.bincount(where, minlength=self.bins)

    def table(self) -> PosteriorVariance | None:
        """Return r at the middle of each bin with examples; None if there is none."""
        filled = (self.count > FAINT).nonzero()[:, 0].tolist()
        if not filled:
            return None
        knots = [-2 * (self.low + (k + 0.5) * self.width) for k in reversed(filled)]
        shares = [float(self.total[k] / self.count[k]) for k in reversed(filled)]
        return PosteriorVariance(knots, [share * unit(knot) for knot, share in zip(knots, shares, strict=True)])

    def state(self) -> dict[str, object]:
        """Return the running sums, for JSON."""
        return {"total": self.total.tolist(), "count": self.count.tolist()}

    def restore(self, state: Mapping[str, object]) -> None:
        """Load a `state`. Raises ValueError, and changes nothing, where it does not fit."""
        total, count = (_numbers(state.get(name)) for name in ("total", "count"))
        if total is None or count is None or not len(total) == len(count) == self.bins or min(*total, *count) < 0:
            raise ValueError(f"the saved state of a meter of posterior variances does not fit one of {self.bins} bins")
        self.total = torch.tensor(total, dtype=torch.float64)
        self.count = torch.tensor(count, dtype=torch.float64)


def _numbers(value: object) -> list[float] | None:
    """Return `value` as floats, or None where it is no sequence of finite numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    if not all(isinstance(v, int | float) and abs(v) <= sys.float_info.max for v in value):
        return None
    return [float(v) for v in value]
