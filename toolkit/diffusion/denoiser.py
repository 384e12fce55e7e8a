"""Denoisers: E[x | x_t], the only interface that samplers, guidance and likelihoods use.

    x_hat = c_skip x_t + c_out net(c_in x_t, c_noise, cond)          (Karras et al. 2022, eq. 7)

The prediction type is a choice of these coefficients, and nothing outside this file depends on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from toolkit.diffusion.schedule import Schedule, beside, expand

Cond = Mapping[str, Tensor]
"""Conditions by name, each with the batch in front.

`mask`, (B, 1, *) of 0 and 1, is for examples of unequal length: 0 marks padding, where x is known to be 0,
and so is E[x | x_t]. The network sees 0 there, and the loss does not count it.
"""

LOG_SNR_CLIP = 20.0
"""Limit of |log-SNR| in c_noise (sigma / alpha from 4.5e-5 to 2.2e4): at t = 0 and 1 log-SNR is infinite."""


class Denoiser(nn.Module, ABC):
    """The posterior mean of the data, and the loss that trains it."""

    net: nn.Module
    """The module that is trained, averaged and saved."""
    schedule: Schedule
    self_conditioning = False
    """True where cond["estimate"], shape of x_t, may be the denoiser's own last x_hat (Chen et al. 2023)."""

    def space(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of x for one example, given that of the encoded data."""
        return tuple(shape)

    def embed(self, data: Tensor, cond: Cond | None = None) -> Tensor:
        """Map encoded data (B, ...) to x (B, *); identity unless the embedding is learned or scaled by a condition."""
        return data

    def unembed(self, x: Tensor, cond: Cond | None = None) -> Tensor:
        """Invert `embed`, for x without noise; what `cond` gives is as it was given."""
        return x

    def conditions(self, data: Tensor, cond: Cond) -> dict[str, Tensor]:
        """Return the conditions in `loss` of encoded data (B, ...): `cond`, and what is known of the data itself."""
        return dict(cond)

    def uncertainty(self, loss: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the uncertainty about each example at t from its loss, (B,) each; it rises with t (`Adaptive`)."""
        return loss

    @property
    def noise_range(self) -> tuple[float, float, float] | None:
        """(lowest, middle, highest) sigma / alpha that is worth training on; None: as for data of variance 1."""
        return None

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return E[x | x_t]: shape of x_t (B, *). `t` is () or (B,)."""

    @abstractmethod
    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the loss of each example, (B,), for encoded data x, times t (B,) and noise eps (B, *)."""


class Coefficients(NamedTuple):
    """x_hat = c_skip x_t + c_out F, where the target of F is of_x x + of_eps eps. Scalars or (B,)."""

    c_skip: Tensor
    c_out: Tensor
    of_x: Tensor
    of_eps: Tensor


Preconditioning = Callable[[Tensor, Tensor, float], Coefficients]
"""(alpha, sigma, sigma_data) -> coefficients with c_skip alpha + c_out of_x = 1 and c_skip sigma + c_out of_eps = 0."""


def eps(a: Tensor, s: Tensor, d: float) -> Coefficients:
    """Return the coefficients for F = eps (Ho et al. 2020, eq. 14). Undefined at alpha = 0."""
    return Coefficients(1 / a, -s / a, torch.zeros_like(a), torch.ones_like(a))


def x0(a: Tensor, s: Tensor, d: float) -> Coefficients:
    """Return the coefficients for F = x."""
    return Coefficients(torch.zeros_like(a), torch.ones_like(a), torch.ones_like(a), torch.zeros_like(a))


def v(a: Tensor, s: Tensor, d: float) -> Coefficients:
    """Return those for F = alpha eps - sigma x (Salimans and Ho 2022, section 4); alpha^2 + sigma^2 need not be 1."""
    n2 = a**2 + s**2
    return Coefficients(a / n2, -s / n2, -s, a)


def flow(a: Tensor, s: Tensor, d: float) -> Coefficients:
    """Return the coefficients for F = eps - x, the velocity of a straight path (Liu et al. 2022, eq. 1)."""
    return Coefficients(1 / (a + s), -s / (a + s), -torch.ones_like(a), torch.ones_like(a))


def edm(a: Tensor, s: Tensor, d: float) -> Coefficients:
    """Return those of Karras et al. (2022), table 1, for sigma / alpha; if d = 1 and alpha^2 + sigma^2 = 1, F = -v."""
    n = torch.sqrt(a**2 * d**2 + s**2)
    return Coefficients(a * d**2 / n**2, s * d / n, s / (n * d), -a * d / n)


PREDICTIONS: dict[str, Preconditioning] = {"eps": eps, "x0": x0, "v": v, "flow": flow, "edm": edm}


class RegressionDenoiser(Denoiser):
    """A network with a preconditioning, trained by mean squared error on the network's own target.

    net(x, c_noise, cond): x (B, *) of variance about 1; c_noise (B,) = -lambda / 8, which is EDM's
    log(sigma) / 4; cond as given. Returns (B, *). A network conditioned on lambda, not on t, works under
    every schedule.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: str = "edm", sigma_data: float = 1.0) -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is one of {', '.join(PREDICTIONS)}; got '{prediction}'")
        if prediction == "eps" and float(schedule(torch.ones((), dtype=torch.float64))[0]) == 0:
            raise ValueError(
                f"eps-prediction is undefined where alpha = 0, and {schedule!r} ends there; use v, x0, flow or edm"
            )
        self.net = net
        self.schedule = schedule
        self.prediction = prediction
        self.sigma_data = sigma_data

    def coefficients(self, t: Tensor) -> Coefficients:
        """Return the preconditioning at times `t`."""
        return PREDICTIONS[self.prediction](*self.schedule(t), self.sigma_data)

    def network(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return F, the network's raw output at x_t (B, *) and t (B,): shape of x_t."""
        alpha, sigma = self.schedule(t)
        c_in = 1 / torch.sqrt(alpha**2 * self.sigma_data**2 + sigma**2)
        c_noise = -self.schedule.log_snr(t).clamp(-LOG_SNR_CLIP, LOG_SNR_CLIP) / 8
        output: Tensor = self.net(_mask(expand(c_in, x_t) * x_t, cond), c_noise.to(x_t), cond or {})
        return output.to(x_t)

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        t = beside(t, x_t).expand(len(x_t))
        c = self.coefficients(t)
        return _mask(expand(c.c_skip, x_t) * x_t + expand(c.c_out, x_t) * self.network(x_t, t, cond), cond)

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        c = self.coefficients(t)
        x_t = expand(alpha, x) * x + expand(sigma, x) * eps
        target = expand(c.of_x, x) * x + expand(c.of_eps, x) * eps
        error = (self.network(x_t, t, cond) - target).square()
        if not cond or "mask" not in cond:
            return error.flatten(1).mean(1)
        counted = cond["mask"].expand_as(error).flatten(1)
        return (error.flatten(1) * counted).sum(1) / counted.sum(1).clamp(min=1)

    def uncertainty(self, loss: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the mean square of x - x_hat, (B,)."""
        return loss * self.coefficients(t).c_out.to(loss) ** 2


def _mask(x: Tensor, cond: Cond | None) -> Tensor:
    return x * cond["mask"] if cond and "mask" in cond else x
