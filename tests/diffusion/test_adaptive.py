"""The time distribution that learns: known curves of the unknown to densities by hand, kept exactly, in training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.points import moons
from toolkit.diffusion import SCHEDULES, VP, Adaptive, Cosine, RectifiedFlow, RegressionDenoiser, Schedule, Uniform
from toolkit.diffusion.adaptive import SHARPEST, isotonic, rises
from toolkit.diffusion.grid import learned
from toolkit.errors import UsageError
from toolkit.nn import MLP
from toolkit.recipe import build
from toolkit.training.loop import Config, State, fit, start

F64 = torch.float64
FLOW = RectifiedFlow()


def sigmoid_curve(level: Tensor, middle: float = -0.5, width: float = 0.6) -> Tensor:
    """Something unknown that rises by 3 around log(sigma / alpha) = middle."""
    return 3 * torch.sigmoid((level - middle) / width)


def watched(law: Adaptive, schedule: Schedule = FLOW, steps: int = 0, noise: float = 0.0) -> Adaptive:
    """The law after it has seen `sigmoid_curve` at evenly spread levels."""
    draw = torch.Generator().manual_seed(0)
    low, high = float(law.edges[0]), float(law.edges[-1])
    for _ in range(steps or law.warmup):
        level = low + (high - low) * (torch.arange(512, dtype=F64) + torch.rand((), generator=draw, dtype=F64)) / 512
        seen = sigmoid_curve(level) + noise * torch.randn(512, generator=draw, dtype=F64)
        law.observe(schedule.time(-2 * level), seen.float(), schedule)
    return law


def truth(law: Adaptive) -> Tensor:
    """Return the right share of each bin: the rise of the curve over it, and some of the initial law."""
    rise = sigmoid_curve(law.edges).diff()
    return (1 - law.mix) * rise / rise.sum() + law.mix * law.initial


@pytest.mark.parametrize("schedule", [FLOW, Cosine(), VP()], ids=repr)
def test_the_density_is_the_slope_of_what_is_unknown(schedule: Schedule) -> None:
    law = watched(Adaptive(warmup=20), schedule)
    apart = float((law.shares() - truth(law)).abs().sum()) / 2
    assert apart < 0.03 < float((law.initial - truth(law)).abs().sum()) / 2
    # the peak is where the curve is steepest, within a bin
    at = law.edges[:-1] + law.edges.diff() / 2
    assert abs(float(at[law.shares().argmax()]) + 0.5) < 2 * float(law.edges[1] - law.edges[0])


def test_noise_is_averaged_out() -> None:
    law = watched(Adaptive(warmup=200), noise=1.0)
    assert float((law.shares() - truth(law)).abs().sum()) / 2 < 0.12


def test_what_was_seen_fades_with_the_horizon() -> None:
    """Ones for 40 steps, then sevens for 15, each faded by 1 - 1/20 a step; a count is that of the last 20 or so."""
    law, t = Adaptive(horizon=20, warmup=1), FLOW.time(torch.tensor([1.0, -1.0, -3.0], dtype=F64))
    for step in range(55):
        law.observe(t, torch.full((3,), 1.0 if step < 40 else 7.0), FLOW)
    keep = 0.95
    old, new = keep**15 * (1 - keep**40) / (1 - keep), (1 - keep**15) / (1 - keep)
    met = law.count > 0
    assert law.count[met].tolist() == pytest.approx([old + new] * 3)
    assert (law.total / law.count)[met].tolist() == pytest.approx([(old + 7 * new) / (old + new)] * 3)


def test_bins_that_were_never_met_get_what_lies_between() -> None:
    law = Adaptive(low=math.exp(-4), high=math.exp(4), middle=1.0, bins=8, warmup=1)
    law.observe(FLOW.time(-2 * torch.tensor([-3.5, 0.5, 3.5], dtype=F64)), torch.tensor([1.0, 5.0, 11.0]), FLOW)
    assert law.means().tolist() == pytest.approx([1, 2, 3, 4, 5, 7, 9, 11])


def test_before_the_warm_up_it_is_the_initial_log_normal() -> None:
    law = Adaptive(low=0.05, high=20.0, middle=0.6, std=1.2, warmup=21)
    fresh = law.shares()
    assert torch.equal(watched(law, steps=20).shares(), fresh)
    normal = torch.distributions.Normal(math.log(0.6), 1.2)
    ends = normal.cdf(torch.tensor([math.log(0.05), math.log(20.0)], dtype=F64))
    wanted = (normal.cdf(law.edges) - ends[0]) / (ends[1] - ends[0])
    t = law.time(wanted.clamp(0, 1), FLOW)
    torch.testing.assert_close(-FLOW.log_snr(t) / 2, law.edges, rtol=0, atol=1e-6)
    assert not torch.equal(watched(law, steps=1).shares(), fresh)


@pytest.mark.parametrize("schedule", [FLOW, Cosine(), VP()], ids=repr)
def test_time_and_density_are_one_law(schedule: Schedule) -> None:
    """The mass of each bin by the density, by counting quantiles, and by its share; together 1."""
    law = watched(Adaptive(warmup=5), schedule)
    u = (torch.arange(64_000, dtype=F64) + 0.5) / 64_000
    t = law.time(u, schedule)
    assert bool((t.diff() > 0).all())
    counted = torch.histogram(-schedule.log_snr(t) / 2, law.edges).hist / len(u)
    masses = []
    for a, b in zip(law.edges[:-1].tolist(), law.edges[1:].tolist(), strict=True):
        ends = schedule.time(-2 * torch.tensor([a, b], dtype=F64)).tolist()
        cuts = torch.linspace(*ends, 201, dtype=F64)
        masses.append(float((law.density((cuts[1:] + cuts[:-1]) / 2, schedule) * cuts.diff()).sum()))
    shares = law.shares()
    assert float((torch.tensor(masses, dtype=F64) - shares).abs().max()) < 1e-5
    assert float((counted - shares).abs().max()) < 1e-4
    assert sum(masses) == pytest.approx(1, abs=1e-5)
    outside = schedule.time(-2 * torch.tensor([math.log(law.low) - 0.1, math.log(law.high) + 0.1], dtype=F64))
    assert law.density(outside, schedule).tolist() == [0, 0]


def test_an_importance_weighted_mean_is_the_integral() -> None:
    """E[f(t) / density(t)] over the law is the integral of f over its levels: here t (1 - t), by hand."""
    law = watched(Adaptive(warmup=5))
    u = (torch.arange(100_000, dtype=F64) + 0.5) / 100_000
    t = law.time(u, FLOW)
    a, b = FLOW.time(-2 * law.edges[[0, -1]]).tolist()
    exact = (b**2 / 2 - b**3 / 3) - (a**2 / 2 - a**3 / 3)
    assert float((t * (1 - t) / law.density(t, FLOW)).mean()) == pytest.approx(exact, rel=1e-5)


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 9)), min_size=1, max_size=12),
)
def test_isotonic_is_the_best_rising_sequence(pairs: list[tuple[int, int]]) -> None:
    """Beside the max-min formula (Robertson et al. 1988, theorem 1.4.4), which is brute force."""
    values, weights = (torch.tensor(column, dtype=F64) for column in zip(*pairs, strict=True))

    def mean(i: int, j: int) -> float:
        return float((values[i : j + 1] * weights[i : j + 1]).sum() / weights[i : j + 1].sum())

    n = len(pairs)
    wanted = [max(min(mean(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]
    assert isotonic(values, weights).tolist() == pytest.approx(wanted)


def test_a_straight_line_rises_evenly_and_a_fall_not_at_all() -> None:
    line = rises(torch.arange(12, dtype=F64))
    assert line[3:-3].tolist() == pytest.approx([1.0] * 6)
    assert rises(-torch.arange(12, dtype=F64)).tolist() == [0] * 12


@pytest.mark.parametrize("bins", [64, 300, 1000])
def test_no_bin_gets_more_than_the_sharpest(bins: int) -> None:
    """A curve that is a step, at the resolution of the bins."""
    law = Adaptive(bins=bins, warmup=1)
    level = law.edges[:-1] + law.edges.diff() / 2
    law.observe(FLOW.time(-2 * level), (level > 0).double(), FLOW)
    shares = law.shares()
    assert float(shares.sum()) == pytest.approx(1) and float(shares.min()) > 0
    assert float(shares.max()) <= SHARPEST / bins * (1 + 1e-12)
    assert float(shares.max()) > 5 / bins


def test_nothing_to_learn_leaves_the_initial_law_and_what_is_not_finite_is_left_out() -> None:
    law = Adaptive(warmup=1)
    t = law.time(torch.linspace(0.01, 0.99, 99, dtype=F64), FLOW)
    law.observe(t, torch.ones(99), FLOW)
    assert torch.equal(law.shares(), law.initial)
    law.observe(t[:3], torch.tensor([math.nan, math.inf, -math.inf]), FLOW)
    assert bool(law.total.isfinite().all()) and bool(law.shares().isfinite().all())


def test_a_state_through_json_is_exact() -> None:
    law = watched(Adaptive(warmup=7), steps=11, noise=0.3)
    other = law.fresh()
    other.observe(torch.tensor([0.3]), torch.tensor([9.0]), FLOW)
    assert other.steps == 12 and law.steps == 11  # the copy is its own
    other.restore(json.loads(json.dumps(law.state())))
    assert torch.equal(other.total, law.total) and torch.equal(other.count, law.count) and other.steps == 11
    assert torch.equal(other.shares(), law.shares())


@pytest.mark.parametrize(
    "change",
    [
        {"total": [0.0] * 63},
        {"count": None},
        {"total": "x" * 64},
        {"total": [math.nan] * 64},
        {"count": [math.inf] * 64},
        {"count": [10**400] * 64},
        {"total": ["1"] * 64},
        {"steps": 2.5},
        {"steps": None},
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change: dict[str, object]) -> None:
    law = watched(Adaptive(warmup=3))
    before = json.dumps(law.state())
    with pytest.raises(ValueError, match="does not fit one of 64 bins"):
        law.restore({**law.state(), **change})
    assert json.dumps(law.state()) == before


def test_a_strange_state_that_fits_still_gives_a_law() -> None:
    for count in ([-5.0] * 64, [1e-9] * 64, [10**30] * 64):
        law = Adaptive()
        law.restore({"total": [1.0] * 64, "count": count, "steps": 10**30})
        assert float(law.shares().sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    "options", [{"low": 0.0}, {"middle": 200.0}, {"bins": 3}, {"mix": 0.0}, {"mix": 1.5}, {"std": 0.0}, {"horizon": 0}]
)
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Adaptive(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 64, 1000])
@pytest.mark.parametrize("name", [name for name, kind in SCHEDULES.items() if kind().T is None])
def test_the_learned_grid(name: str, n: int) -> None:
    """n levels with equal mass between them, from the highest to the lowest, then 0. Every schedule reaches these."""
    schedule = SCHEDULES[name]()
    law = watched(Adaptive(low=0.12, high=20.0, warmup=5), schedule)
    times = learned(schedule, n, time_distribution=law)
    assert times.shape == (n + 1,) and float(times[-1]) == 0 and bool((times.diff() < 0).all())
    level = (-schedule.log_snr(times[:-1]) / 2).tolist()
    assert level[0] == pytest.approx(math.log(20.0), abs=1e-6)
    if n > 1:
        assert level[-1] == pytest.approx(math.log(0.12), abs=1e-6)
    if n == 64:
        cuts = torch.linspace(float(times[10]), float(times[11]), 20_001, dtype=F64)
        mass = (law.density((cuts[1:] + cuts[:-1]) / 2, schedule) * cuts.diff()).sum()
        assert abs(float(mass)) == pytest.approx(1 / 63, rel=1e-3)


def test_the_learned_grid_needs_the_law() -> None:
    with pytest.raises(UsageError, match="adaptive"):
        build.grid("learned", Uniform())
    with pytest.raises(ValueError, match="at least one step"):
        build.grid("learned", Adaptive())(FLOW, 0)


def points() -> tuple[Tensor, Tensor]:
    data = moons("train")
    return (data.raw - data.raw.mean()) / data.raw.std(), data.cond["label"]


DATA, LABELS = points()
CONFIG = Config(steps=16, batch=32, lr=3e-3, warmup=4, time_distribution=Adaptive(warmup=5, horizon=20))


def batches(step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    at = torch.tensor([(step * 997 + 31 * p) % len(DATA) for p in positions])
    return DATA[at], {"label": LABELS[at]}


def fresh(config: Config) -> State:
    torch.manual_seed(0)
    return start(RegressionDenoiser(MLP(2, labels=2), FLOW), config)


@pytest.mark.parametrize("cut", [3, 5, 11])
def test_training_with_it_resumes_bit_for_bit(cut: int) -> None:
    whole = fresh(CONFIG)
    losses = [done.loss.hex() for done in fit(batches, CONFIG, whole)]
    first = fresh(CONFIG)
    steps = fit(batches, CONFIG, first)
    half = [next(steps).loss.hex() for _ in range(cut)]
    second = fresh(CONFIG)
    groups = {k: {n: t.clone() for n, t in g.items()} for k, g in first.groups().items()}
    second.restore(groups, json.loads(json.dumps(first.scalars())))
    half += [done.loss.hex() for done in fit(batches, CONFIG, second)]
    assert half == losses
    assert second.scalars() == whole.scalars() and whole.scalars()["law"]["steps"] == 16  # type: ignore[index]
    assert CONFIG.time_distribution.state()["steps"] == 0  # what a recipe says is not changed by training


def test_a_regression_learns_with_it() -> None:
    config = Config(steps=250, batch=128, lr=3e-3, warmup=20, time_distribution=Adaptive(warmup=30, horizon=200))
    state = fresh(config)
    losses = [done.loss for done in fit(batches, config, state)]
    assert sum(losses[-20:]) < 0.75 * sum(losses[:20])
    law = state.time_distribution
    assert isinstance(law, Adaptive) and not torch.equal(law.shares(), law.initial)
    # with much noise x_hat is the mean of the label and errs by the variance within it; with little, all is known
    within = sum(float((DATA[k == LABELS] - DATA[k == LABELS].mean(0)).square().mean()) for k in (0, 1)) / 2
    assert within < 0.8 and float(law.means()[-1]) == pytest.approx(within, abs=0.1)
    assert float(law.means()[0]) < 0.01
