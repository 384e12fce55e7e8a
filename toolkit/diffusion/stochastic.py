"""Samplers that add noise at each step. A step to sigma = 0 adds none, unless `error` is set.

`error` (variance.py) is the mean square of x - x_hat. With it an ancestral step adds c^2 error to its variance, where
c is its coefficient of x_hat, and then any number of steps, even one, gives Gaussian data its variance (Bao et al.
2022, Analytic-DPM, theorem 1). Without it the variance is too small, and more so with fewer steps.
"""

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
    heun_step,
    transfer,
)
from toolkit.diffusion.schedule import Schedule
from toolkit.diffusion.variance import Error, error_of


def posterior(p: Point, q: Point) -> tuple[float, float, float, float]:
    """Return the coefficients of q(x_s | x_t, x) between any two times: (c_x_hat, c_x_t, beta, beta_tilde).

    Its mean is c_x_hat x + c_x_t x_t, its variance beta_tilde (Ho et al. 2020, eq. 7, for any s < t: Kingma et al.
    2021, appendix A); beta is the variance of x_t given x_s.
    """
    forward = p.alpha / q.alpha
    beta = p.sigma**2 - (forward * q.sigma) ** 2
    share = (q.sigma / p.sigma) ** 2
    return q.alpha * beta / p.sigma**2, forward * share, beta, beta * share


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ancestral sampling (Ho et al. 2020, algorithm 2 and eq. 7), between any two times.

    `variance`: "beta-tilde", exact for data that is one point, or "beta", exact for unit normal data except in the
    last step (section 3.2). With few steps use beta-tilde and `error`: "unit" is exact for white data of unit variance.
    """

    variance: str = "beta-tilde"
    error: str | Error | None = None
    order = 1
    stochastic = True

    def __post_init__(self) -> None:
        if self.variance not in ("beta", "beta-tilde"):
            raise ValueError(f"variance is beta or beta-tilde, got '{self.variance}'")
        if error_of(self.error) and self.variance == "beta":
            raise ValueError("error adds to beta-tilde; beta has it already, for unit normal data")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        c_x_hat, c_x_t, beta, beta_tilde = posterior(p, q)
        mean = c_x_hat * call(denoise, x_t, t) + c_x_t * x_t
        added = 0.0 if q.sigma == 0 else beta if self.variance == "beta" else beta_tilde
        return _noisy(mean, added + _missing_variance(self.error, p, c_x_hat), noise)


@dataclass(frozen=True)
class StochasticDDIM(Sampler):
    """DDIM with noise (Song et al. 2021, eq. 12 and 16): eta = 0 is DDIM, eta = 1 is DDPM with beta-tilde.

    With `error` it is Analytic-DDIM, at any eta, and adds noise at eta = 0 too.
    """

    eta: float = 1.0
    error: str | Error | None = None
    order = 1
    stochastic = True

    def __post_init__(self) -> None:
        error_of(self.error)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta lies in [0, 1], got {self.eta}")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        added = self.eta**2 * posterior(p, q)[3]
        if added == 0:
            mean, c_x_hat = transfer(p, q, x_t, x_hat), q.alpha - q.sigma / p.sigma * p.alpha
        else:
            rest = math.sqrt(q.sigma**2 - added)
            mean, c_x_hat = q.alpha * x_hat + rest * eps_hat(p, x_t, x_hat), q.alpha - rest * p.alpha / p.sigma
        return _noisy(mean, added + _missing_variance(self.error, p, c_x_hat), noise)


@dataclass(frozen=True)
class EulerAncestral(Sampler):
    """Euler in sigma / alpha to a level below that of s, then noise up to it: another form of DDIM with eta.

    eta may be above 1 here: more noise than the posterior's, up to a step that keeps nothing of x_t.
    """

    eta: float = 1.0
    error: str | Error | None = None
    order = 1
    stochastic = True

    def __post_init__(self) -> None:
        error_of(self.error)
        if self.eta < 0:
            raise ValueError(f"eta is not negative, got {self.eta}")

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
        return q.alpha * _noisy(y, up**2 + _missing_variance(self.error, p, 1 - down * p.alpha / p.sigma), noise)


def _missing_variance(error: str | Error | None, p: Point, c_x_hat: float) -> float:
    """Return the variance that a step lacks by using c x_hat for c x (Bao et al. 2022, theorem 1)."""
    variance = error_of(error)
    return c_x_hat**2 * variance(2 * p.lam) if variance else 0.0


def _noisy(mean: Tensor, variance: float, noise: Noise) -> Tensor:
    """Add noise of that variance to `mean`; draw none if it is 0."""
    return mean + math.sqrt(variance) * noise().to(mean) if variance > 0 else mean


@dataclass(frozen=True)
class EDMChurn(Sampler):
    """EDM's stochastic sampler (Karras et al. 2022, algorithm 2): each step adds some noise, then takes a Heun step.

    `churn` is S_churn, divided among the steps. Noise is added where `low` <= sigma / alpha <= `high`: the paper's
    S_tmin = 0.05 and S_tmax = 50 (table 5, ImageNet) are levels of sigma for data of deviation 0.5; ours are in
    units of the data's deviation, so twice that. `inflate` is S_noise, a factor, and S_churn has no unit.

    `inflate` above 1 makes up for detail that a network loses, by an excess of variance that remains at any number
    of steps; the paper's is 1.003 to 1.007. `coordinates` of the Heun step: "flow" is finite everywhere; in the
    paper's, "sigma", few steps from a high level give far too much variance (`toolkit verify --only ends`).
    """

    churn: float = 5.0
    low: float = 0.1
    high: float = 100.0
    inflate: float = 1.0
    coordinates: str = "flow"
    order = 2
    calls = 2
    stochastic = True

    def __post_init__(self) -> None:
        if self.coordinates not in COORDINATES:
            raise ValueError(f"coordinates are {' or '.join(COORDINATES)}, got '{self.coordinates}'")

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
        return heun_step(denoise, p, q, x_t, COORDINATES[self.coordinates])
