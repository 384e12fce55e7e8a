"""Power-function averages against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toolkit.errors import ToolkitError, UsageError
from toolkit.training.ema import (
    KEPT_AT,
    MAX_WIDTH,
    TOLERANCE,
    PowerEMA,
    Snapshot,
    coefficients,
    gamma_of_width,
    profile_error,
    reconstruct,
    width_of_gamma,
    widths_from,
)


def test_known_powers() -> None:
    assert gamma_of_width(0.05) == pytest.approx(16.97, abs=5e-3)
    assert gamma_of_width(0.10) == pytest.approx(6.94, abs=5e-3)
    assert gamma_of_width(MAX_WIDTH) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.01, 1.0, 6.94, 16.97, 300.0, 1e5])
def test_width_and_gamma_are_inverse(gamma: float) -> None:
    assert gamma_of_width(width_of_gamma(gamma)) == pytest.approx(gamma, rel=1e-12, abs=1e-13)
    # Independently: the largest root of the cubic (g + 2)^2 (g + 3) = (g + 1) / width^2.
    if gamma < 1e4:
        inverse = 1 / width_of_gamma(gamma) ** 2
        companion = torch.tensor([[-7.0, inverse - 16, inverse - 12], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
        assert float(torch.linalg.eigvals(companion).real.max()) == pytest.approx(gamma, rel=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 6.94, 16.97])
def test_width_is_the_standard_deviation_of_the_profile(gamma: float) -> None:
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    density = (gamma + 1) * u**gamma
    mean = (density * u).mean()
    assert width_of_gamma(gamma) == pytest.approx(float((density * (u - mean) ** 2).mean().sqrt()), rel=1e-8)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.29, float("nan")])
def test_impossible_widths(width: float) -> None:
    with pytest.raises(UsageError, match=r"choose one above 0 and up to 0\.288"):
        gamma_of_width(width)


def test_constant_weights_stay_exactly() -> None:
    params = {"a": torch.randn(7, generator=torch.Generator().manual_seed(0)), "b": torch.tensor(1 / 3)}
    ema = PowerEMA({name: torch.zeros_like(p) for name, p in params.items()}, (0.05, 0.1))
    for step in range(1, 50):
        ema.update(step, params)
        for width in (0.05, 0.1):
            assert all(torch.equal(ema.weights(width)[name], params[name]) for name in params)


@pytest.mark.parametrize("width", [0.05, 0.10, 0.2])
def test_a_ramp_lags_by_the_closed_form(width: float) -> None:
    """EMA of theta_t = t is (gamma + 1) / (gamma + 2) t + 1/2 + (gamma + 1) / (12 t) + ..., by Euler and Maclaurin."""
    power, steps = gamma_of_width(width) + 1, 2000
    ema = PowerEMA({"w": torch.zeros(1)}, (width,))
    for t in range(1, steps + 1):
        ema.update(t, {"w": torch.tensor([float(t)])})
    ramp = power / (power + 1) * steps
    assert float(ema.weights(width)["w"]) == pytest.approx(ramp + 0.5 - power / (12 * steps), abs=2e-2)
    assert abs(float(ema.weights(width)["w"]) / ramp - 1) < 1e-3


def test_each_step_has_the_weight_of_its_stretch_of_the_profile() -> None:
    power, steps = gamma_of_width(0.1) + 1, 40
    ema = PowerEMA({"w": torch.zeros(steps)}, (0.1,))
    for t in range(1, steps + 1):
        ema.update(t, {"w": torch.eye(steps)[t - 1]})
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** power
    assert float((ema.weights(0.1)["w"] - edges.diff()).abs().max()) < 1e-7


def test_bf16_parameters_are_averaged_in_float32() -> None:
    ema = PowerEMA({"w": torch.zeros(1, dtype=torch.bfloat16)}, (0.05,))
    for t in range(1, 1001):
        ema.update(t, {"w": torch.tensor([1.0 + t % 2], dtype=torch.bfloat16, requires_grad=True)})
    out = ema.weights(0.05)["w"]
    assert out.dtype == torch.float32 and not out.requires_grad
    assert float(out) == pytest.approx(1.5, abs=0.01) and float(out) != float(out.bfloat16())


def test_state_round_trip_continues_bit_for_bit() -> None:
    g = torch.Generator().manual_seed(3)
    walk = torch.randn(20, 5, generator=g).cumsum(0)
    whole, first = PowerEMA({"w": walk[0]}, (0.05, 0.1)), PowerEMA({"w": walk[0]}, (0.05, 0.1))
    for t in range(1, 20):
        whole.update(t, {"w": walk[t]})
        if t < 10:
            first.update(t, {"w": walk[t]})
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    assert sorted(saved) == ["0.05/w", "0.1/w"]
    second = PowerEMA({"w": walk[5]}, (0.05, 0.1))
    second.load_state_dict(saved)
    for t in range(10, 20):
        second.update(t, {"w": walk[t]})
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values()))
    assert torch.equal(saved["0.05/w"], first.weights(0.05)["w"])


def test_wrong_states_and_widths() -> None:
    ema = PowerEMA({"w": torch.zeros(2)}, (0.05,))
    for state in (
        {},
        {"0.1/w": torch.zeros(2)},
        {"0.05/w": torch.zeros(3)},
        {"0.05/w": torch.zeros(2), "x": torch.zeros(1)},
    ):
        with pytest.raises(ToolkitError, match="do not fit"):
            ema.load_state_dict(state)
    with pytest.raises(UsageError, match=r"unknown EMA width '0\.06'; did you mean '0\.05'"):
        ema.weights(0.06)
    with pytest.raises(ValueError, match="counted from 1"):
        ema.update(0, {"w": torch.zeros(2)})


def tracked(
    steps: int, every: int, widths: tuple[float, ...], stored: tuple[float, ...]
) -> tuple[list[Snapshot], dict[float, Tensor]]:
    """Snapshots of `stored` widths of a noisy walk to a goal, and the final averages of `widths`."""
    g = torch.Generator().manual_seed(0)
    t = torch.arange(1, steps + 1, dtype=torch.float32)[:, None] / steps
    walk = torch.exp(-3 * t) * torch.randn(1, 64, generator=g) + 0.02 * torch.randn(steps, 64, generator=g).cumsum(0)
    ema = PowerEMA({"w": walk[0]}, (*widths, *stored))
    snapshots = []
    for step in range(1, steps + 1):
        ema.update(step, {"w": walk[step - 1]})
        if step % every == 0:
            snapshots += [Snapshot(step, width, {"w": ema.weights(width)["w"].clone()}) for width in stored]
    return snapshots, {width: ema.weights(width)["w"] for width in widths}


@pytest.mark.parametrize(("width", "error"), [(0.05, 1e-6), (0.10, 1e-6), (0.07, 2e-4), (0.15, 3e-4), (0.03, 3e-3)])
def test_post_hoc_reproduces_a_directly_tracked_profile(width: float, error: float) -> None:
    """Relative to how much the weights still move (the distance between the averages of widths 0.03 and 0.15)."""
    snapshots, direct = tracked(1600, 50, (0.03, 0.07, 0.15), (0.05, 0.10))
    direct |= {s.width: s.weights["w"] for s in snapshots[-2:]}
    scale = float((direct[0.03] - direct[0.15]).norm())
    difference = float((reconstruct(snapshots, width)["w"] - direct[width]).norm())
    assert difference / scale < error


def test_post_hoc_at_an_earlier_step_and_of_constants() -> None:
    times = [(t, w) for t in range(100, 1001, 100) for w in (0.05, 0.1)]
    factors = coefficients(times, 0.1, step=500)
    assert float(factors[times.index((500, 0.1))]) == pytest.approx(1.0, abs=1e-6)
    assert float(factors.sum()) == pytest.approx(1.0, abs=1e-9)
    weights = {"w": torch.tensor([1 / 3, -2.0])}
    out = reconstruct([Snapshot(t, w, weights) for t, w in times], 0.08, 730)
    assert torch.allclose(out["w"], weights["w"], atol=1e-7) and out["w"].dtype == torch.float32
    with pytest.raises(UsageError, match="no average at step 1001 can be made from averages stored up to step 1000"):
        coefficients(times, 0.1, step=1001)
    with pytest.raises(UsageError, match="no stored averages"):
        reconstruct([], 0.1)
    assert not math.isnan(float(coefficients([(1, 0.1)], 0.05)[0]))


def errors(copied: float, steps: int = 1600) -> dict[float, tuple[float, float]]:
    """Return (error, distance of the nearest stored) by width, made from 0.05 and 0.1 at `copied` and at the end."""
    snapshots, direct = tracked(steps, round(copied * steps), (0.03, 0.04, 0.07, 0.08), (0.05, 0.10))
    kept = {0.05: snapshots[-2], 0.10: snapshots[-1]}
    assert len(snapshots) == 2
    whole, last = tracked(steps, steps, (), (0.05, 0.10))
    assert last == {}
    stored = [*kept.values(), *whole]
    ends = {s.width: s.weights["w"] for s in whole}
    scale = float((ends[0.05] - ends[0.10]).norm())
    return {
        width: (
            float((reconstruct(stored, width)["w"] - goal).norm()) / scale,
            min(float((end - goal).norm()) for end in ends.values()) / scale,
        )
        for width, goal in direct.items()
    }


def test_a_copy_at_nine_tenths_gives_widths_that_were_not_tracked() -> None:
    """In units of the distance between the two stored averages; from the end alone it is far worse."""
    found = errors(KEPT_AT)
    for width, (error, nearest) in found.items():
        assert error < 0.15 and error < nearest / 3, (width, found)


def test_the_error_of_a_profile_is_that_of_its_integral() -> None:
    stored, width = [(900, 0.05), (900, 0.1), (1000, 0.05), (1000, 0.1)], 0.03
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000

    def profile(step: int, w: float) -> Tensor:
        power, end = gamma_of_width(w) + 1, step / 1000
        return torch.where(u < end, power * (u / end) ** (power - 1) / end, 0.0)

    goal = profile(1000, width)
    factors = coefficients(stored, width)
    made = sum((c * profile(*at) for c, at in zip(factors, stored, strict=True)), torch.zeros_like(u))
    exact = float(((made - goal).square().mean() / goal.square().mean()).sqrt())
    assert profile_error(stored, width) == pytest.approx(exact, rel=1e-2)
    assert profile_error(stored, 0.05) < 1e-6


def test_the_widths_that_can_be_made() -> None:
    low, high = widths_from([(900, 0.05), (900, 0.1), (1000, 0.05), (1000, 0.1)])
    assert 0.0295 < low < 0.03 and high == pytest.approx(0.1)
    assert profile_error([(900, 0.05), (900, 0.1), (1000, 0.05), (1000, 0.1)], low) <= TOLERANCE
    # too far apart for what lies between
    far = widths_from([(900, 0.01), (900, 0.2), (1000, 0.01), (1000, 0.2)])
    assert far[1] < 0.02


def test_a_copy_stays_as_it_was() -> None:
    ema = PowerEMA({"w": torch.zeros(3)}, (0.05, 0.1))
    ema.update(1, {"w": torch.ones(3)})
    assert ema.copied is None
    ema.copy(1)
    ema.update(2, {"w": torch.full((3,), 5.0)})
    assert ema.copied is not None and ema.copied.step == 1
    assert sorted(ema.copied.averages) == ["0.05/w", "0.1/w"]
    assert all(bool((tensor == 1).all()) for tensor in ema.copied.averages.values())
