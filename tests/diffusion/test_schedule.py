"""Schedules, the chain and the warps: what the checks of `toolkit verify` do not already say."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from toolkit.diffusion import (
    SCHEDULES,
    VE,
    VP,
    Cosine,
    CosineChain,
    DiscreteSchedule,
    Karras,
    LinearChain,
    RectifiedFlow,
    Schedule,
    Shift,
    Sigmoid,
    Sqrt,
    ZeroTerminalSNR,
    respace,
)

F64 = torch.float64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VP(beta_min=0), "beta_min"),
        (lambda: VP(beta_min=3, beta_max=2), "beta_min"),
        (lambda: VE(sigma_min=0), "sigma_min"),
        (lambda: VE(sigma_min=2, sigma_max=1), "sigma_min"),
        (lambda: Karras(rho=0), "rho"),
        (lambda: Sigmoid(start=1, end=1), "start < end"),
        (lambda: Sigmoid(tau=0), "tau"),
        (lambda: Shift(RectifiedFlow(), 0), "shift factor"),
        (lambda: ZeroTerminalSNR(RectifiedFlow()), "variance-preserving"),
        (lambda: ZeroTerminalSNR(Shift(VE(), 2)), "variance-preserving"),
        (lambda: LinearChain(0), "1 to 1,000,000"),
        (lambda: LinearChain(20), "too short"),
        (lambda: CosineChain(0), "1 to 1,000,000"),
        (lambda: DiscreteSchedule(torch.tensor([])), "non-empty"),
        (lambda: DiscreteSchedule(torch.tensor([0.1, 1.5])), r"\(0, 1\]"),
        (lambda: DiscreteSchedule(torch.tensor([0.0, 0.1])), r"\(0, 1\]"),
        (lambda: DiscreteSchedule(torch.tensor([1.0, 0.1])), "only the last"),
        (lambda: DiscreteSchedule(torch.tensor([math.nan])), r"\(0, 1\]"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_time_of_what_is_never_reached_is_the_nearest_end(name: str) -> None:
    schedule = SCHEDULES[name]()
    low, high = schedule.time(torch.tensor([-math.inf, math.inf], dtype=F64)).tolist()
    assert abs(low - 1) < 1e-12 and abs(high) < 1e-12
    beyond = schedule.time(torch.tensor([-200.0, 200.0], dtype=F64))
    assert bool(((beyond >= 0) & (beyond <= 1)).all())


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_ends_are_finite_and_where_they_should_be(name: str) -> None:
    alpha, sigma = SCHEDULES[name]()(torch.tensor([0.0, 1.0], dtype=F64))
    assert bool(alpha.isfinite().all()) and bool(sigma.isfinite().all())
    least = {"sqrt": math.sqrt(0.01), "ve": 0.01, "karras": 0.002}.get(name, 0.0)
    assert abs(float(sigma[0]) - least) < 1e-12
    most = 2e-2 if name not in ("ve", "karras", "scaled-linear") else 1.0
    assert float(alpha[1]) <= most


def test_schedules_by_hand() -> None:
    t = torch.tensor([0.25, 0.5], dtype=F64)
    torch.testing.assert_close(RectifiedFlow()(t)[0], 1 - t, rtol=0, atol=1e-15)
    torch.testing.assert_close(Cosine()(t)[1], torch.sin(math.pi / 2 * t), rtol=0, atol=1e-15)
    torch.testing.assert_close(Sqrt(s=0.0)(t)[0] ** 2, 1 - t.sqrt(), rtol=0, atol=1e-15)
    torch.testing.assert_close(VE()(t)[1], 0.01 * 1e4**t, rtol=1e-12, atol=0)
    torch.testing.assert_close(VP()(t)[0] ** 2, torch.exp(-(0.1 * t + 19.9 * t**2 / 2)), rtol=1e-12, atol=0)
    rho = (0.002 ** (1 / 7) + t * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    torch.testing.assert_close(Karras()(t)[1], rho, rtol=1e-12, atol=0)
    centre = Sigmoid()(t)[0][1] ** 2
    assert abs(float(centre) - 0.5) < 1e-15


def test_a_chain_is_exact_on_its_grid_and_continuous_between() -> None:
    for T in (7, 100, 999, 1000):
        chain = LinearChain(T) if T > 20 else DiscreteSchedule(torch.linspace(0.1, 0.5, T))
        t = torch.arange(T + 1, dtype=F64) / T
        alpha_bar = torch.cat([torch.ones(1, dtype=F64), torch.cumprod(1 - chain.betas, 0)])
        torch.testing.assert_close(chain(t)[0] ** 2, alpha_bar, rtol=1e-12, atol=0)
        torch.testing.assert_close(chain.time(chain.log_snr(t[1:])), t[1:], rtol=0, atol=1e-13)
        inside = chain(t[1:] - 0.5 / T)[0]
        assert bool(((inside > chain(t[1:])[0]) & (inside < chain(t[:-1])[0])).all())
        # log(abar) is linear between the knots
        torch.testing.assert_close(inside**2, (alpha_bar[1:] * alpha_bar[:-1]).sqrt(), rtol=1e-12, atol=0)


def test_cosine_chain_is_the_paper_s() -> None:
    chain, i = CosineChain(), torch.arange(1, 1000, dtype=F64)
    f = torch.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(chain(i / 1000)[0] ** 2, f, rtol=1e-9, atol=0)
    assert float(chain.betas[-1]) == 0.999


def test_respacing_everything_is_the_chain_itself() -> None:
    chain = LinearChain()
    torch.testing.assert_close(respace(chain, torch.arange(1, 1001)).betas, chain.betas, rtol=1e-12, atol=1e-16)


def test_zero_terminal_snr_of_a_chain_that_has_it_changes_nothing() -> None:
    chain = DiscreteSchedule(torch.tensor([0.1, 0.2, 1.0], dtype=F64))
    t = torch.linspace(0, 1, 4, dtype=F64)
    assert float(chain(t)[0][-1]) == 0.0
    torch.testing.assert_close(ZeroTerminalSNR(chain)(t)[0], chain(t)[0], rtol=0, atol=1e-15)


def test_shapes_and_width_follow_t() -> None:
    t = torch.full((2, 3), 0.5, dtype=torch.float32)
    for make in SCHEDULES.values():
        alpha, sigma = make()(t)
        assert alpha.shape == sigma.shape == (2, 3) and alpha.dtype == sigma.dtype == F64
