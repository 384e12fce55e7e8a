"""Time distributions are the quantiles of their densities; weightings by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import (
    TIME_DISTRIBUTIONS,
    VP,
    WEIGHTINGS,
    Cosine,
    LinearChain,
    LogitNormal,
    LogNormal,
    RectifiedFlow,
    RegressionDenoiser,
    Schedule,
    TimeDistribution,
    Uniform,
    stratified,
)

F64 = torch.float64
CONTINUOUS: list[Schedule] = [RectifiedFlow(), Cosine(), VP()]


@pytest.mark.parametrize("schedule", CONTINUOUS, ids=repr)
@pytest.mark.parametrize(
    "law", [Uniform(), LogitNormal(), LogitNormal(-0.5, 1.5), LogNormal(), LogNormal(0.3, 0.8)], ids=repr
)
def test_density_integrates_to_the_quantiles(law: TimeDistribution, schedule: Schedule) -> None:
    u = torch.linspace(0.05, 0.95, 19, dtype=F64)
    t = law.time(u, schedule)
    step = -1 if bool((t.diff() < 0).all()) else 1  # log-normal: more noise is later
    assert bool((step * t.diff() > 0).all())
    for i in range(18):
        edges = torch.linspace(float(t[i]), float(t[i + 1]), 2001, dtype=F64)
        middle = (edges[1:] + edges[:-1]) / 2
        mass = float((law.density(middle, schedule) * edges.diff()).sum())
        assert abs(mass - 0.05) < 1e-6


def test_the_default_log_normal_is_that_of_the_paper() -> None:
    """Karras et al. (2022), table 1: log sigma ~ N(-1.2, 1.2^2) for data of deviation 0.5, so twice that here."""
    t = LogNormal().time(torch.tensor([0.5, float(torch.special.ndtr(torch.ones((), dtype=F64)))], dtype=F64), Cosine())
    middle, one_up = Cosine().noise_ratio(t).log().tolist()
    assert middle == pytest.approx(-1.2 + math.log(2), abs=0.01) and middle == pytest.approx(-0.5, abs=1e-9)
    assert one_up - middle == pytest.approx(1.2, abs=1e-9)


def test_uniform_on_a_chain_is_its_grid() -> None:
    chain = LinearChain(50)
    t = Uniform().time((torch.arange(5000, dtype=F64) + 0.5) / 5000, chain)
    steps, counts = (t * 50).round().long().unique(return_counts=True)
    assert steps.tolist() == list(range(1, 51)) and counts.tolist() == [100] * 50
    assert float(Uniform().time(torch.tensor([1 - 1e-17, 0.0], dtype=F64), chain)[0]) == 1.0
    assert Uniform().density(t[:3], chain).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", list(TIME_DISTRIBUTIONS))
def test_stratified_uniforms_give_stratified_times(name: str) -> None:
    """One t in each of 64 slices of equal probability, whatever u_0 is; and no t is an end."""
    law, schedule = TIME_DISTRIBUTIONS[name](), RectifiedFlow()
    edges = law.time(torch.arange(1, 64, dtype=F64) / 64, schedule)
    edges = torch.sort(edges).values
    for step in range(5):
        t = law.time(stratified(0, "time", range(64), 64, step), schedule)
        counts = torch.bincount(torch.bucketize(t, edges, right=True), minlength=64)
        assert counts.tolist() == [1] * 64


@pytest.mark.parametrize("name", list(TIME_DISTRIBUTIONS))
def test_extreme_uniforms_are_finite(name: str) -> None:
    t = TIME_DISTRIBUTIONS[name]().time(torch.tensor([0.0, 1 - 2.0**-53], dtype=F64), RectifiedFlow())
    assert bool(((t > 0) & (t < 1) | (t == 1)).all())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", lambda snr: torch.ones_like(snr)),
        ("min-snr", lambda snr: snr.clamp(max=5)),
        ("soft-min-snr", lambda snr: 5 * snr / (5 + snr)),
        ("edm", lambda snr: (1 / snr + 1) / (1 / snr)),
        ("p2", lambda snr: snr / (1 + snr)),
    ],
)
def test_weightings_by_hand(name: str, expected: object) -> None:
    t = torch.linspace(0.05, 0.95, 19, dtype=F64)
    snr = Cosine().log_snr(t).exp()
    assert callable(expected)
    torch.testing.assert_close(WEIGHTINGS[name]().on_x(t, Cosine()), expected(snr), rtol=1e-12, atol=0)


def test_vlb_weight_is_half_the_slope_of_snr() -> None:
    t = torch.linspace(0.1, 0.9, 17, dtype=F64)

    def snr(t: Tensor) -> Tensor:
        return ((1 - t) / t) ** 2

    numeric = (snr(t - 1e-6) - snr(t + 1e-6)) / 4e-6
    torch.testing.assert_close(WEIGHTINGS["vlb"]().on_x(t, RectifiedFlow()), numeric, rtol=1e-7, atol=0)
    assert math.isclose(float(WEIGHTINGS["vlb"]().on_x(t[:1], RectifiedFlow())), 0.9 / 0.1**3, rel_tol=1e-12)


@pytest.mark.parametrize("weighting", ["min-snr", "edm", "vlb", "p2", "soft-min-snr"])
def test_without_noise_the_network_has_no_say_and_no_weight(weighting: str) -> None:
    """At t = 0, c_out = 0 for v, flow and edm, whatever the weight of x is there, infinite too."""
    for prediction in ("v", "flow", "edm"):
        denoiser = RegressionDenoiser(nn.Identity(), Cosine(), prediction)
        t = torch.tensor([0.0, 0.5], dtype=torch.float64)
        on_target = WEIGHTINGS[weighting]().on_target(t, denoiser)
        assert float(on_target[0]) == 0 and float(on_target[1]) > 0
