"""EDM's churn: between which levels noise is added, how much, and where it cannot be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import VE, EDMChurn, Heun, sample
from toolkit.diffusion.sampler import Memory, at
from toolkit.verify.oracle import GaussianDenoiser

F64 = torch.float64
SCHEDULE = VE(1e-3, 1e3)
ONE = torch.ones(1, 1, dtype=F64)


def asked_at(sampler: EDMChurn, level: float, total: int = 10) -> tuple[float, int]:
    """The level at which the denoiser is first asked, over the one where the step begins; and draws of noise."""
    t = float(SCHEDULE.time(torch.tensor(-2 * math.log(level), dtype=F64)))
    s = float(SCHEDULE.time(torch.tensor(-2 * math.log(level / 2), dtype=F64)))
    oracle, seen, draws = GaussianDenoiser(SCHEDULE, 0.0, 1.0), [], []

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(at(SCHEDULE, float(t)).ratio)
        return oracle(x_t, t)

    def noise() -> Tensor:
        draws.append(1)
        return ONE

    sampler.step(denoise, SCHEDULE, ONE, t, s, noise, Memory(total))
    return seen[0] / at(SCHEDULE, t).ratio, len(draws)


def test_the_limits_are_the_papers_in_units_of_the_data() -> None:
    """S_tmin = 0.05 and S_tmax = 50 for data of deviation 0.5 (Karras et al. 2022, table 5)."""
    assert (EDMChurn().low, EDMChurn().high) == (0.05 / 0.5, 50 / 0.5)
    for level, churned in ((0.09, False), (0.11, True), (1.0, True), (99.0, True), (101.0, False)):
        raised, draws = asked_at(EDMChurn(), level)
        assert draws == churned and (raised > 1.3) == churned and (churned or raised == 1)


def test_both_limits_are_included() -> None:
    for level in (0.25, 3.0):
        here = at(SCHEDULE, float(SCHEDULE.time(torch.tensor(-2 * math.log(level), dtype=F64)))).ratio
        assert asked_at(EDMChurn(low=here), level)[1] == 1 and asked_at(EDMChurn(high=here), level)[1] == 1
        assert asked_at(EDMChurn(low=here * 1.001), level)[1] == 0
        assert asked_at(EDMChurn(high=here * 0.999), level)[1] == 0


@pytest.mark.parametrize(("churn", "total", "gamma"), [(2.0, 10, 0.2), (5.0, 100, 0.05), (5.0, 10, math.sqrt(2) - 1)])
def test_the_share_that_is_added_and_its_cap(churn: float, total: int, gamma: float) -> None:
    assert asked_at(EDMChurn(churn=churn), 1.0, total)[0] == pytest.approx(1 + gamma, rel=1e-9)


@pytest.mark.parametrize("inflate", [1.0, 1.1])
def test_the_noise_that_is_added(inflate: float) -> None:
    """The data are a point at 0, so a Heun step from the raised level scales x_t + noise, which is linear."""
    point, times = GaussianDenoiser(SCHEDULE, 0.0, 0.0), torch.tensor([0.5, 0.4], dtype=F64)
    p, q = at(SCHEDULE, 0.5), at(SCHEDULE, 0.4)
    got = sample(point, SCHEDULE, EDMChurn(2.0, inflate=inflate), 0 * ONE, times.clone(), lambda: ONE)
    raised = p.ratio * math.sqrt(2)
    assert float(got) == pytest.approx(inflate * math.sqrt(raised**2 - p.ratio**2) * q.ratio / raised, rel=1e-9)


def test_nothing_is_added_where_the_schedule_ends() -> None:
    times = torch.tensor([1.0, 0.9], dtype=F64)
    oracle = GaussianDenoiser(SCHEDULE, 0.0, 1.0)

    def never() -> Tensor:
        raise AssertionError("noise was asked for")

    got = sample(oracle, SCHEDULE, EDMChurn(high=1e4), 1e3 * ONE, times, never)
    assert torch.equal(got, sample(oracle, SCHEDULE, Heun(), 1e3 * ONE, times))
    with pytest.raises(ValueError, match="sigma or flow"):
        EDMChurn(coordinates="x")
