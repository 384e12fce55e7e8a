"""The forward process, stated once: x_t = alpha_t x + sigma_t eps, t in [0, 1] from data to noise.

A schedule is a path and a pace. The path gives alpha and sigma as functions of the log-SNR
lambda = log(alpha^2 / sigma^2); the pace gives lambda as a strictly decreasing function of t.
All arithmetic is float64 where the device has it, since alpha and sigma span many decades.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

NO_FLOAT64 = {"mps"}
"""Device types without float64."""


def wide(t: Tensor) -> Tensor:
    """Return `t` in the widest float its device has: float64, or float32 on devices without it."""
    return t.to(widest(t.device))


def beside(t: Tensor | float, like: Tensor) -> Tensor:
    """Return times or coefficients on the device of `like`, in the widest float it has."""
    return torch.as_tensor(t).to(like.device, widest(like.device))


def widest(device: torch.device) -> torch.dtype:
    """Return float64, or float32 where a device has none."""
    return torch.float32 if device.type in NO_FLOAT64 else torch.float64


def expand(coefficient: Tensor, like: Tensor) -> Tensor:
    """Return a coefficient, () or (B,), in the dtype of `like`, (B, *), and in a shape that broadcasts with it."""
    coefficient = coefficient.to(like)
    return coefficient if coefficient.ndim == 0 else coefficient.reshape(-1, *[1] * (like.ndim - 1))


class Schedule(ABC):
    """alpha_t and sigma_t for t in [0, 1]. The three bases below define the path, final classes the pace."""

    @property
    def T(self) -> int | None:
        """Number of steps of a discrete chain, which is defined on t = i / T; None for continuous time."""
        return None

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, each of the shape of `t`, float64."""
        return self.on_path(self.log_snr(t))

    @abstractmethod
    def on_path(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma at a log-SNR; -inf is pure noise, +inf is pure data."""

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """Return lambda_t = log(alpha_t^2 / sigma_t^2), the shape of `t`, float64, strictly decreasing in t."""

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t in [0, 1] where `log_snr` is reached (else the nearest end), by bisection to 1e-15."""
        target = wide(log_snr)
        low, high = torch.zeros_like(target), torch.ones_like(target)
        for _ in range(52):
            middle = (low + high) / 2
            above = self.log_snr(middle) > target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (low + high) / 2

    def noise_ratio(self, t: Tensor) -> Tensor:
        """Return sigma_t / alpha_t, the noise level of Karras et al. (2022), float64; inf where alpha_t = 0."""
        return torch.exp(-self.log_snr(t) / 2)


class VariancePreserving(Schedule, ABC):
    """alpha^2 + sigma^2 = 1 (Sohl-Dickstein et al. 2015; Ho et al. 2020)."""

    def on_path(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


class VarianceExploding(Schedule, ABC):
    """alpha = 1 (Song and Ermon 2019; Karras et al. 2022)."""

    def on_path(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr / 2)


class Straight(Schedule, ABC):
    """alpha + sigma = 1 (Liu et al. 2022; Lipman et al. 2022)."""

    def on_path(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)


def log_snr_of_log_alpha_bar(log_alpha_bar: Tensor) -> Tensor:
    """Return lambda = log(abar / (1 - abar)) from log(abar) <= 0, exact at both ends."""
    return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))


@dataclass(frozen=True)
class RectifiedFlow(Straight):
    """alpha = 1 - t, sigma = t (Liu et al. 2022)."""

    def log_snr(self, t: Tensor) -> Tensor:
        t = wide(t)
        return 2 * (torch.log1p(-t) - torch.log(t))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-wide(log_snr) / 2)


@dataclass(frozen=True)
class Cosine(VariancePreserving):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): Nichol and Dhariwal (2021), eq. 17, without the offset s.

    The offset keeps beta_1 of a discrete chain from being too small: `CosineChain` has it.
    """

    def log_snr(self, t: Tensor) -> Tensor:
        t = wide(t)
        # tan through sin of both complements, so that t = 1 gives -inf and not a rounding error
        return 2 * (torch.log(torch.sin(math.pi / 2 * (1 - t))) - torch.log(torch.sin(math.pi / 2 * t)))

    def time(self, log_snr: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan(torch.exp(-wide(log_snr) / 2))


@dataclass(frozen=True)
class Sigmoid(VariancePreserving):
    """abar_t falls as a sigmoid from `start` to `end` (Jabri et al. 2022, eq. 8 and algorithm 1)."""

    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0

    def __post_init__(self) -> None:
        if not (self.start < self.end and self.tau > 0):
            raise ValueError(f"start < end and tau > 0 expected, got {self}")

    def log_snr(self, t: Tensor) -> Tensor:
        at_0, at_1 = (torch.sigmoid(torch.tensor(-v / self.tau, dtype=torch.float64)) for v in (self.start, self.end))
        here = torch.sigmoid(-(wide(t) * (self.end - self.start) + self.start) / self.tau)
        # the differences are taken before the ratio, so that both ends are exact
        return torch.log((here - at_1).clamp(min=0)) - torch.log((at_0 - here).clamp(min=0))


@dataclass(frozen=True)
class Sqrt(VariancePreserving):
    """abar_t = 1 - sqrt(t + s) (Li et al. 2022, Diffusion-LM, appendix A), rescaled to end at exactly 0.

    The paper's abar is negative for t > 1 - s; here t runs to 1 - s, so that t = 1 is pure noise.
    """

    s: float = 1e-4

    def log_snr(self, t: Tensor) -> Tensor:
        t = wide(t)
        root = torch.sqrt(t * (1 - self.s) + self.s)
        # 1 - root = (1 - root^2) / (1 + root), without cancellation near t = 1
        return torch.log((1 - t) * (1 - self.s) / (1 + root)) - torch.log(root)


@dataclass(frozen=True)
class VP(VariancePreserving):
    """d(log abar)/dt = -beta(t), linear from beta_min to beta_max (Song et al. 2021, eq. 32-33)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(f"0 < beta_min <= beta_max expected, got {self}")

    def log_snr(self, t: Tensor) -> Tensor:
        t = wide(t)
        return log_snr_of_log_alpha_bar(-t * (self.beta_min + t * (self.beta_max - self.beta_min) / 2))

    def time(self, log_snr: Tensor) -> Tensor:
        b = torch.nn.functional.softplus(-wide(log_snr))  # = -log abar
        b = b.clamp(max=(self.beta_min + self.beta_max) / 2)  # its value at t = 1
        return 2 * b / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * b))


@dataclass(frozen=True)
class VE(VarianceExploding):
    """sigma = sigma_min (sigma_max / sigma_min)^t (Song et al. 2021, eq. 31)."""

    sigma_min: float = 0.01
    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        _check_sigmas(self.sigma_min, self.sigma_max)

    def log_snr(self, t: Tensor) -> Tensor:
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return -2 * (low + wide(t) * (high - low))

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return ((-wide(log_snr) / 2 - low) / (high - low)).clamp(0, 1)


@dataclass(frozen=True)
class Karras(VarianceExploding):
    """sigma^(1/rho) linear in t between sigma_min and sigma_max (Karras et al. 2022, eq. 5)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _check_sigmas(self.sigma_min, self.sigma_max)
        if self.rho <= 0:
            raise ValueError(f"rho > 0 expected, got {self.rho}")

    def log_snr(self, t: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return -2 * self.rho * torch.log(low + wide(t) * (high - low))

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((torch.exp(-wide(log_snr) / 2 / self.rho) - low) / (high - low)).clamp(0, 1)


def _check_sigmas(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"0 < sigma_min < sigma_max expected, got {sigma_min} and {sigma_max}")
