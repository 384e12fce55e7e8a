"""The loop, its errors, and the oracles against brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import (
    DDIM,
    DDPM,
    DEIS,
    GRIDS,
    IPNDM,
    SAMPLERS,
    SCHEDULES,
    Cosine,
    DPMSolver2S,
    EDMChurn,
    EulerAncestral,
    Heun,
    NoiseStream,
    RectifiedFlow,
    Sampler,
    SDEDPMSolver2M,
    StochasticDDIM,
    UniPC,
    classifier_free,
    interval,
    sample,
    trajectory,
)
from toolkit.verify.checks_guidance import Labelled
from toolkit.verify.oracle import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser

F64 = torch.float64
ORACLE = GaussianDenoiser(RectifiedFlow(), 0.3, 0.5)
X = torch.linspace(-2, 2, 6, dtype=F64).reshape(3, 2)


@pytest.mark.parametrize("times", [[0.5], [1.0, 1.0, 0.0], [0.0, 1.0], [1.0, 0.2, 0.3]])
def test_times_must_descend(times: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly descending"):
        sample(ORACLE, RectifiedFlow(), Heun(), X, torch.tensor(times))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_only_stochastic_samplers_need_noise(name: str) -> None:
    sampler, times = SAMPLERS[name](), torch.tensor([0.9, 0.5, 0.1])
    if sampler.stochastic:
        with pytest.raises(ValueError, match="give it noise"):
            sample(ORACLE, RectifiedFlow(), sampler, X, times)
    else:
        assert bool(sample(ORACLE, RectifiedFlow(), sampler, X, times).isfinite().all())


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_on_every_schedule_and_grid(name: str, schedule: str) -> None:
    """From the very end of each schedule, and with few steps: finite, and near the data's own spread."""
    chosen = SCHEDULES[schedule]()
    oracle = GaussianDenoiser(chosen, 0.0, 0.5)
    x = torch.linspace(-1.5, 1.5, 5, dtype=F64)[:, None]
    for grid in GRIDS:
        if grid in ("leading", "trailing", "linspace") and chosen.T is None:
            continue
        for n in (1, 2, 9):
            times = GRIDS[grid](chosen, n)
            start = x * float(chosen(times[0])[1])
            out = sample(oracle, chosen, SAMPLERS[name](), start, times, lambda: torch.zeros(5, 1, dtype=F64))
            assert bool(out.isfinite().all()) and float(out.abs().max()) < 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPMSolver2S(0.0), r"\(0, 1\]"),
        (lambda: UniPC(4), "1, 2 or 3"),
        (lambda: DEIS(5), "1 to 4"),
        (lambda: DEIS(2, "x"), "t, rho or lambda"),
        (lambda: IPNDM(0), "1 to 4"),
        (lambda: DDPM("large"), "beta or beta-tilde"),
        (lambda: StochasticDDIM(1.5), r"\[0, 1\]"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], Sampler], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_trajectory_is_lazy_and_records() -> None:
    calls: list[float] = []

    def counted(x_t: Tensor, t: Tensor) -> Tensor:
        calls.append(float(t))
        return ORACLE(x_t, t)

    steps = trajectory(counted, RectifiedFlow(), Heun(), X, torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=F64))
    assert calls == []
    first = next(steps)
    assert (first.index, first.t, first.s) == (0, 1.0, 0.5) and calls == [1.0, 0.5]
    assert [s.s for s in steps] == [0.25, 0.0]
    assert calls == [1.0, 0.5, 0.5, 0.25, 0.25]  # 2 N - 1


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_sampler_object_keeps_nothing_between_runs(name: str) -> None:
    sampler, times = SAMPLERS[name](), torch.tensor([1.0, 0.6, 0.3, 0.1, 0.0], dtype=F64)

    def run() -> Tensor:
        return sample(ORACLE, RectifiedFlow(), sampler, X, times, NoiseStream(0, "z", range(3), (2,)))

    assert torch.equal(run(), run())


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_float32_states_stay_float32(name: str) -> None:
    times = GRIDS["karras"](RectifiedFlow(), 6)
    out = sample(ORACLE, RectifiedFlow(), SAMPLERS[name](), X.float(), times, NoiseStream(0, "z", range(3), (2,)))
    exact = sample(ORACLE, RectifiedFlow(), SAMPLERS[name](), X, times, NoiseStream(0, "z", range(3), (2,)))
    assert out.dtype == torch.float32 and float((out - exact).abs().max()) < 1e-4


