"""Single steps by the papers' formulas, written again: what orders and whole trajectories do not see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import Cosine, DPMSolver2M, DPMSolver2S, DPMSolver3M, EulerAncestral, Heun, RectifiedFlow, UniPC
from toolkit.diffusion.sampler import Memory, at
from toolkit.verify.oracle import GaussianDenoiser

F64 = torch.float64
SCHEDULE = Cosine()
TIMES = [0.8, 0.66, 0.57, 0.41, 0.3]
POINTS = [at(SCHEDULE, t) for t in TIMES]
VALUES = [0.3, -0.2, 0.5, 0.9, -0.4]


def full(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=F64)


def told(x_t: Tensor, t: Tensor) -> Tensor:
    """x_hat by the time alone."""
    return full(VALUES[TIMES.index(float(t))])


def never() -> Tensor:
    raise AssertionError("noise was asked for")


def exponential(i: int, x: float, x_hat: float) -> float:
    """sigma_s / sigma_t x + alpha_s (1 - e^-h) x_hat, from point i to the next."""
    p, q = POINTS[i], POINTS[i + 1]
    return q.sigma / p.sigma * x + q.alpha * (1 - math.exp(p.lam - q.lam)) * x_hat


def test_two_m_step_by_step() -> None:
    """Lu et al. (2022), algorithm 2: D = (1 + 1 / 2r) x_hat_i - 1 / 2r x_hat_{i-1}, r the ratio of steps in lambda."""
    memory, sampler = Memory(4), DPMSolver2M()
    for i in range(4):
        got = float(sampler.step(told, SCHEDULE, full(0.4), TIMES[i], TIMES[i + 1], never, memory))
        d = VALUES[i]
        if i:
            r = (POINTS[i].lam - POINTS[i - 1].lam) / (POINTS[i + 1].lam - POINTS[i].lam)
            d = (1 + 1 / (2 * r)) * VALUES[i] - 1 / (2 * r) * VALUES[i - 1]
        assert got == pytest.approx(exponential(i, 0.4, d), abs=1e-14)


def test_three_m_starts_as_two_m() -> None:
    two, three = Memory(4), Memory(4)
    for i in range(3):
        wanted = DPMSolver2M().step(told, SCHEDULE, full(0.4), TIMES[i], TIMES[i + 1], never, two)
        got = DPMSolver3M().step(told, SCHEDULE, full(0.4), TIMES[i], TIMES[i + 1], never, three)
        assert (abs(float(got - wanted)) < 1e-14) == (i < 2)
    assert [point.t for point, _ in three.past] == TIMES[1:3]


@pytest.mark.parametrize("r", [0.2, 0.5, 1.0])
def test_two_s_at_any_middle(r: float) -> None:
    """x_hat linear in lambda is integrated as 2S says: x_hat at t and at a share r, in proportion 1 - 1/2r : 1/2r."""
    asked: list[float] = []

    def linear(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(at(SCHEDULE, float(t)).lam)
        return full(0.3 + 0.7 * asked[-1])

    p, q = POINTS[0], POINTS[1]
    got = float(DPMSolver2S(r).step(linear, SCHEDULE, full(0.4), p.t, q.t, never, Memory(1)))
    assert asked == pytest.approx([p.lam, p.lam + r * (q.lam - p.lam)])
    middle = 0.3 + 0.7 * (p.lam + q.lam) / 2
    assert got == pytest.approx(exponential(0, 0.4, middle), abs=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_first_correction_of_unipc_is_a_trapezoid(p: int) -> None:
    """One term and the weight 1/2 (Zhao et al. 2023, section 3.3): x_hat as the mean of both ends; then a predictor."""
    memory, sampler = Memory(2), UniPC(p)
    sampler.step(told, SCHEDULE, full(0.4), TIMES[0], TIMES[1], never, memory)
    sampler.step(told, SCHEDULE, full(7.0), TIMES[1], TIMES[2], never, memory)
    assert float(memory.x if memory.x is not None else math.nan) == pytest.approx(
        exponential(0, 0.4, (VALUES[0] + VALUES[1]) / 2), abs=1e-14
    )
    assert len(memory.past) == min(p, 2)


def test_heun_by_hand() -> None:
    """The trapezoid in both coordinates, on a Gaussian, with its slopes from the flow itself."""
    oracle, p, q = GaussianDenoiser(SCHEDULE, 0.3, 0.5), POINTS[1], POINTS[2]
    for name in ("sigma", "flow"):
        scale = [c.alpha + (c.sigma if name == "flow" else 0) for c in (p, q)]
        tau = [c.sigma / s for c, s in zip((p, q), scale, strict=True)]

        def slope(x: float, t: float, name: str = name) -> float:
            c = at(SCHEDULE, t)
            x_hat = float(oracle(full(x), torch.tensor(t, dtype=F64)))
            return (x - c.alpha * x_hat) / c.sigma - (x_hat if name == "flow" else 0)

        y = 0.4 / scale[0]
        first = slope(0.4, p.t)
        second = slope(scale[1] * (y + (tau[1] - tau[0]) * first), q.t)
        wanted = scale[1] * (y + (tau[1] - tau[0]) * (first + second) / 2)
        got = Heun(name).step(oracle, SCHEDULE, full(0.4), p.t, q.t, never, Memory(1))
        assert float(got) == pytest.approx(wanted, abs=1e-13)


def test_ancestral_noise_is_at_most_all_of_it() -> None:
    """However large eta: x_s = alpha_s x_hat + sigma_s z, with nothing kept of x_t. And from alpha_t = 0 too."""
    flow, oracle = RectifiedFlow(), GaussianDenoiser(RectifiedFlow(), 0.3, 0.5)
    for t, eta in ((0.8, 9.0), (1.0, 1.0)):
        x_hat = float(oracle(full(0.4), torch.tensor(t, dtype=F64)))
        got = EulerAncestral(eta).step(oracle, flow, full(0.4), t, 0.6, lambda: full(0.7), Memory(1))
        assert float(got) == pytest.approx(0.4 * x_hat + 0.6 * 0.7, abs=1e-14)
