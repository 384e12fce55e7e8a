"""The variance of x around x_hat: its tables, what fills them, and what few ancestral steps make of them."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import (
    DDPM,
    GRIDS,
    VE,
    Cosine,
    EulerAncestral,
    PosteriorVariance,
    RectifiedFlow,
    Sampler,
    Schedule,
    StochasticDDIM,
    VarianceMeter,
    sample,
)
from toolkit.diffusion.sampler import at
from toolkit.diffusion.stochastic import posterior
from toolkit.diffusion.variance import FAINT, unit
from toolkit.errors import UsageError
from toolkit.recipe import build
from toolkit.verify.measure import CachedSchedule, final_variance, log_uniform
from toolkit.verify.oracle import GaussianDenoiser

F64 = torch.float64
FLOW = RectifiedFlow()


def exact(std: float, log_snr: float) -> float:
    """Var(x | x_t) of N(0, std^2): std^2 sigma^2 / V_t."""
    return 1 / (1 / std**2 + math.exp(log_snr))


def table(std: float, schedule: Schedule, times: Tensor) -> PosteriorVariance:
    """The exact table at the points of a grid that sampling asks for."""
    knots = sorted(max(-600.0, 2 * at(schedule, t).lam) for t in times[:-1].tolist())
    return PosteriorVariance(knots, [exact(std, knot) for knot in knots])


@pytest.mark.parametrize("schedule", [FLOW, Cosine(), VE(0.01, 100.0)], ids=repr)
@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_few_steps_give_the_variance_of_the_data(n: int, std: float, schedule: Schedule) -> None:
    """On N(0, s^2), to t = 0 and to a level above it; without the table two steps lack up to most of it."""
    schedule = CachedSchedule(schedule)
    oracle = GaussianDenoiser(schedule, 0.0, std)
    for times in (GRIDS["log-snr"](schedule, n), GRIDS["uniform"](schedule, n), log_uniform(schedule, n)):
        known = table(std, schedule, times)
        samplers: list[Sampler] = [
            DDPM(error=known), EulerAncestral(error=known), EulerAncestral(0.6, known), EulerAncestral(1.2, known),
            StochasticDDIM(1.0, known), StochasticDDIM(0.5, known), StochasticDDIM(0.0, known),
        ]  # fmt: skip
        for sampler in samplers:
            wanted = oracle.variance(float(times[-1]))
            assert final_variance(sampler, oracle, times) == pytest.approx(wanted, rel=1e-10), sampler
        assert final_variance(DDPM(), oracle, times) < 0.997 * wanted


def test_unit_is_the_table_of_unit_data() -> None:
    times = GRIDS["log-snr"](FLOW, 4)
    oracle = GaussianDenoiser(FLOW, 0.0, 1.0)
    for kind in (DDPM, StochasticDDIM, EulerAncestral):
        assert final_variance(kind(error="unit"), oracle, times) == pytest.approx(1, abs=1e-12)
    for log_snr in (-900.0, -3.0, 0.0, 2.5, 40.0):
        assert unit(log_snr) == pytest.approx(exact(1.0, log_snr), rel=1e-12)
    assert unit(-math.inf) == 1.0 and 0 <= unit(math.inf) < 1e-300


def test_one_step_by_hand() -> None:
    """beta-tilde + c^2 r, and in the last step r alone, where nothing is added without it."""
    known = PosteriorVariance([0.0], [0.3])
    t, s = 0.5, 0.2  # log-SNR 0 at 0.5
    c_x_hat, _, _, tilde = posterior(at(FLOW, t), at(FLOW, s))
    still = GaussianDenoiser(FLOW, 0.0, 0.0)
    for sampler in (DDPM(error=known), StochasticDDIM(error=known), EulerAncestral(error=known)):
        for end, variance in ((s, tilde + c_x_hat**2 * 0.3), (0.0, 0.3)):
            out = sample(still, FLOW, sampler, torch.zeros(1, 1, dtype=F64), torch.tensor([t, end]), lambda: one())
            assert float(out) == pytest.approx(math.sqrt(variance), rel=1e-6)
    asked: list[int] = []
    for plain in (DDPM(), DDPM("beta"), StochasticDDIM(), EulerAncestral()):
        sample(still, FLOW, plain, one(), torch.tensor([t, 0.0]), lambda: asked.append(1) or one())  # type: ignore[func-returns-value]
    assert not asked


def one() -> Tensor:
    return torch.ones(1, 1, dtype=F64)


def test_what_error_may_be() -> None:
    for kind in (DDPM, StochasticDDIM, EulerAncestral):
        with pytest.raises(ValueError, match="'unit'"):
            kind(error="units")
    with pytest.raises(ValueError, match="adds to beta-tilde"):
        DDPM("beta", "unit")
    with pytest.raises(ValueError, match="not negative"):
        EulerAncestral(-0.1)
    assert build.sampler({"name": "euler-ancestral", "error": "unit"}) == EulerAncestral(error="unit")
    with pytest.raises(UsageError, match="'unit'"):
        build.sampler({"name": "ddpm", "error": "none"})


def test_a_table_between_its_knots_and_beyond_them() -> None:
    known = PosteriorVariance([-2.0, 0.0, 3.0], [0.7, 0.2, 0.01])
    for knot, value in zip(known.log_snr, known.values, strict=True):
        assert known(knot) == pytest.approx(value, rel=1e-14)
    shares = [value / unit(knot) for knot, value in zip(known.log_snr, known.values, strict=True)]
    assert known(-0.5) == pytest.approx(unit(-0.5) * (0.25 * shares[0] + 0.75 * shares[1]))
    assert known(2.0) == pytest.approx(unit(2.0) * (shares[1] / 3 + 2 * shares[2] / 3))
    assert known(-30.0) == pytest.approx(shares[0]) and known(12.0) == pytest.approx(unit(12.0) * shares[2])
    # no estimate need be worse than x_t / alpha
    assert PosteriorVariance([0.0], [5.0])(1.0) == pytest.approx(math.exp(-1.0))
    assert PosteriorVariance([0.0], [5.0])(-9.0) == pytest.approx(10.0, rel=1e-3)


def test_a_table_through_json() -> None:
    known = PosteriorVariance([-2, 0.5], [0.7, 0.2])
    again = PosteriorVariance.from_dict(json.loads(json.dumps(known.to_dict())))
    assert (again.log_snr, again.values) == ([-2.0, 0.5], [0.7, 0.2])


@pytest.mark.parametrize(
    ("knots", "values", "message"),
    [
        ([0.0], [], "as many"),
        ([], [], "at least one"),
        ([0.0, 0.0], [1.0, 1.0], "rise"),
        ([1.0, 0.0], [1.0, 1.0], "rise"),
        ([0.0], [-1e-9], "not negative"),
        ([math.inf], [1.0], "finite"),
        ([0.0], [math.nan], "finite"),
        ([10**400], [1.0], "finite"),
    ],
)
def test_impossible_tables(knots: list[float], values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PosteriorVariance(knots, values)


@pytest.mark.parametrize("kept", [{}, {"log_snr": [0.0]}, {"log_snr": "0", "values": "1"}, {"log_snr": 0, "values": 1}])
def test_what_a_stranger_wrote_is_refused(kept: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="table of posterior variances"):
        PosteriorVariance.from_dict(kept)


def at_levels(levels: list[float]) -> Tensor:
    return FLOW.time(-2 * torch.tensor(levels, dtype=F64))


def test_a_meter_is_a_running_mean_in_each_bin() -> None:
    meter = VarianceMeter(math.exp(-4), math.exp(4), bins=8, horizon=4)
    assert meter.table() is None
    # three in the bin from 0 to 1, one below all bins, one above, one not finite: two steps, of which the first fades
    meter.observe(at_levels([0.5, 0.5, -4.1, 4.1, 0.5]), torch.tensor([0.2, 0.4, 9.0, 9.0, math.nan]), FLOW)
    meter.observe(at_levels([0.5, -3.5]), torch.tensor([0.6, 0.001]), FLOW)
    found = meter.table()
    assert found is not None and found.log_snr == pytest.approx([-1.0, 7.0])  # the middles, in rising log-SNR
    assert found.values == pytest.approx([(0.75 * 0.6 + 0.6) / (0.75 * 2 + 1), 0.001])
    # elsewhere in a bin the share of unit data is what counts
    other = VarianceMeter(math.exp(-4), math.exp(4), bins=8)
    other.observe(at_levels([0.1, 0.9]), torch.tensor([unit(-0.2), unit(-1.8)], dtype=F64), FLOW)
    assert other.table().values == pytest.approx([unit(-1.0)])  # type: ignore[union-attr]
    for _ in range(40):  # what was seen long ago is forgotten
        meter.observe(at_levels([2.5]), torch.tensor([0.9]), FLOW)
    assert FAINT > 0.75**40 and meter.table().log_snr == pytest.approx([-5.0])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "options", [{"low": 0.0}, {"low": 2.0, "high": 1.0}, {"bins": 0}, {"horizon": 0}, {"high": math.inf}]
)
def test_impossible_meters(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        VarianceMeter(**options)  # type: ignore[arg-type]


def test_a_meter_through_json_and_what_does_not_fit() -> None:
    meter = VarianceMeter(bins=8)
    meter.observe(at_levels([0.5, 1.0]), torch.tensor([0.2, 0.4]), FLOW)
    before = json.dumps(meter.state())
    other = VarianceMeter(bins=8)
    other.restore(json.loads(before))
    assert json.dumps(other.state()) == before and other.table().values == meter.table().values  # type: ignore[union-attr]
    changes: list[dict[str, object]] = [{"total": [0.0] * 7}, {"count": None}, {"count": [-1.0] * 8}]
    changes += [{"total": [math.nan] * 8}, {"count": [10**400] * 8}]
    for change in changes:
        with pytest.raises(ValueError, match="does not fit one of 8 bins"):
            meter.restore({**meter.state(), **change})
    assert json.dumps(meter.state()) == before


def test_what_a_meter_has_learned_is_enough_for_five_steps() -> None:
    """From errors of a denoiser on samples, by Monte Carlo: 1.00 instead of 0.27 of the variance."""
    std, draw = 0.7, torch.Generator().manual_seed(0)
    oracle, meter = GaussianDenoiser(FLOW, 0.0, std), VarianceMeter()
    for _ in range(100):
        x = std * torch.randn(2000, 1, generator=draw, dtype=F64)
        t = FLOW.time(torch.empty(2000, dtype=F64).uniform_(-9.2, 9.2, generator=draw))
        meter.observe(t, oracle.loss(x, t, torch.randn(2000, 1, generator=draw, dtype=F64)), FLOW)
    times = GRIDS["log-snr"](FLOW, 5)
    ratio = final_variance(EulerAncestral(error=meter.table()), oracle, times) / std**2
    assert ratio == pytest.approx(1, abs=0.03)
    assert final_variance(EulerAncestral(), oracle, times) / std**2 < 0.3