def test_the_transport_of_a_mixture_is_its_probability_flow() -> None:
    """Quantiles against Heun's method with very many steps; and two dimensions against one, turned by 30 degrees."""
    schedule, weights, stds = Cosine(), torch.tensor([0.3, 0.7]), torch.tensor([0.4, 0.5])
    line = MixtureDenoiser(schedule, weights, torch.tensor([-0.8, 0.6]), stds)
    x, times = torch.tensor([[-1.1], [0.2], [1.3]], dtype=F64), torch.linspace(0.9, 0.1, 4001, dtype=F64)
    exact = line.transport(x, 0.9, 0.1)
    got = sample(line, schedule, Heun(), x, times)
    assert float((got - exact).abs().max()) < 1e-6
    # across the line all parts of equal width are alike, and so leave the weights alone
    turn, same = torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)], dtype=F64), torch.tensor([0.4, 0.4])
    line = MixtureDenoiser(schedule, weights, torch.tensor([-0.8, 0.6]), same)
    plane = MixtureDenoiser(schedule, weights, torch.tensor([[-0.8], [0.6]]) * turn, same)
    t = torch.tensor(0.4, dtype=F64)
    torch.testing.assert_close(plane(x * turn, t), line(x, t) * turn, rtol=0, atol=1e-12)


def test_mixture_posterior_by_tweedie() -> None:
    """E[x | x_t] = (x_t + sigma^2 grad log p_t) / alpha, with the gradient by differentiation."""
    schedule = Cosine()
    means = torch.tensor([[-0.8, 0.2], [0.6, -0.4]])
    plane = MixtureDenoiser(schedule, torch.tensor([0.3, 0.7]), means, torch.tensor([0.4, 0.5]))
    x = X.clone().requires_grad_(True)
    alpha, sigma = (float(c) for c in schedule(torch.tensor(0.4, dtype=F64)))
    (score,) = torch.autograd.grad(plane.log_density(x, 0.4).sum(), x)
    torch.testing.assert_close((X + sigma**2 * score) / alpha, plane(X, torch.tensor(0.4)), rtol=0, atol=1e-6)


def test_empirical_posterior_of_one_point_and_at_the_ends() -> None:
    data = torch.tensor([[0.5, -1.0], [2.0, 1.0]], dtype=F64)
    one, two = EmpiricalDenoiser(RectifiedFlow(), data[:1]), EmpiricalDenoiser(RectifiedFlow(), data)
    assert torch.equal(one(X, torch.tensor(0.5)), data[:1].expand(3, 2))
    torch.testing.assert_close(two(X, torch.tensor(1.0)), data.mean(0).expand(3, 2))  # pure noise says nothing
    assert torch.equal(two(data, torch.tensor(0.0)), data)  # no noise says all


def test_churn_and_ancestral_noise_have_the_right_variance_in_one_step() -> None:
    """On one step from t to s the marginal of unit normal data stays exact for beta, and of a point for beta-tilde."""
    schedule = Cosine()
    point = GaussianDenoiser(schedule, 0.0, 0.0)
    draws = [torch.tensor([[0.0], [1.0]], dtype=F64)]
    x = torch.tensor([[1.0], [0.0]], dtype=F64)
    times = torch.tensor([0.7, 0.3], dtype=F64)
    for sampler in (DDPM(), StochasticDDIM(), EulerAncestral(), SDEDPMSolver2M()):
        response = sample(point, schedule, sampler, x, times, lambda: draws[0])[:, 0]
        variance = float(response[0] ** 2 * point.variance(0.7) + response[1] ** 2)
        assert abs(variance - point.variance(0.3)) < 1e-12
    same = sample(point, schedule, EDMChurn(churn=0.3, inflate=1.0), x, times, lambda: draws[0])[:, 0]
    assert abs(float(same[0] ** 2 * point.variance(0.7) + same[1] ** 2) - point.variance(0.3)) < 1e-12


def test_guided_sampling_counts_its_calls() -> None:
    """Guidance inside an interval of log-SNR only: 2 B examples there, B elsewhere, and one call each."""
    model = Labelled()
    cond, null = {"label": torch.tensor([0, 1, 0])}, {"label": torch.full((3,), 2)}
    guided, plain = classifier_free(model, cond, null, 3.0), classifier_free(model, cond, null, 1.0)
    limited = interval(guided, plain, model.schedule, -1.0, 2.0)
    times = GRIDS["uniform"](model.schedule, 10)
    sample(limited, model.schedule, SAMPLERS["dpm++2m"](), X, times)
    inside = [-1.0 <= float(model.schedule.log_snr(t)) <= 2.0 for t in times[:-1]]
    assert 0 < sum(inside) < 10 and model.calls == [6 if i else 3 for i in inside]
    with pytest.raises(ValueError, match="from low to high"):
        interval(guided, plain, model.schedule, 2.0, -1.0)


def test_a_sampler_is_told_how_many_steps_there_are() -> None:
    told = []

    class Asking(DDIM):
        def step(self, *given: Any) -> Tensor:
            told.append(given[-1].total)
            return super().step(*given)

    sample(lambda x_t, t: x_t, Cosine(), Asking(), X, GRIDS["uniform"](Cosine(), 3))
    assert told == [3, 3, 3]
