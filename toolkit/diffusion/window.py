"""Long examples by overlapping windows: a denoiser made from the denoisers of its parts.

Averaged windows are biased, even where each is denoised exactly. The mean is right; variance and correlation are too
small, and more so the longer the correlation is relative to a window. Averaged x_hat are averaged scores, so variances
become geometric means of those of the windows, too small where windows differ; and places further apart than a window
depend on each other only through the windows between them. `toolkit verify --only windows` has the closed form for
windows of two, `benchmarks/windows.py` measures longer ones, docs/samplers.md has the table: at a correlation of 0.98^k
and an example of two windows of 32, variance falls to 0.83 of 1.

Continuation, window after window, from places that are given has no such bias, if the denoiser takes given places and
the data depend on nothing before them. This file does not do that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.recall import Composed, Denoise, Estimates, estimate


def starts(length: int, window: int, step: int = 1) -> list[int]:
    """Return the first positions of windows that cover `length` and overlap by half or more, rounded to `step`.

    Raises ValueError when a window is longer than the whole, or either is no multiple of `step`.
    """
    if not 0 < window <= length or window % step or length % step:
        raise ValueError(f"windows of {window} every {step} do not fit {length} positions")
    count = -(-2 * (length - window) // window) + 1
    return sorted({round(i * (length - window) / max(1, count - 1) / step) * step for i in range(count)})


def cut(cond: Cond, start: int, window: int, length: int) -> dict[str, Tensor]:
    """Return the conditions of one window. Those with three or more axes run along the example, at any rate."""

    def part(value: Tensor) -> Tensor:
        if value.ndim < 3:
            return value
        size = value.shape[-1]
        if size * window % length or size * start % length:
            raise ValueError(f"a condition with {size} frames cannot be cut at {start} of {length} positions")
        return value[..., size * start // length : size * (start + window) // length]

    return {name: part(value) for name, value in cond.items()}


def windowed(part: Callable[[int], Denoise], length: int, window: int, places: Sequence[int]) -> Denoise:
    """Return x_hat of (B, *, length) as the weighted mean of the x_hat of its windows (Bar-Tal et al. 2023, eq. 5).

    `part(start)` denoises (B, *, window) at start : start + window, for each start in `places`. Weights rise and fall
    as a squared sine, so that the middle of a window has most weight and x_hat is continuous where one ends. Memory is
    that of one window. Raises ValueError when windows reach over an end, or leave a place out.
    """
    at = sorted(set(places))
    ramp = torch.sin(torch.pi * (torch.arange(window, dtype=torch.float64) + 0.5) / window) ** 2
    total = torch.zeros(length, dtype=torch.float64)
    if at and not 0 <= at[0] <= at[-1] <= length - window:
        raise ValueError(f"windows of {window} from {at[0]} to {at[-1]} reach over {length} positions")
    for start in at:
        total[start : start + window] += ramp
    if not (total > 0).all():
        raise ValueError(f"windows of {window} at {at} leave out places of {length}")
    shares = {start: ramp / total[start : start + window] for start in at}
    return Windowed({start: part(start) for start in at}, shares)


@dataclass(frozen=True, eq=False)
class Windowed(Composed):
    """The sum of the windows' x_hat times their shares, which sum to 1 at each place. Each has its own last x_hat."""

    parts: Mapping[int, Denoise]
    """Denoisers of the windows, by first position."""
    shares: Mapping[int, Tensor]
    """Weights of the windows, (window,) float64 each, by first position."""

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        x_hat = torch.zeros_like(x_t)
        for start, part in self.parts.items():
            share = self.shares[start].to(x_t.dtype).to(x_t.device)
            inside = slice(start, start + len(share))
            x_hat[..., inside] += share * estimate(part, x_t[..., inside], t, estimates.within(start))
        return x_hat
