"""Samplers: steps from x_t to x_s, s < t. The contract, the loop, and the deterministic one-step methods.

`stochastic.py`, `multistep.py` and `sde.py` hold the others, `grid.py` the times. Every method uses only posterior
means, so it works for any preconditioning, schedule and guidance. Scalars are Python floats (float64).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion.recall import Denoise, Following
from toolkit.diffusion.schedule import Schedule, beside

Noise = Callable[[], Tensor]
"""A fresh standard normal tensor of the shape of x_t at each call."""


class Point(NamedTuple):
    """A schedule at one time, as floats."""

    t: float
    alpha: float
    sigma: float
    lam: float
    """log(alpha / sigma), half the log-SNR, as the solver papers write it."""

    @property
    def ratio(self) -> float:
        """sigma / alpha; inf where alpha = 0."""
        return self.sigma / self.alpha if self.alpha > 0 else math.inf


def at(schedule: Schedule, t: float) -> Point:
    """Return the schedule at time `t`."""
    time = torch.tensor(t, dtype=torch.float64)
    log_snr = schedule.log_snr(time)
    alpha, sigma = schedule.on_path(log_snr)
    return Point(t, float(alpha), float(sigma), float(log_snr) / 2)


@dataclass
class Memory:
    """The state of a sampler between steps."""

    total: int
    """Number of steps in the whole trajectory."""
    past: list[tuple[Point, Tensor]] = field(default_factory=list)
    """Earlier points with the x_hat or eps_hat there, newest last."""
    x: Tensor | None = None
    """The x before the last step, for methods that correct that step."""
    noise: Tensor | None = None
    """The noise that the last step added, for the same methods."""

    def push(self, point: Point, value: Tensor, length: int) -> None:
        """Append a value, and keep the last `length`."""
        self.past = [*self.past, (point, value)][-length:]


class Sampler(ABC):
    """A method that takes one step. Abstract or final; options are dataclass fields."""

    order: ClassVar[int]
    """Global order of convergence, measured by `toolkit verify` (for stochastic samplers: of mean and variance)."""
    calls: ClassVar[int] = 1
    """Network calls in a step that does not end at t = 0."""
    stochastic: ClassVar[bool] = False

    @abstractmethod
    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        """Return x_s (B, *) from x_t (B, *), where 1 >= t > s >= 0."""


@dataclass(frozen=True)
class Step:
    """A step of a trajectory, as `trajectory` yields it."""

    index: int
    t: float
    s: float
    x: Tensor
    """x_s."""
    x_hat: Tensor
    """The last posterior mean that the step evaluated."""


def trajectory(
    denoise: Denoise,
    schedule: Schedule,
    sampler: Sampler,
    x_T: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    clean: bool = False,
) -> Iterator[Step]:
    """Follow `times`, (n + 1,) descending, from x_T ~ N(0, sigma_T^2) (B, *). The caller draws, records or stops.

    A self-conditioned denoiser gets its own last x_hat of this trajectory, never of another. `clean`: if the times end
    with noise left, one more call removes it (a step from t to s = t, with x = x_hat).
    Raises ValueError when the times do not descend, or when a stochastic sampler is given no noise.
    """
    grid = times.double().tolist()
    if len(grid) < 2 or any(t <= s for t, s in zip(grid, grid[1:], strict=False)):
        raise ValueError("times must be at least two, strictly descending")
    if noise is None:
        noise = _no_noise
    memory = Memory(total=len(grid) - 1)
    following = Following(denoise)
    x = x_T
    for index, (t, s) in enumerate(zip(grid, grid[1:], strict=False)):
        x = sampler.step(following, schedule, x, t, s, noise, memory)
        yield Step(index, t, s, x, following.x_hat)
    if clean and at(schedule, grid[-1]).sigma > 0:
        x = call(following, x, grid[-1])
        yield Step(len(grid) - 1, grid[-1], grid[-1], x, x)


def sample(
    denoise: Denoise,
    schedule: Schedule,
    sampler: Sampler,
    x_T: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    clean: bool = False,
) -> Tensor:
    """Return the end of `trajectory`: (B, *)."""
    x = x_T
    for step in trajectory(denoise, schedule, sampler, x_T, times, noise, clean):
        x = step.x
    return x


def _no_noise() -> Tensor:
    raise ValueError("this sampler is stochastic: give it noise, for example a NoiseStream")


def call(denoise: Denoise, x: Tensor, t: float) -> Tensor:
    """Return `denoise` at a time given as a float."""
    return denoise(x, beside(torch.tensor(t, dtype=torch.float64), x))


def eps_hat(p: Point, x_t: Tensor, x_hat: Tensor) -> Tensor:
    """Return the noise estimate of a posterior mean: (x_t - alpha_t x_hat) / sigma_t."""
    return (x_t - p.alpha * x_hat) / p.sigma


def transfer(p: Point, q: Point, x_t: Tensor, x_hat: Tensor) -> Tensor:
    """Return x_s = alpha_s x_hat + sigma_s eps_hat, exact if x_hat is constant from t to s (Song et al. 2021, eq. 12).

    It is also the exponential step (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) x_hat, h = lambda_s - lambda_t,
    of Lu et al. (2022, DPM-Solver++, eq. 9), finite at both ends. All data-prediction methods use it.
    """
    ratio = q.sigma / p.sigma
    return ratio * x_t + (q.alpha - ratio * p.alpha) * x_hat


def halfway(memory: Memory, p: Point, q: Point, x_hat: Tensor) -> Tensor:
    """Return x_hat halfway to q in lambda, extrapolated from the value in `memory`, and store x_hat in its place.

    Without an earlier value, return x_hat itself (Lu et al. 2022, DPM-Solver++, algorithm 2).
    """
    extrapolated = x_hat
    if memory.past:
        before, x_before = memory.past[-1]
        extrapolated = x_hat + (q.lam - p.lam) / (2 * (p.lam - before.lam)) * (x_hat - x_before)
    memory.push(p, x_hat, 1)
    return extrapolated


def regular(p: Point, q: Point) -> bool:
    """Return True where lambda is finite at both ends; otherwise every method takes the first-order step."""
    return math.isfinite(p.lam) and math.isfinite(q.lam)


class Coordinates(NamedTuple):
    """Variables y = x / scale and tau in which the probability-flow ODE is dy/dtau = eps_hat - slope x_hat."""

    scale: Callable[[Point], float]
    tau: Callable[[Point], float]
    slope: float


COORDINATES: dict[str, Coordinates] = {
    # y = x / alpha, tau = sigma / alpha: Karras et al. (2022), eq. 4 with s(t) taken out; infinite where alpha = 0
    "sigma": Coordinates(lambda p: p.alpha, lambda p: p.ratio, 0.0),
    # the straight path, to which any other path is rescaled: finite at both ends
    "flow": Coordinates(lambda p: p.alpha + p.sigma, lambda p: p.sigma / (p.alpha + p.sigma), 1.0),
}


class DDIM(Sampler):
    """DDIM (Song et al. 2021, eq. 12) with eta = 0; `StochasticDDIM` takes another eta."""

    order = 1

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        return transfer(at(schedule, t), at(schedule, s), x_t, call(denoise, x_t, t))


@dataclass(frozen=True)
class Euler(Sampler):
    """Euler's method on the probability-flow ODE; equal to DDIM in exact arithmetic, in either coordinates."""

    coordinates: str = "flow"
    order = 1

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q, c = at(schedule, t), at(schedule, s), COORDINATES[self.coordinates]
        x_hat = call(denoise, x_t, t)
        if math.isinf(c.tau(p)):
            return transfer(p, q, x_t, x_hat)
        slope = eps_hat(p, x_t, x_hat) - c.slope * x_hat
        return c.scale(q) * (x_t / c.scale(p) + (c.tau(q) - c.tau(p)) * slope)


