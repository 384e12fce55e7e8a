"""The loss of a denoiser at each noise level, |x - x_hat|^2 over log-SNR, and the least that is possible.

Two references: the best *linear* denoiser, which anything that has learnt more than second moments is below, and for
small training sets the exact posterior mean of the set itself, which nothing is below on the set: a network that comes
near it recites the examples, and one below it is told something that it should not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.likelihood import total
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.randomness import normal
from toolkit.diffusion.sampler import Denoise
from toolkit.diffusion.schedule import Schedule, expand

LEVELS = torch.linspace(10.0, -8.0, 19, dtype=torch.float64)
"""Log-SNRs, least noise first: sigma / alpha from 0.007 to 55."""


@dataclass(frozen=True)
class LevelLoss:
    """|x - x_hat|^2 a number, for each level and example."""

    log_snr: Tensor
    """(n,)."""
    each: Tensor
    """(n, B), float64."""

    @property
    def mean(self) -> Tensor:
        """(n,)."""
        return self.each.mean(1)

    @property
    def error(self) -> Tensor:
        """The standard error of `mean`: (n,); nan for one example."""
        return self.each.std(1) / math.sqrt(self.each.shape[1])

    def over(self, other: LevelLoss) -> tuple[Tensor, Tensor]:
        """Return the ratio of this mean to another's on the same examples and noise, and its error: (n,) twice.

        The errors are paired: what both owe to the examples and the noise is in neither (the delta method). inf or nan
        where the other is 0.
        """
        ratio = self.mean / other.mean
        rest = (self.each - ratio[:, None] * other.each) / other.mean[:, None]
        return ratio, rest.std(1) / math.sqrt(rest.shape[1])

    def rows(self, references: Mapping[str, Tensor]) -> list[tuple[float, ...]]:
        """(log-SNR, loss, standard error, loss over each reference), one row a level; references: (n,) each."""
        ratios = [self.mean / reference for reference in references.values()]
        return list(zip(*(v.tolist() for v in (self.log_snr, self.mean, self.error, *ratios)), strict=True))


def join(parts: Sequence[LevelLoss]) -> LevelLoss:
    """Batches of one measurement as one."""
    return LevelLoss(parts[0].log_snr, torch.cat([part.each for part in parts], 1))


def loss_by_level(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    log_snr: Tensor = LEVELS,
    seed: int = 0,
    positions: Sequence[int] | None = None,
    mask: Tensor | None = None,
) -> LevelLoss:
    """The loss of a denoiser on x (B, *) in model space at each level that the schedule has (else at its own end).

    denoise: (x_t (B, *), t (B,)) -> x_hat. An example's noise is a function of (seed, position), the same at every
    level and for every network, so that curves are smooth and comparable; positions: 0 ... B - 1 by default. For more
    examples than fit, call it for each batch and `join`. mask: (B, 1, *), 0 where nothing is counted.
    """
    positions = range(len(x)) if positions is None else positions
    eps = normal(seed, "level", positions, x.shape[1:]).to(x)
    counted = total(torch.ones_like(x), mask).clamp(min=1)
    times = schedule.time(log_snr)
    rows = []
    for time in times:
        t = time.to(counted).expand(len(x))
        alpha, sigma = schedule(t)
        with torch.no_grad():
            x_hat = denoise(expand(alpha, x) * x + expand(sigma, x) * eps, t)
        rows.append(total((x - x_hat).square(), mask) / counted)
    return LevelLoss(schedule.log_snr(times), torch.stack(rows).cpu())


def linear_loss(variances: Tensor, log_snr: Tensor) -> Tensor:
    """The loss a number of the best linear denoiser: mean of s^2 sigma^2 / (alpha^2 s^2 + sigma^2) over `variances`.

    variances: (d,), of each number, or the eigenvalues of their covariance (`spectrum`), in model space. For Gaussian
    data it is the least possible; for any other data with that covariance it is not, and a trained network is below.
    log_snr: (n,). Returns (n,).
    """
    snr = log_snr.double().exp()[:, None]
    return (variances.double() / (1 + snr * variances.double())).mean(1)


def spectrum(x: Tensor, full: bool = False) -> Tensor:
    """Variances of x (N, *) for `linear_loss`: (d,) float64; eigenvalues of the covariance when `full`.

    The eigenvalues of few examples, N under about 10 d, are too uneven, and their loss too low.
    """
    flat = x.flatten(1).double()
    if not full:
        return flat.var(0, correction=0)
    return torch.linalg.eigvalsh(torch.cov(flat.T, correction=0).reshape(flat.shape[1], -1)).clamp(min=0)


def empirical_loss(
    x: Tensor,
    data: Tensor,
    log_snr: Tensor = LEVELS,
    seed: int = 0,
    positions: Sequence[int] | None = None,
    groups: tuple[Tensor, Tensor] | None = None,
    block: int = 4096,
) -> LevelLoss:
    """The loss on x (B, *) of the posterior mean when the data is exactly `data` (N, *): softmax(-|z - y|^2 / 2 r^2) y.

    With z = x_t / alpha, r = sigma / alpha. When x is drawn from `data`, no denoiser has less in expectation; with the
    same seed the noise is that of `loss_by_level`, so `over` compares them pair by pair. `groups`: the labels of x (B,)
    and data (N,), for a network that is told them. Cost: n B N d multiplications, float64, by blocks of `data`.
    Raises ValueError when a label of x is not in data.
    """
    positions = range(len(x)) if positions is None else positions
    eps = normal(seed, "level", positions, x.shape[1:]).to(x.dtype)
    rows = [empirical_errors(x, eps, level.expand(len(x)), data, groups, block) for level in log_snr.double()]
    return LevelLoss(log_snr.double(), torch.stack(rows))


def empirical_errors(
    x: Tensor,
    eps: Tensor,
    log_snr: Tensor,
    data: Tensor,
    groups: tuple[Tensor, Tensor] | None = None,
    block: int = 4096,
) -> Tensor:
    """The errors behind `empirical_loss`, of each x (B, *) at its own noise eps (B, *) and log-SNR (B,): (B,) float64.

    Raises ValueError when a label of x is not in data.
    """
    if groups is not None and not bool(torch.isin(*groups).all()):
        raise ValueError("a label of x has no example in data")
    flat, y = x.flatten(1).double().cpu(), data.flatten(1)
    r2 = (-log_snr.double().cpu()).exp()[:, None]
    z = flat + r2.sqrt() * eps.flatten(1).double().cpu()
    best = torch.full((len(z), 1), -math.inf, dtype=torch.float64)
    mass, mixed = torch.zeros_like(best), torch.zeros_like(z)
    for start in range(0, len(y), block):
        part = y[start : start + block].double().cpu()
        # |z|^2 is the same for all, and left out
        logit = (z @ part.T - part.square().sum(1) / 2) / r2
        if groups is not None:
            logit = torch.where(groups[0][:, None] == groups[1][start : start + block], logit, -math.inf)
        top = torch.maximum(best, logit.max(1, keepdim=True).values)
        filled = top.isfinite()  # False until the first example of this label
        old, weight = (torch.where(filled, (v - top).exp(), 0.0) for v in (best, logit))
        mass, mixed, best = mass * old + weight.sum(1, keepdim=True), mixed * old + weight @ part, top
    return (flat - mixed / mass).square().mean(1)


def level_density(time_distribution: TimeDistribution, schedule: Schedule, log_snr: Tensor) -> Tensor:
    """Return the density over log-SNR, at `log_snr` (n,), of the levels that a time distribution trains at: (n,).

    A histogram of 65,536 quantiles with bins around the levels; what falls outside them is not shown.
    """
    u = (torch.arange(65_536, dtype=torch.float64) + 0.5) / 65_536
    drawn = schedule.log_snr(time_distribution.time(u, schedule))
    rising, order = log_snr.double().sort()
    inner = (rising[1:] + rising[:-1]) / 2
    edges = torch.cat([2 * rising[:1] - inner[:1], inner, 2 * rising[-1:] - inner[-1:]])
    place = torch.bucketize(drawn, edges)
    counts = torch.bincount(place, minlength=len(edges) + 1)[1:-1]
    density = torch.empty_like(rising)
    density[order] = counts / len(u) / edges.diff()
    return density
