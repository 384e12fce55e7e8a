"""The start of a trajectory, as exact responses: along a mode everything is linear in the two noises and the mean."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import GRIDS, SCHEDULES, VE, DPMSolver3M, RectifiedFlow, Schedule, sample
from toolkit.diffusion.grid import highest
from toolkit.diffusion.start import bare, marginal

F64 = torch.float64


class Mode:
    """E[x | x_t] along one mode N(m, c), exactly."""

    def __init__(self, schedule: Schedule, c: float, m: float = 0.0) -> None:
        self.schedule, self.c, self.m, self.calls = schedule, c, m, 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        alpha, sigma = (float(v) for v in self.schedule(t))
        gain = alpha * self.c / (alpha**2 * self.c + sigma**2)
        return self.m + gain * (x_t - alpha * self.m)


def units() -> Iterator[Tensor]:
    """The two noises: each alone in one row, and none in the third."""
    yield torch.tensor([[1.0], [0.0], [0.0]], dtype=F64)
    yield torch.tensor([[0.0], [1.0], [0.0]], dtype=F64)


def moments(x: Tensor) -> tuple[float, float]:
    """Mean and deviation of what is linear in `units`."""
    return float(x[2]), float((x[:2] - x[2]).square().sum().sqrt())


@pytest.mark.parametrize("t", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("name", ["flow", "cosine", "vp", "ve", "linear-beta"])
def test_the_marginal_is_right_to_the_third_power_of_what_the_data_is_in_it(name: str, t: float) -> None:
    schedule = SCHEDULES[name]()
    alpha, sigma = (float(v) for v in schedule(torch.tensor(t, dtype=F64)))
    for c in (0.5, 30.0, 4096.0):
        mode, draws = Mode(schedule, c, 7.0), units()
        mean, std = moments(marginal(mode, schedule, t, lambda draws=draws: next(draws)))  # type: ignore[misc]
        true = alpha**2 * c + sigma**2
        g = alpha**2 * c / true
        assert std**2 / true == pytest.approx(1 - g**3, rel=1e-12) and mode.calls == 1
        assert mean == pytest.approx(alpha * 7.0 * (1 - g), rel=1e-9, abs=1e-12)
        noise = units()
        mean, std = moments(bare(schedule, t, lambda noise=noise: next(noise)))  # type: ignore[misc]
        assert std**2 / true == pytest.approx(1 - g, rel=1e-12) and mean == 0


def test_nothing_is_asked_where_there_is_nothing_but_noise() -> None:
    mode, draws = Mode(RectifiedFlow(), 4.0), units()
    x = marginal(mode, RectifiedFlow(), 1.0, lambda: next(draws))
    assert mode.calls == 0 and x[:, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("sigmas", [10.0, 3.0])
@pytest.mark.parametrize("c", [784.0, 4096.0, 196_608.0])
def test_both_ends_of_a_trajectory(c: float, sigmas: float) -> None:
    """The figures of `highest`: what comes out of bare noise, and out of the marginal, at so many deviations."""
    schedule, m = RectifiedFlow(), math.sqrt(c)
    times = GRIDS["log-snr"](schedule, 400, sigma_max=sigmas * m)
    found = {}
    for start in ("bare", "marginal"):
        mode, draws = Mode(schedule, c, m), units()
        noise = lambda draws=draws: next(draws)  # noqa: E731
        t = float(times[0])
        x = bare(schedule, t, noise) if start == "bare" else marginal(mode, schedule, t, noise)
        mean, std = moments(sample(mode, schedule, DPMSolver3M(), x, times))
        found[start] = (mean - m) / m, std / m
    g = 1 / (1 + sigmas**2)
    assert found["bare"] == pytest.approx((-math.sqrt(g), math.sqrt(1 - g)), abs=3e-4)
    assert found["marginal"] == pytest.approx((-(g**1.5), math.sqrt(1 - g**3)), abs=3e-4)
    if sigmas == 10:
        assert abs(found["marginal"][0]) < 2e-3 and abs(found["marginal"][1] - 1) < 1e-3


def test_the_highest_level() -> None:
    assert highest(1.0) == highest(100.0) == 100.0
    assert highest(4096.0) == 640.0 and highest(784.0) == 280.0
    assert highest(1e300) == pytest.approx(math.exp(10))  # no network is told of more


@pytest.mark.parametrize("side", [64, 128])
def test_a_schedule_that_ends_below_the_data(side: int) -> None:
    """VE to 100: most of what noise alone loses comes back; all of it does not."""
    schedule, c = VE(), float(side**2)
    times = GRIDS["log-snr"](schedule, 400, sigma_max=highest(c))
    assert float(schedule.noise_ratio(times[0])) == pytest.approx(100)
    draws, mode = units(), Mode(schedule, c)
    x = marginal(mode, schedule, float(times[0]), lambda: next(draws))
    std = moments(sample(mode, schedule, DPMSolver3M(), x, times))[1] / side
    g = c / (c + 1e4)
    assert std == pytest.approx(math.sqrt(1 - g**3), abs=1e-3) and std > math.sqrt(1 - g) + 0.1