@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method (Karras et al. 2022, algorithm 1), the trapezoidal rule; Euler on the step to sigma = 0.

    `coordinates`: "flow" is finite everywhere; "sigma" is the paper's.
    """

    coordinates: str = "flow"
    order = 2
    calls = 2

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        return heun_step(denoise, at(schedule, t), at(schedule, s), x_t, COORDINATES[self.coordinates])


def heun_step(denoise: Denoise, p: Point, q: Point, x_t: Tensor, c: Coordinates) -> Tensor:
    """Take one step of Heun's method from p to q in coordinates `c`."""
    x_hat = call(denoise, x_t, p.t)
    euler = transfer(p, q, x_t, x_hat)
    if q.sigma == 0 or math.isinf(c.tau(p)):
        return euler
    first = eps_hat(p, x_t, x_hat) - c.slope * x_hat
    x_hat = call(denoise, euler, q.t)
    second = eps_hat(q, euler, x_hat) - c.slope * x_hat
    return c.scale(q) * (x_t / c.scale(p) + (c.tau(q) - c.tau(p)) / 2 * (first + second))


@dataclass(frozen=True)
class DPMSolver2S(Sampler):
    """DPM-Solver++(2S), singlestep (Lu et al. 2022, algorithm 1): a midpoint at a share `r` of the way in lambda."""

    r: float = 0.5
    order = 2
    calls = 2

    def __post_init__(self) -> None:
        if not 0 < self.r <= 1:
            raise ValueError(f"r lies in (0, 1], got {self.r}")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if not regular(p, q):
            return transfer(p, q, x_t, x_hat)
        lam = torch.tensor(p.lam + self.r * (q.lam - p.lam), dtype=torch.float64)
        m = at(schedule, float(schedule.time(2 * lam)))
        middle = call(denoise, transfer(p, m, x_t, x_hat), m.t)
        return transfer(p, q, x_t, x_hat + (middle - x_hat) / (2 * self.r))
