"""Bits of numbers on a grid against closed forms: intervals, batches, and denoisers that recall."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import Cond, Denoiser, RectifiedFlow
from toolkit.diffusion.likelihood import Bins, DiscretisedGaussian
from toolkit.diffusion.vlb import Continuous, bound
from toolkit.evaluation import likelihood
from toolkit.evaluation.likelihood import LEAST, MAX_NEPERS, figures
from toolkit.evaluation.table import Metric
from toolkit.verify.oracle import GaussianDenoiser

F64 = torch.float64
STEP = 2 / 255 / 0.6
BINS = Bins(20001, -10000 * STEP, STEP)
UNIT = "bits/dim"


class Diagonal(Denoiser):
    """Independent numbers of these variances, (d,): pictures in the basis where pixels do not correlate."""

    def __init__(self, variances: Tensor) -> None:
        super().__init__()
        self.net, self.schedule, self.variances = nn.Identity(), RectifiedFlow(), variances

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (c[..., None] if c.ndim else c for c in self.schedule(t))
        return x_t * alpha * self.variances / (alpha**2 * self.variances + sigma**2)

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


class Recalling(GaussianDenoiser):
    """Says what it was told, and its own estimate when it was told nothing."""

    self_conditioning = True

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        return cond["estimate"] if cond and "estimate" in cond else super().forward(x_t, t, cond)


def spectrum(side: int, power: float) -> Tensor:
    """Variances 1 / f^power of a picture's waves, of mean 1: (side^2,)."""
    f = torch.fft.fftfreq(side, dtype=F64) * side
    squares = (f[:, None] ** 2 + f**2).flatten().clamp(min=1)
    made = squares ** (-power / 2)
    return made / made.mean()


def on_grid(n: int, variances: Tensor, seed: int = 0) -> Tensor:
    z = torch.randn(n, len(variances), generator=torch.Generator().manual_seed(seed), dtype=F64)
    return (z * variances.sqrt() / STEP).round() * STEP


def by_name(found: list[Metric]) -> dict[str, tuple[float, float, float]]:
    return {f.name.removeprefix(f"{UNIT}: "): (f.value or 0.0, f.low or 0.0, f.high or 0.0) for f in found}


@pytest.mark.parametrize("steps", [12, 8, 6])
@pytest.mark.parametrize("power", [2.0, 3.0])
def test_the_interval_of_the_flow_holds_the_exact_bits(
    power: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with fewer steps than are used, where it is the solver that is off."""
    monkeypatch.setattr(likelihood, "FLOW_STEPS", steps)
    monkeypatch.setattr(likelihood, "DRAWS", 1)
    variances, n = spectrum(32, power), 256
    model = variances + (LEAST * STEP) ** 2
    # of the population: rounding and its undoing each add a uniform law's variance
    data = variances + STEP**2 / 6
    exact = float((torch.log(2 * math.pi * model) + data / model).mean()) / 2 / math.log(2) - math.log2(STEP)
    found = by_name(figures(Diagonal(variances), None, on_grid(n, variances), BINS, {}, UNIT, flow=n))
    value, low, high = found["flow"]
    assert low <= exact <= high, (value - exact, high - value)
    if steps == 12:
        assert high - low < 0.025


def test_an_interval_is_1_96_standard_errors_of_a_ratio() -> None:
    oracle, n = GaussianDenoiser(RectifiedFlow()), 24
    x = on_grid(n, torch.ones(6, dtype=F64))[:, None]
    inside = torch.arange(6) < (1 + torch.arange(n) % 6)[:, None, None]
    mask = inside.double()
    x = x * mask
    levels = Continuous(oracle.schedule, LEAST * STEP, MAX_NEPERS)
    terms = bound(
        oracle, x, levels, DiscretisedGaussian(oracle, oracle.schedule, x, BINS, mask), 0, range(n), likelihood.DRAWS,
        prior_variance=1.0, mask=mask,
    )  # fmt: skip
    bits, numbers = terms.total / math.log(2), mask.flatten(1).sum(1)
    mean = float(bits.sum() / numbers.sum())
    reach = 1.96 * math.sqrt(float((bits - mean * numbers).square().sum())) / float(numbers.sum())
    found = by_name(figures(oracle, None, x, BINS, {"mask": mask}, UNIT, flow=0))[UNIT]
    assert found == pytest.approx((mean, mean - reach, mean + reach), rel=1e-9)


def test_the_interval_of_the_flow_is_chance_and_the_solver_s_error() -> None:
    variances, n = spectrum(8, 2.0), 24
    oracle, x = Diagonal(variances), on_grid(24, variances)
    nats = {steps: likelihood._flow(oracle, x, BINS, {}, 0, steps) / 64 / math.log(2) for steps in (12, 6)}
    mean = float(nats[12].mean())
    error = math.sqrt(float((nats[12] - mean).square().sum())) / n
    off = abs(float((nats[6] - nats[12])[: n // likelihood.FLOW_CHECKED].mean())) / 3
    found = by_name(figures(oracle, None, x, BINS, {}, UNIT, flow=n))["flow"]
    assert found == pytest.approx((mean, mean - 1.96 * error - off, mean + 1.96 * error + off), rel=1e-9)


def test_an_example_has_its_own_noise_in_any_batch() -> None:
    x, oracle = on_grid(12, torch.ones(5, dtype=F64)), GaussianDenoiser(RectifiedFlow())
    small, large = (by_name(figures(oracle, None, x, BINS, {}, UNIT, batch=batch)) for batch in (5, 64))
    for name, value in large.items():
        assert small[name] == pytest.approx(value, rel=1e-12)


def test_what_a_denoiser_recalls_of_one_noise_level_is_not_told_at_another() -> None:
    """Levels are drawn from the least noise up: an estimate that is carried on is x itself."""
    x = on_grid(16, torch.ones(8, dtype=F64))
    honest = by_name(figures(GaussianDenoiser(RectifiedFlow()), None, x, BINS, {}, UNIT))
    assert by_name(figures(Recalling(RectifiedFlow()), None, x, BINS, {}, UNIT)) == honest
    levels = Continuous(RectifiedFlow(), LEAST * STEP, MAX_NEPERS)
    told: dict[str, Tensor] = {}

    def carrying(x_t: Tensor, t: Tensor) -> Tensor:
        told["estimate"] = Recalling(RectifiedFlow())(x_t, t, told)
        return told["estimate"]

    carried = bound(carrying, x, levels, None, 0, range(16), likelihood.DRAWS)
    assert float(carried.diffusion.mean()) / 8 / math.log(2) < honest["diffusion"][0] - 3
