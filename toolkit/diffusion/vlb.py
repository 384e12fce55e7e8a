"""The variational bound: -log P(x) <= prior + diffusion + reconstruction, in nats (Kingma et al. 2021, VDM, eq. 11).

    diffusion = integral over log r of |x - x_hat|^2 / r^2, r = sigma / alpha     continuous time
              = sum over steps t -> s of (SNR_s - SNR_t) / 2 |x - x_hat|^2        a sampler's steps, or a chain's

Both are means over a number u in [0, 1) that selects a noise level, so one function estimates both, from posterior
means only. In padding and given parts x = x_hat, so their difference is 0; only prior and reconstruction need a mask.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.likelihood import ends, prior_divergence, total
from toolkit.diffusion.loss import VLB, TimeDistribution
from toolkit.diffusion.randomness import normal, seeded_generator
from toolkit.diffusion.sampler import Denoise
from toolkit.diffusion.schedule import Schedule, beside, expand

Reconstruct = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, *), t (B,)) -> -log P(x | x_t) in nats (B,), at the least noise; it holds the data x."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def with_second_pass(denoiser: Denoiser, cond: Cond) -> Denoise:
    """Return x_hat under a condition as a function of x_t and t alone, which a likelihood needs.

    A self-conditioned denoiser gets the x_hat of a first pass at the same x_t. That of another noise level, which
    samplers use, depends on x beyond x_t and makes bits too good (Gulrajani and Hashimoto 2023, appendix).
    """
    if not denoiser.self_conditioning:
        return lambda x_t, t: denoiser(x_t, t, cond)
    return lambda x_t, t: denoiser(x_t, t, {**cond, "estimate": denoiser(x_t, t, cond)})


class Levels(ABC):
    """The noise levels of a bound. Final classes: `Continuous`, `Steps`."""

    schedule: Schedule
    first: float
    """The time of least noise, of the reconstruction."""
    last: float
    """The time of most noise, of the prior."""

    @abstractmethod
    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return times and weights at u in [0, 1), (B,) float64: E_u[weight |x - x_hat_t|^2] is the diffusion term."""


