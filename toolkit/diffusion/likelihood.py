"""Common parts of likelihoods: the lowest and highest noise, a prior, values on a grid, and bits.

`vlb.py` has the variational bound, `ode_likelihood.py` the probability-flow ODE. All sums are float64, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.randomness import seeded_generator
from toolkit.diffusion.sampler import Denoise
from toolkit.diffusion.schedule import Schedule, expand, wide


def ends(schedule: Schedule, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Return the times, least noise first, where sigma / alpha has these values; the schedule's end where it is nearer.

    sigma_min: well under one step of discrete data, or the reconstruction costs bits. sigma_max: far above the data.
    Raises ValueError.
    """
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"0 < sigma_min < sigma_max expected, got {sigma_min} and {sigma_max}")
    low, high = schedule.time(-2 * torch.log(torch.tensor([sigma_min, sigma_max], dtype=torch.float64))).tolist()
    if not low < high:
        raise ValueError(f"{schedule!r} has no noise between sigma / alpha = {sigma_min:g} and {sigma_max:g}")
    return low, high


def prior_divergence(
    x: Tensor, alpha: Tensor, sigma: Tensor, variance: float = 0.0, mask: Tensor | None = None
) -> Tensor:
    """Return KL(q(x_T | x) || N(0, (alpha^2 variance + sigma^2) I)) in nats: (B,).

    x: (B, *); alpha, sigma: of x_T, (). variance = 0 is the prior N(0, sigma_T^2) of most samplers, with KL
    alpha^2 |x|^2 / (2 sigma^2); variance = 1 is the marginal of data with unit variance, and never much worse.
    """
    marginal = alpha**2 * variance + sigma**2
    share = alpha**2 * variance / marginal
    # -share - log(1 - share) instead of sigma^2 / marginal - 1 - log(sigma^2 / marginal): no cancellation
    each = alpha**2 / marginal * wide(x).square() - share - torch.log1p(-share)
    return total(each, mask) / 2


def prior_log_density(z: Tensor, variance: float, mask: Tensor | None = None) -> Tensor:
    """Return log N(z; 0, variance I): (B,)."""
    return -total(wide(z).square() / variance + math.log(2 * math.pi * variance), mask) / 2


def total(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over everything but the batch, float64: (B, *) to (B,); only where `mask`, (B, 1, *) of 0 and 1, is 1."""
    values = wide(values)
    # torch.where and not a product: 0 * inf is nan
    return (values if mask is None else torch.where(mask.bool(), values, 0.0)).flatten(1).sum(1)


@dataclass(frozen=True)
class Bins:
    """The values that discrete data can have: low, low + step, ..., low + (count - 1) step.

    Pixels in [-1, 1] are Bins(256, -1, 1 / 127.5), 16-bit samples Bins(65536, -1, 2**-15); `standardise` maps them to
    model space. `low` may be a tensor that broadcasts with x: then each number has its own offset, e.g. the part that
    pre-emphasis predicts from the true sample before it, which a decoder may use.
    """

    count: int
    low: float | Tensor
    step: float

    def __post_init__(self) -> None:
        if self.count < 2 or not self.step > 0:
            raise ValueError(f"at least 2 bins of a size above 0 expected, got {self.count} of {self.step}")

    def standardise(self, mean: float, std: float) -> Bins:
        """Return the same values after (value - mean) / std."""
        return Bins(self.count, (self.low - mean) / std, self.step / std)

    def index(self, x: Tensor) -> Tensor:
        """Return the index of the bin of x, the shape of x, float64 integers. Raises ValueError when off the grid.

        A quarter of a step is tolerated: more than float32 rounding, less than another scale makes.
        """
        place = (wide(x) - self.low) / self.step
        index = place.round().clamp(0, self.count - 1)
        off = float((place - index).abs().max()) if place.numel() else 0.0
        if not off <= 0.25:
            raise ValueError(f"data is {off:.2g} steps off its {self.count} bins: wrong mean, std or step")
        return index

    def log_prob(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return the log of the mass of N(mean, std^2) in the bin of x, the shape of x, float64; x is on the grid.

        The first and the last bin extend to infinity, so that all bins together have mass 1 (Ho et al. 2020, eq. 13).
        """
        return self.log_mass(self.index(x), mean, std)

    def log_mass(self, index: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return `log_prob` for the bins numbered `index`."""
        left = (self.low + (wide(index) - 0.5) * self.step - wide(mean)) / wide(std)
        right = left + self.step / wide(std)
        left = torch.where(index <= 0, -math.inf, left)
        right = torch.where(index >= self.count - 1, math.inf, right)
        # the normal density is even, and log ndtr is accurate on its left side
        swap = left > -right
        left, right = torch.where(swap, -right, left), torch.where(swap, -left, right)
        outer, inner = torch.special.log_ndtr(left), torch.special.log_ndtr(right)
        return inner + torch.log(-torch.expm1(outer - inner))


def dequantise(x: Tensor, step: float, seed: int, positions: Iterable[int]) -> Tensor:
    """Add uniform noise in +-step / 2 to x, a function of (seed, position) (Theis et al. 2016, section 3.1).

    x: (B, *) on a grid with that step. The mean of log p(x + u) + d log(step) is at most log P(x).
    """
    noise = [torch.rand(x.shape[1:], generator=seeded_generator(seed, "dequantise", p)) for p in positions]
    return x + step * (torch.stack(noise).to(x) - 0.5)


def bits_per_dim(nats: Tensor, dims: Tensor | float, step: float | None = None) -> Tensor:
    """Convert negative log-likelihoods in nats, (B,), to bits for each of `dims` numbers (or characters): (B,).

    For a distribution over discrete data (a `bound` with a reconstruction): no step. For a density: `step` is one raw
    step in the space of the density, `Bins.step`, since P = p step^d: 1 / 127.5 and so + 6.99 bits for 8 bits in
    [-1, 1], and + 15 for 16. The offset of other data, or of another space than the density's, is a common mistake.
    """
    bits = wide(nats) / (wide(torch.as_tensor(dims)) * math.log(2))
    return bits if step is None else bits - math.log2(step)


@dataclass(frozen=True)
class DiscretisedGaussian:
    """-log P(x | x_t) in nats for x on `bins`, as if N(x_hat, (sigma / alpha)^2) were data: a reconstruction, (B,).

    `denoise` as in `bound`; x: (B, *) on the grid; `mask`: as in `total`.
    """

    denoise: Denoise
    schedule: Schedule
    x: Tensor
    bins: Bins
    mask: Tensor | None = None

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        std = expand(self.schedule.noise_ratio(t), wide(x_t))
        return -total(self.bins.log_prob(self.x, self.denoise(x_t, t), std), self.mask)
