"""The noise levels to train on (time distributions) and the weight of each in the loss (weightings).

A weighting is stated once, as a weight on |x - x_hat|^2; on the network's own target that is weight * c_out^2,
so the same weighting gives the same loss whatever the network predicts (notes on min-SNR: Hang et al. 2023).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser, RegressionDenoiser
from toolkit.diffusion.schedule import Schedule, wide


class TimeDistribution(ABC):
    """A distribution of training times, as the inverse of its cumulative distribution."""

    @abstractmethod
    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Return t in [0, 1] at the quantiles `u` in (0, 1), (B,) float64. Stratified u give a stratified set of t."""

    @abstractmethod
    def density(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return the probability density at t, for importance weights."""

    def below(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return the probability of less noise than at t, (B,) float64: the inverse of `time`, here by bisection."""
        t = wide(t)
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(53):
            middle = (low + high) / 2
            under = self.time(middle, schedule) < t
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return (low + high) / 2

    def fresh(self) -> TimeDistribution:
        """Return the distribution that training starts with: a copy if it is adaptive, itself if it is fixed."""
        return self

    def observe(self, t: Tensor, uncertainty: Tensor, schedule: Schedule) -> None:  # noqa: B027, most are fixed
        """Record a step's times and `Denoiser.uncertainty` there, both (B,)."""

    def state(self) -> dict[str, object]:
        """Return the state that was learned, for JSON."""
        return {}

    def restore(self, state: Mapping[str, object]) -> None:  # noqa: B027
        """Load what `state` returned. Raises ValueError where it does not fit."""


@dataclass(frozen=True)
class Uniform(TimeDistribution):
    """t uniform in [low, 1]; on a chain, t uniform on its grid 1/T ... 1 (Ho et al. 2020, algorithm 1)."""

    low: float = 1e-3

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        if schedule.T:
            return (torch.floor(u * schedule.T).clamp(max=schedule.T - 1) + 1) / schedule.T
        return self.low + (1 - self.low) * u

    def density(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return the density at t, on a chain with respect to counting measure times T, so that it is 1 as well."""
        low = 0.0 if schedule.T else self.low
        return torch.where(t >= low, 1 / (1 - low), 0.0).to(t)

    def below(self, t: Tensor, schedule: Schedule) -> Tensor:
        if schedule.T:
            return super().below(t, schedule)
        return ((wide(t) - self.low) / (1 - self.low)).clamp(0, 1)


@dataclass(frozen=True)
class LogitNormal(TimeDistribution):
    """logit(t) ~ N(mean, std^2) (Esser et al. 2024, section 3.1)."""

    mean: float = 0.0
    std: float = 1.0

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        return torch.sigmoid(self.mean + self.std * _normal_quantile(u))

    def density(self, t: Tensor, schedule: Schedule) -> Tensor:
        return _normal_density((torch.logit(t) - self.mean) / self.std) / (self.std * t * (1 - t))

    def below(self, t: Tensor, schedule: Schedule) -> Tensor:
        return torch.special.ndtr((torch.logit(wide(t)) - self.mean) / self.std)


@dataclass(frozen=True)
class LogNormal(TimeDistribution):
    """log(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022, table 1: -1.2, 1.2 at sigma_data 0.5).

    In units of sigma_data = 1 their mean is -1.2 + log 2 = -0.5.
    """

    mean: float = -0.5
    std: float = 1.2

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        return schedule.time(-2 * (self.mean + self.std * _normal_quantile(u)))

    def density(self, t: Tensor, schedule: Schedule) -> Tensor:
        z = (-schedule.log_snr(t) / 2 - self.mean) / self.std
        return _normal_density(z) / self.std * slope(schedule, t) / 2

    def below(self, t: Tensor, schedule: Schedule) -> Tensor:
        return torch.special.ndtr((-schedule.log_snr(t) / 2 - self.mean) / self.std)


class Weighting(ABC):
    """A weight on |x - x_hat|^2 as a function of noise level."""

    @abstractmethod
    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return the weight at times t: (B,), float64."""

    def on_target(self, t: Tensor, denoiser: RegressionDenoiser) -> Tensor:
        """Return the same weight for an error in the network's own target: (B,), float64."""
        c_out = denoiser.coefficients(t).c_out
        # where c_out = 0 the network does not affect x_hat, and inf * 0 must not become nan
        return torch.where(c_out == 0, 0.0, self.on_x(t, denoiser.schedule) * c_out**2)


class Unweighted(Weighting):
    """Weight 1 on the network's own target (Ho et al. 2020, eq. 14, for eps)."""

    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        return torch.ones_like(wide(t))

    def on_target(self, t: Tensor, denoiser: RegressionDenoiser) -> Tensor:
        return torch.ones_like(wide(t))


@dataclass(frozen=True)
class MinSNR(Weighting):
    """min(SNR, gamma) (Hang et al. 2023, section 3.4)."""

    gamma: float = 5.0

    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        return schedule.log_snr(t).exp().clamp(max=self.gamma)


@dataclass(frozen=True)
class SoftMinSNR(Weighting):
    """SNR gamma / (SNR + gamma), a smooth minimum (Crowson et al. 2024, section 4.3: 4 SNR / (SNR + 4) there)."""

    gamma: float = 5.0

    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        return self.gamma * torch.sigmoid(schedule.log_snr(t) - math.log(self.gamma))


@dataclass(frozen=True)
class EDM(Weighting):
    """(sigma^2 + d^2) / (sigma d)^2 at sigma = sigma_t / alpha_t (Karras et al. 2022, table 1): edm's 1 / c_out^2."""

    sigma_data: float = 1.0

    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        return schedule.log_snr(t).exp() + 1 / self.sigma_data**2


@dataclass(frozen=True)
class P2(Weighting):
    """1 / (k + SNR)^gamma on the error of eps (Choi et al. 2022, eq. 8), that is SNR / (k + SNR)^gamma on x."""

    k: float = 1.0
    gamma: float = 1.0

    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        snr = schedule.log_snr(t).exp()
        return snr / (self.k + snr) ** self.gamma


class VLB(Weighting):
    """The exact weight of the variational bound in nats, for t uniform; divide by the density of other times.

    Continuous: -1/2 dSNR/dt (Kingma et al. 2021, eq. 17). On a chain of T steps: T/2 (SNR_{i-1} - SNR_i)
    (eq. 13-14), the KL between q(x_{i-1} | x_i, x) and p for the variance beta-tilde; at i = 1, where that
    is infinite, the term belongs to the reconstruction and gets weight 0.
    """

    def on_x(self, t: Tensor, schedule: Schedule) -> Tensor:
        snr = schedule.log_snr(t).exp()
        if not schedule.T:
            return snr * slope(schedule, t) / 2
        before = schedule.log_snr((wide(t) - 1 / schedule.T).clamp(min=0)).exp()
        return torch.where(before.isinf(), 0.0, schedule.T * (before - snr) / 2)


WEIGHTINGS: dict[str, type[Weighting]] = {
    "none": Unweighted,
    "min-snr": MinSNR,
    "soft-min-snr": SoftMinSNR,
    "edm": EDM,
    "p2": P2,
    "vlb": VLB,
}


def weighted_loss(
    denoiser: RegressionDenoiser, weighting: Weighting, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None
) -> Tensor:
    """Return denoiser.loss times the weight of its noise level: (B,)."""
    return weighted(denoiser.loss(x, t, eps, cond), denoiser, weighting, t)


def weighted(loss: Tensor, denoiser: Denoiser, weighting: Weighting, t: Tensor) -> Tensor:
    """Return losses (B,) times their weights; a denoiser that is no regression takes `Unweighted`, else TypeError."""
    if isinstance(weighting, Unweighted):
        return loss
    if not isinstance(denoiser, RegressionDenoiser):
        raise TypeError(f"{type(weighting).__name__} weighs squared errors, and {type(denoiser).__name__} has none")
    return loss * weighting.on_target(t, denoiser).to(loss)


def slope(schedule: Schedule, t: Tensor) -> Tensor:
    """Return -d lambda / dt, by automatic differentiation of the schedule itself."""
    with torch.enable_grad():
        t = wide(t).detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(schedule.log_snr(t).sum(), t)
    return -slope


def _normal_quantile(u: Tensor) -> Tensor:
    # u = 0 would be -inf; 2^-53 is the resolution of u itself
    return torch.special.ndtri(wide(u).clamp(2.0**-53, 1 - 2.0**-53))


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