class Continuous(Levels):
    """All levels between two sigma / alpha, drawn from a mixture of `times` and a uniform log(sigma / alpha).

    The mixture (Hesterberg 1995) makes the estimate valid for any `times`, also those that leave levels out, and limits
    the weights to 1 / share times those of uniform levels. Only the variance depends on `times`; those that a network
    was trained with, if adaptive, are near the best. None: uniform alone. Raises ValueError for a chain: see `Steps`.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigma_min: float,
        sigma_max: float,
        times: TimeDistribution | None = None,
        share: float = 0.25,
    ) -> None:
        if schedule.T:
            raise ValueError(f"{schedule!r} has no levels between its steps: use Steps.of_chain")
        if not 0 < share <= 1:
            raise ValueError(f"the share of uniform levels lies in (0, 1], got {share}")
        self.schedule = schedule
        self.first, self.last = ends(schedule, sigma_min, sigma_max)
        self.share = share if times else 1.0
        self.times = times if share < 1 else None
        self._log_ratios: list[float] = (
            schedule.noise_ratio(torch.tensor([self.first, self.last], dtype=torch.float64)).log().tolist()
        )
        self._quantiles = _quantiles(self.times, schedule, self.first, self.last) if self.times else (0.0, 1.0)

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        (low, high), (q_low, q_high) = self._log_ratios, self._quantiles
        t = self.schedule.time(-2 * (low + (high - low) * u / self.share))
        if self.times:
            inner = q_low + (q_high - q_low) * ((u - self.share) / (1 - self.share)).clamp(0, 1)
            t = torch.where(u < self.share, t, self.times.time(inner, self.schedule))
        t = t.clamp(self.first, self.last)
        weight = VLB().on_x(t, self.schedule)
        # d log(sigma / alpha) / dt is the bound's weight over SNR
        density = self.share * weight / self.schedule.log_snr(t).exp() / (high - low)
        if self.times:
            density = density + (1 - self.share) * self.times.density(t, self.schedule) / (q_high - q_low)
        return t, weight / density


class Steps(Levels):
    """The steps of a sampler with variance beta-tilde: times (n + 1,) descending to the reconstruction's, not to 0.

    `proportions`: relative frequencies of the steps, (n,), all above 0; equal by default, and then n draws (or a
    multiple) visit every step equally often, so that only the noise is random. Raises ValueError.
    """

    def __init__(self, schedule: Schedule, times: Tensor, proportions: Tensor | None = None) -> None:
        times = times.double()
        if len(times) < 2 or bool((times.diff() >= 0).any()) or float(schedule(times[-1])[1]) <= 0:
            raise ValueError("times must be at least two, strictly descending, and end where there still is noise")
        share = torch.ones(len(times) - 1, dtype=torch.float64) if proportions is None else proportions.double()
        if share.shape != times[1:].shape or not bool((share > 0).all()):
            raise ValueError(f"{len(times) - 1} proportions above 0 expected")
        self.schedule = schedule
        self.first, self.last = float(times[-1]), float(times[0])
        self.times = times
        self.share = share / share.sum()
        self._edges = self.share.cumsum(0)[:-1]
        self._gain = schedule.log_snr(times).exp().diff() / 2

    @classmethod
    def of_chain(cls, schedule: Schedule, proportions: Tensor | None = None) -> Steps:
        """Take the steps of a chain: L_T at t = 1, L_{t-1} for t = T ... 2, L_0 at t = 1 / T (Ho et al. 2020, eq. 5).

        Raises ValueError for a schedule that is none.
        """
        if not schedule.T:
            raise ValueError(f"{schedule!r} is no chain: use Continuous, or Steps with times")
        return cls(schedule, torch.arange(schedule.T, 0, -1, dtype=torch.float64) / schedule.T, proportions)

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        step = torch.bucketize(u, self._edges.to(u), right=True)
        return self.times.to(u)[step], (self._gain / self.share).to(u)[step]


class Terms(NamedTuple):
    """A bound on -log P(x), in nats, float64, one for each example."""

    prior: Tensor
    """(B,), exact."""
    diffusion: Tensor
    """(B,), a mean over draws."""
    reconstruction: Tensor
    """(B,), a mean over its own draws; 0 without a `reconstruct`."""
    variance: Tensor
    """Variance of the estimate, (B,), from terms with several draws; nan for a single draw. For a mean over examples
    take the spread of `total` over them instead, which includes this."""

    @property
    def total(self) -> Tensor:
        """The bound: (B,). To divide it by the numbers or characters of an example, see `bits_per_dim`."""
        return self.prior + self.diffusion + self.reconstruction


@torch.no_grad()
def bound(
    denoise: Denoise,
    x: Tensor,
    levels: Levels,
    reconstruct: Reconstruct | None,
    seed: int,
    positions: Sequence[int],
    draws: int = 16,
    reconstructions: int = 1,
    prior_variance: float = 0.0,
    mask: Tensor | None = None,
    antithetic: bool = False,
) -> Terms:
    """Estimate the three terms for x (B, *), examples numbered `positions`; the same numbers in a batch of any size.

    denoise: (x_t (B, *), t (B,)) -> x_hat (B, *), conditioned on nothing of x but x_t and the given parts, see
    `with_second_pass`. reconstruct: without it the rest bounds KL(q(x_t | x) || p(x_t)) at the least noise, which is no
    likelihood of x. prior_variance: as in `prior_divergence`. mask: (B, 1, *), 0 where x is known. antithetic: each
    draw is a pair, eps and -eps, at twice the cost. Raises ValueError.
    """
    if draws < 1 or reconstructions < 1 or len(positions) != len(x):
        raise ValueError(
            f"draws >= 1 and {len(x)} positions expected, got {draws}, {reconstructions}, {len(positions)}"
        )
    schedule, shape = levels.schedule, x.shape[1:]

    def noisy(t: Tensor, eps: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return expand(alpha, x) * x + expand(sigma, x) * eps

    losses = []
    for k, u in enumerate(_uniforms(seed, positions, draws)):
        t, weight = (beside(value, x) for value in levels.draw(u))
        eps = normal(seed, "bound", positions, shape, k).to(x)
        parts = [total((x - denoise(noisy(t, e), t)).square(), mask) for e in ((eps, -eps) if antithetic else (eps,))]
        losses.append(weight * torch.stack(parts).mean(0))
    diffusion = torch.stack(losses)

    first, last = (beside(torch.tensor(t, dtype=torch.float64), x) for t in (levels.first, levels.last))
    reconstruction = torch.zeros_like(diffusion[:1])
    if reconstruct is not None:
        t, losses = first.expand(len(x)), []
        for k in range(reconstructions):
            eps = normal(seed, "reconstruction", positions, shape, k).to(x)
            losses.append(reconstruct(noisy(t, eps), t).to(diffusion))
        reconstruction = torch.stack(losses)
    return Terms(
        prior_divergence(x, *schedule(last), prior_variance, mask),
        diffusion.mean(0),
        reconstruction.mean(0),
        _variance_of_mean(diffusion) + (_variance_of_mean(reconstruction) if len(reconstruction) > 1 else 0.0),
    )


def _uniforms(seed: int, positions: Sequence[int], draws: int) -> Tensor:
    """Draw (draws, B) float64, uniform in [0, 1): those of an example ascend, one in each interval of 1 / draws.

    Position p is shifted by p times the golden ratio, which fills [0, 1) evenly for any number of positions, and all by
    one shift. So the numbers do not depend on the batch size, and are low-discrepancy over a whole data set.
    """
    start = torch.rand((), generator=seeded_generator(seed, "bound"), dtype=torch.float64)
    shift = (start + torch.as_tensor(list(positions), dtype=torch.float64) * _GOLDEN) % 1.0
    return (torch.arange(draws, dtype=torch.float64)[:, None] + shift) / draws


def _variance_of_mean(values: Tensor) -> Tensor:
    """Return the variance of the mean of ordered draws (K, B), by differences: (B,) (Wolter 2007, section 8.2).

    Unlike the sample variance it leaves out what the order explains, in which stratified draws make no error.
    """
    k = len(values)
    if k < 2:
        return torch.full_like(values[0], math.nan)
    return values.diff(dim=0).square().sum(0) / (2 * k * (k - 1))


def _quantiles(times: TimeDistribution, schedule: Schedule, first: float, last: float) -> tuple[float, float]:
    """Return the u at which the times enter and leave [first, last], by bisection. Raises ValueError."""
    target = torch.tensor([first, last], dtype=torch.float64)
    rising = bool(times.time(torch.tensor([0.25, 0.75], dtype=torch.float64), schedule).diff() > 0)
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(53):
        middle = (low + high) / 2
        below = (times.time(middle, schedule) < target) == rising
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    entry, leave = sorted(((low + high) / 2).tolist())
    if leave - entry < 1e-6:
        raise ValueError(f"{times!r} never draws a time between {first:g} and {last:g}; take another, or none")
    return entry, leave
