"""Measurements of samplers without Monte Carlo: orders of convergence, exact histories, exact variances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from toolkit.diffusion.sampler import Denoise, Memory, Noise, Sampler, sample
from toolkit.diffusion.schedule import Schedule
from toolkit.verify.oracle import DTYPE, GaussianDenoiser, MixtureDenoiser, SpectrumDenoiser

ExactFlow = GaussianDenoiser | MixtureDenoiser

Solution = Callable[[float], Tensor]
"""t -> x_t on the exact trajectory, (B, *)."""


class CachedSchedule(Schedule):
    """A schedule with a cache of single times, since every sampler uses the same times."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._log_snrs: dict[float, Tensor] = {}
        self._points: dict[float, tuple[Tensor, Tensor]] = {}

    def log_snr(self, t: Tensor) -> Tensor:
        if t.ndim:
            return self.schedule.log_snr(t)
        key = float(t)
        if key not in self._log_snrs:
            self._log_snrs[key] = self.schedule.log_snr(t)
        return self._log_snrs[key]

    def on_path(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        if log_snr.ndim:
            return self.schedule.on_path(log_snr)
        key = float(log_snr)
        if key not in self._points:
            self._points[key] = self.schedule.on_path(log_snr)
        return self._points[key]

    def time(self, log_snr: Tensor) -> Tensor:
        return self.schedule.time(log_snr)


def no_noise() -> Tensor:
    """Fail: the noise of samplers that must not use any."""
    raise AssertionError("a deterministic sampler asked for noise")


def log_uniform(schedule: Schedule, n: int, high: float = 4.0, low: float = 0.2) -> Tensor:
    """Return times with n equal steps in log-SNR between two finite levels sigma / alpha: (n + 1,).

    There is no step to sigma = 0: its error does not depend on n and would hide the order.
    """
    return schedule.time(-2 * torch.linspace(math.log(high), math.log(low), n + 1, dtype=DTYPE))


def sigma_uniform(schedule: Schedule, n: int, high: float = 4.0, low: float = 0.2) -> Tensor:
    """Return times with n equal steps in sigma / alpha between two finite levels: (n + 1,)."""
    return schedule.time(-2 * torch.log(torch.linspace(high, low, n + 1, dtype=DTYPE)))


def order(errors: Sequence[float], counts: Sequence[int]) -> float:
    """Return the slope of log(error) against log(1 / steps), by least squares."""
    x = [-math.log(n) for n in counts]
    y = [math.log(max(e, 1e-300)) for e in errors]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)


def exact_history(
    sampler: Sampler, denoise: Denoise, schedule: Schedule, times: Tensor, solution: Solution, steps: int
) -> Memory:
    """Return the memory after `steps` steps along the exact trajectory, as a multistep formula assumes it.

    One start-up step of first order makes an error of h^2 once, which limits any method to order 2.
    """
    grid = times.tolist()
    memory = Memory(total=len(grid) - 1)
    for t, s in itertools.islice(itertools.pairwise(grid), steps):
        sampler.step(denoise, schedule, solution(t), t, s, no_noise, memory)
        if memory.x is not None:  # a corrector has replaced it with its own estimate
            memory.x = solution(t)
    return memory


def final_error(
    sampler: Sampler, denoise: Denoise, schedule: Schedule, times: Tensor, solution: Solution, history: int = 0
) -> float:
    """Return the largest |x - exact| at the end of `times`, with the first `history` steps exact."""
    memory = exact_history(sampler, denoise, schedule, times, solution, history)
    grid = times.tolist()
    x = solution(grid[history])
    for t, s in itertools.pairwise(grid[history:]):
        x = sampler.step(denoise, schedule, x, t, s, no_noise, memory)
    return float((x - solution(grid[-1])).abs().max())


def exact_order(sampler: Sampler, oracle: ExactFlow, grids: Sequence[Tensor], x_T: Tensor, history: int = 0) -> float:
    """Return the order of convergence on `grids`, which differ in their number of steps only."""
    errors = []
    for times in grids:
        start = float(times[0])
        solution = partial(_transport, oracle, x_T, start)
        errors.append(final_error(sampler, oracle, oracle.schedule, times, solution, history))
    return order(errors, [len(times) - 1 for times in grids])


@cache  # by identity of oracle and x_T: the same for every sampler that is measured on them
def _transport(oracle: ExactFlow, x_T: Tensor, start: float, t: float) -> Tensor:
    return oracle.transport(x_T, start, t)


class BasisNoise:
    """Noise whose k-th draw (k = 1, 2, ...) is the k-th unit vector of the batch axis for each mode: (size, modes)."""

    def __init__(self, size: int, modes: int = 1) -> None:
        self.size, self.modes = size, modes
        self.draws = 0

    def __call__(self) -> Tensor:
        self.draws += 1
        unit = torch.zeros(self.size, self.modes, dtype=DTYPE)
        unit[self.draws] = 1
        return unit


def linear_response(
    sampler: Sampler, oracle: GaussianDenoiser | SpectrumDenoiser, times: Tensor, modes: int = 1
) -> Tensor:
    """Return d x / d x_T and d x / d noise of each draw, for the last x: (n + 1,), or (n + 1, modes) for several modes.

    For zero-mean Gaussian data every step is linear, so a batch whose elements are x_T = 1 alone, first draw = 1
    alone, ... gives the whole distribution of the end exactly.
    """
    noise = BasisNoise(len(times), modes)
    x = torch.zeros(len(times), modes, dtype=DTYPE)
    x[0] = 1
    response = sample(oracle, oracle.schedule, sampler, x, times, noise)
    return response[:, 0] if modes == 1 else response


def final_variance(sampler: Sampler, oracle: GaussianDenoiser, times: Tensor) -> float:
    """Return the exact variance of the end when x_T ~ N(0, V_T)."""
    return variance_of(linear_response(sampler, oracle, times), oracle, times)


def variance_of(response: Tensor, oracle: GaussianDenoiser, times: Tensor) -> float:
    """Return the same from a `linear_response` (n + 1,)."""
    return float(response[0] ** 2 * oracle.variance(float(times[0])) + response[1:].square().sum())


def end_variance(sampler: Sampler, oracle: SpectrumDenoiser, times: Tensor) -> Tensor:
    """Return the exact variance of each mode at the end, (K,), for the usual start x_T ~ N(0, sigma_T^2)."""
    response = linear_response(sampler, oracle, times, len(oracle.eigenvalues)).reshape(len(times), -1)
    start = float(oracle.schedule(times[0])[1])
    return response[0] ** 2 * start**2 + response[1:].square().sum(0)


def end_shift(sampler: Sampler, oracle: SpectrumDenoiser, times: Tensor) -> Tensor:
    """Return the share of a mean that is missing at the end, since x_T ~ N(0, sigma_T^2) lacks it: (K,)."""
    return linear_response(sampler, oracle, times, len(oracle.eigenvalues)).reshape(len(times), -1)[0] * float(
        oracle.schedule(times[0])[0]
    )


def repeat_noise(noises: Sequence[Tensor]) -> Noise:
    """Return noise that repeats the given draws in order, for samplers that share it."""
    draws = iter(noises)
    return lambda: next(draws)
