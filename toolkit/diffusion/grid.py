"""Times to visit: (n + 1,) float64, strictly descending, ending at t = 0. Step i goes from grid[i] to grid[i + 1]."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toolkit.diffusion.adaptive import Adaptive
from toolkit.diffusion.denoiser import LOG_SNR_CLIP
from toolkit.diffusion.schedule import Schedule

Grid = Callable[..., Tensor]
"""(schedule, n, **options) -> times (n + 1,)."""
IN_LEVELS = ("log-snr", "karras")
"""Grids whose range is given by two levels sigma / alpha."""
LEAST_TOP = 100.0
ABOVE = 10.0
"""Highest level in deviations of the data's strongest mode, whose variance is 1 % of the noise's there."""


def highest(eigenvalue: float) -> float:
    """Return the level sigma / alpha to begin at, for the largest eigenvalue of the data's covariance (`Facts.spread`).

    From pure noise at level r, the exact flow gives a mode of variance c and mean m the share 1 / sqrt(1 + c / r^2) of
    its deviation and a mean too small by m / sqrt(1 + r^2 / c): 0.995 and m / 10 at r = 10 sqrt(c). From
    `start.marginal` these are 1 - 5e-7 and m / 1000. The level is within the range of c_noise (`LOG_SNR_CLIP`).
    """
    return min(max(LEAST_TOP, ABOVE * math.sqrt(eigenvalue)), math.exp(LOG_SNR_CLIP / 2))


def uniform(schedule: Schedule, n: int, start: float = 1.0) -> Tensor:
    """Return equal steps in t from `start` to 0."""
    _check(n)
    return torch.linspace(start, 0, n + 1, dtype=torch.float64)


def log_snr(schedule: Schedule, n: int, sigma_min: float = 0.01, sigma_max: float = 100.0) -> Tensor:
    """Return n points with equal steps in log-SNR between two levels sigma / alpha, then 0.

    If the schedule does not reach a level, its own end replaces it.
    """
    _check(n)
    low, high = _ends(schedule, sigma_min, sigma_max)
    ends = math.log(high), math.log(low)
    return _times(schedule, n, lambda k: torch.exp(torch.linspace(*ends, k, dtype=torch.float64)))


def karras(schedule: Schedule, n: int, sigma_min: float = 0.01, sigma_max: float = 100.0, rho: float = 7.0) -> Tensor:
    """Return n levels sigma / alpha with equal steps in sigma^(1/rho) (Karras et al. 2022, eq. 5), then 0.

    rho = 1 is linear; rho to infinity is `log_snr`.
    """
    _check(n)
    low, high = _ends(schedule, sigma_min, sigma_max)
    first, last = high ** (1 / rho), low ** (1 / rho)
    return _times(schedule, n, lambda k: torch.linspace(first, last, k, dtype=torch.float64) ** rho)


def leading(schedule: Schedule, n: int) -> Tensor:
    """Return every (T // n)-th step of a chain, from the first one up (Song et al. 2021, appendix D.2); never T."""
    T = _chain_length(schedule, n)
    return _on_chain(torch.arange(n).flip(0) * (T // n) + 1, T)


def trailing(schedule: Schedule, n: int) -> Tensor:
    """Return the steps of a chain from T down by T / n, rounded (Lin et al. 2024, section 3.3)."""
    T = _chain_length(schedule, n)
    # the same float arithmetic for every n, prime ones too; round half to even
    return _on_chain(torch.round(T - torch.arange(n, dtype=torch.float64) * (T / n)).long(), T)


def linspace(schedule: Schedule, n: int) -> Tensor:
    """Return n steps of a chain from T to 1, both included, rounded (Nichol and Dhariwal 2021, section 4)."""
    T = _chain_length(schedule, n)
    return _on_chain(torch.round(torch.linspace(T, 1, n, dtype=torch.float64)).long(), T)


def learned(schedule: Schedule, n: int, *, time_distribution: Adaptive) -> Tensor:
    """Return n equally spaced quantiles of an adaptive time distribution, then 0 (Dieleman et al. 2022)."""
    _check(n)
    times = time_distribution.time(torch.linspace(1, 0, n, dtype=torch.float64), schedule)
    # all levels beyond the schedule's end are that end
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)]).unique_consecutive()


GRIDS: dict[str, Grid] = {
    "uniform": uniform,
    "log-snr": log_snr,
    "karras": karras,
    "leading": leading,
    "trailing": trailing,
    "linspace": linspace,
}


def _check(n: int) -> None:
    if n < 1:
        raise ValueError(f"at least one step is needed, got {n}")


def _chain_length(schedule: Schedule, n: int) -> int:
    _check(n)
    if schedule.T is None:
        raise ValueError(f"this grid needs a discrete chain, not {schedule!r}; use uniform, log-snr or karras")
    if n > schedule.T:
        raise ValueError(f"{n} steps asked of a chain of {schedule.T}")
    return schedule.T


def _on_chain(steps: Tensor, T: int) -> Tensor:
    return torch.cat([steps.double() / T, torch.zeros(1, dtype=torch.float64)])


def _ends(schedule: Schedule, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"0 < sigma_min < sigma_max expected, got {sigma_min} and {sigma_max}")
    least, most = schedule.noise_ratio(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return max(sigma_min, least), min(sigma_max, most)


def _times(schedule: Schedule, n: int, levels: Callable[[int], Tensor]) -> Tensor:
    times = schedule.time(-2 * torch.log(levels(n)))
    if float(times[-1]) < 1e-12:  # the schedule's least noise is at t = 0 itself, so n steps need one more level
        times = schedule.time(-2 * torch.log(levels(n + 1)))[:-1]
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])
