"""A share of the times for much noise: quantiles and density are one law."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.diffusion import (
    SCHEDULES,
    VE,
    VP,
    Adaptive,
    Cosine,
    LinearChain,
    LogitNormal,
    LogNormal,
    RectifiedFlow,
    Schedule,
    TimeDistribution,
    Topped,
    Uniform,
    stratified,
    without_top,
)
from toolkit.diffusion.vlb import Continuous

F64 = torch.float64
BASES: list[TimeDistribution] = [
    Uniform(),
    LogitNormal(),
    LogitNormal(-0.5, 1.5),
    LogNormal(0.3, 1.6),
    Adaptive(high=640.0),
]
ENDLESS: list[Schedule] = [RectifiedFlow(), Cosine()]


@pytest.mark.parametrize("schedule", [*ENDLESS, VP(), VE()], ids=repr)
@pytest.mark.parametrize("base", BASES[:3], ids=repr)
def test_density_integrates_to_the_quantiles(base: TimeDistribution, schedule: Schedule) -> None:
    law = Topped(base, 0.05, 1.0, 640.0)
    u = torch.cat([torch.linspace(0.02, 0.94, 24, dtype=F64), 1 - torch.logspace(-1.4, -4, 24, dtype=F64)])
    t = law.time(u, schedule)
    assert bool((t.diff() > 0).all())
    for i in range(len(u) - 1):
        edges = torch.linspace(float(t[i]), float(t[i + 1]), 4001, dtype=F64)
        mass = float((law.density((edges[1:] + edges[:-1]) / 2, schedule) * edges.diff()).sum())
        # an end of the range inside a slice costs the midpoint rule half a piece
        assert mass == pytest.approx(float(u[i + 1] - u[i]), rel=1e-3)


@pytest.mark.parametrize("high", [30.0, 100.0, 2560.0])
@pytest.mark.parametrize("schedule", ENDLESS, ids=repr)
@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_quantiles_by_brute_force(base: TimeDistribution, schedule: Schedule, high: float) -> None:
    """A million draws by choosing a part first: the same distribution; and `below` undoes `time`."""
    law = Topped(base, 0.2, 1.0, high)
    n = 200_000
    u = (torch.arange(n, dtype=F64) + 0.5) / n
    t = law.time(u, schedule)
    assert bool((t.diff() >= 0).all())
    assert float((law.below(t, schedule) - u).abs().max()) < 1e-7
    part = (torch.arange(n // 5, dtype=F64) + 0.5) / (n // 5)
    top = schedule.time(-2 * math.log(high) * part)
    rest = base.time((torch.arange(n - n // 5, dtype=F64) + 0.5) / (n - n // 5), schedule)
    brute = torch.cat([top, rest]).sort().values
    # ranks of one in the other
    assert float((torch.searchsorted(brute, t) / n - u).abs().max()) < 1e-4


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
@pytest.mark.parametrize("schedule", ENDLESS, ids=repr)
def test_below_is_the_inverse_of_time(base: TimeDistribution, schedule: Schedule) -> None:
    u = torch.linspace(0.001, 0.999, 199, dtype=F64)
    t = base.time(u, schedule)
    torch.testing.assert_close(base.below(t, schedule), u, rtol=0, atol=1e-12)
    torch.testing.assert_close(TimeDistribution.below(base, t, schedule), u, rtol=0, atol=1e-12)


def test_how_often_there_is_much_noise() -> None:
    u = (torch.arange(100_000, dtype=F64) + 0.5) / 100_000
    flow = RectifiedFlow()
    for law, above in (
        (LogitNormal(), 2.1e-6),
        (Topped(LogitNormal(), high=640.0), 0.05 * math.log(6.4) / math.log(640)),
    ):
        share = float((flow.noise_ratio(law.time(u, flow)) > 100).double().mean())
        assert share == pytest.approx(above, abs=2e-5)
    # below the range the base alone counts
    t = Topped(LogitNormal(), high=640.0).time(u, flow)
    assert float((t < 0.5).double().mean()) == pytest.approx(0.95 / 2, abs=1e-4)


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_stratified_uniforms_give_stratified_times(base: TimeDistribution) -> None:
    law, schedule = Topped(base, high=640.0), RectifiedFlow()
    edges = law.time(torch.arange(1, 64, dtype=F64) / 64, schedule)
    for step in range(5):
        t = law.time(stratified(0, "time", range(64), 64, step), schedule)
        assert torch.bincount(torch.bucketize(t, edges, right=True), minlength=64).tolist() == [1] * 64


def test_as_an_importance_weight_it_gives_the_integral() -> None:
    """The bound's own mixture, whose restricted quantiles need a law that rises: of 1 over log(sigma / alpha)."""
    levels = Continuous(RectifiedFlow(), 0.01, 100.0, Topped(LogitNormal(), high=640.0))
    u = (torch.arange(200_000, dtype=F64) + 0.5) / 200_000
    t, weight = levels.draw(u)
    found = float((weight / RectifiedFlow().log_snr(t).exp()).mean())
    assert found == pytest.approx(math.log(1e4), rel=1e-4)


def test_a_chain_and_a_schedule_that_ends_below_the_range_have_the_base() -> None:
    u = torch.linspace(0.01, 0.99, 99, dtype=F64)
    for schedule in (LinearChain(50), VE(0.01, 0.9)):
        law = Topped(Uniform(), high=640.0)
        assert torch.equal(law.time(u, schedule), Uniform().time(u, schedule))
        t = law.time(u, schedule)
        assert torch.equal(law.density(t, schedule), Uniform().density(t, schedule))
        assert torch.equal(law.below(t, schedule), Uniform().below(t, schedule))


@pytest.mark.parametrize("name", [name for name, kind in SCHEDULES.items() if kind().T is None])
def test_extreme_uniforms_are_finite(name: str) -> None:
    schedule = SCHEDULES[name]()
    t = Topped(LogitNormal(), high=640.0).time(torch.tensor([0.0, 2.0**-53, 1 - 2.0**-53], dtype=F64), schedule)
    assert bool(((t > 0) & (t <= 1)).all())


def test_what_the_base_learns_is_its_own() -> None:
    law = Topped(Adaptive(high=640.0, warmup=1))
    other = law.fresh()
    other.observe(torch.linspace(0.01, 0.99, 99, dtype=F64), torch.linspace(0, 1, 99), RectifiedFlow())
    assert law.state()["steps"] == 0 and other.state()["steps"] == 1
    law.restore(other.state())
    assert law.state() == other.state()
    assert without_top(law) is law.base and without_top(None) is None


@pytest.mark.parametrize(
    "options", [(0.0, 1.0, 9.0), (1.0, 1.0, 9.0), (0.1, 9.0, 9.0), (0.1, 0.0, 9.0), (0.1, 1.0, math.inf)]
)
def test_impossible_options(options: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Topped(Uniform(), *options)
