"""Samplers that add noise on the way. No noise is added on a step to sigma = 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.sampler import (
    COORDINATES,
    Denoise,
    Memory,
    Noise,
    Point,
    Sampler,
    at,
    call,
    eps_hat,
    halfway,
    heun_step,
    regular,
    transfer,
)
from toolkit.diffusion.schedule import Schedule


def posterior(p: Point, q: Point) -> tuple[float, float, float, float]:
    """q(x_s | x_t, x) between any two times: (c_x_hat, c_x_t, beta, beta_tilde).

    Mean c_x_hat x + c_x_t x_t and variance beta_tilde (Ho et al. 2020, eq. 7, with any s < t: Kingma et al.
    2021, appendix A); beta is the variance of x_t given x_s.
    """
    forward = p.alpha / q.alpha
    beta = p.sigma**2 - (forward * q.sigma) ** 2
    share = (q.sigma / p.sigma) ** 2
    return q.alpha * beta / p.sigma**2, forward * share, beta, beta * share


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ancestral sampling (Ho et al. 2020, algorithm 2 and eq. 7), between any two times.

    `variance`: "beta-tilde", exact for data that is one point, or "beta", exact for unit normal data
    (section 3.2). With few steps use beta-tilde.
    """

    variance: str = "beta-tilde"
    order = 1
    stochastic = True

    def __post_init__(self) -> None:
        if self.variance not in ("beta", "beta-tilde"):
            raise ValueError(f"variance is beta or beta-tilde, got '{self.variance}'")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        c_x_hat, c_x_t, beta, beta_tilde = posterior(p, q)
        mean = c_x_hat * call(denoise, x_t, t) + c_x_t * x_t
        if q.sigma == 0:
            return mean
        return mean + math.sqrt(beta if self.variance == "beta" else beta_tilde) * noise().to(x_t)


@dataclass(frozen=True)
class StochasticDDIM(Sampler):
    """DDIM with noise (Song et al. 2021, eq. 12 and 16): eta = 0 is DDIM, eta = 1 is DDPM with beta-tilde."""

    eta: float = 1.0
    order = 1
    stochastic = True

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta lies in [0, 1], got {self.eta}")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        added = self.eta * math.sqrt(posterior(p, q)[3])
        if added == 0:
            return transfer(p, q, x_t, x_hat)
        kept = math.sqrt(q.sigma**2 - added**2)
        return q.alpha * x_hat + kept * eps_hat(p, x_t, x_hat) + added * noise().to(x_t)


@dataclass(frozen=True)
class EulerAncestral(Sampler):
    """Euler in sigma / alpha to a lower level than asked for, then noise up to it: another form of DDIM with eta."""

    eta: float = 1.0
    order = 1
    stochastic = True

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        # the ratio of ratios stays finite where alpha_t = 0
        fall = (q.sigma * p.alpha) / (q.alpha * p.sigma)
        up = min(q.ratio, self.eta * q.ratio * math.sqrt(max(0.0, 1 - fall**2)))
        down = math.sqrt(max(0.0, q.ratio**2 - up**2))
        y = x_hat + down * eps_hat(p, x_t, x_hat)
        return q.alpha * (y + up * noise().to(x_t)) if up > 0 else q.alpha * y


class SDEDPMSolver2M(Sampler):
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, eq. 13-14 with the midpoint of 2M): the reverse SDE, exponentially."""

    order = 2
    stochastic = True

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        c_x_hat, c_x_t, _, beta_tilde = posterior(p, q)
        if not regular(p, q):
            mean = c_x_hat * x_hat + c_x_t * x_t
            return mean if q.sigma == 0 else mean + math.sqrt(beta_tilde) * noise().to(x_t)
        # the paper's (sigma_s / sigma_t) e^-h, alpha_s (1 - e^-2h) and sigma_s^2 (1 - e^-2h) are the posterior's
        return c_x_t * x_t + c_x_hat * halfway(memory, p, q, x_hat) + math.sqrt(beta_tilde) * noise().to(x_t)


@dataclass(frozen=True)
class EDMChurn(Sampler):
    """EDM's stochastic sampler (Karras et al. 2022, algorithm 2): some noise is added first, then a Heun step.

    `churn` is S_churn, divided among the steps; levels are sigma / alpha in units of the data's deviation.
    The order is that of `inflate` = 1: any other leaves an excess of variance that no number of steps removes.
    """

    churn: float = 20.0
    low: float = 0.05
    high: float = 50.0
    inflate: float = 1.003
    order = 2
    calls = 2
    stochastic = True

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        if self.churn > 0 and self.low <= p.ratio <= self.high:
            gamma = min(self.churn / memory.total, math.sqrt(2) - 1)
            raised = -2 * math.log(p.ratio * (1 + gamma))
            up = at(schedule, float(schedule.time(torch.tensor(raised, dtype=torch.float64))))
            if up.ratio > p.ratio:  # not where the schedule ends
                added = self.inflate * math.sqrt(up.ratio**2 - p.ratio**2)
                x_t = up.alpha * (x_t / p.alpha + added * noise().to(x_t))
                p = up
        return heun_step(denoise, p, q, x_t, COORDINATES["sigma"])
