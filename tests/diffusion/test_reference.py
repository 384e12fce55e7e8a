"""Step by step against diffusers, an independent implementation, on the same fixed network. Skipped without it.

Their tables and states are float32 in most schedulers, so the bound there is float32's; `sigmas` first, then steps.
n divides T here: where it does not, their DDIM steps to t - T // n and not to the next time of the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import (
    DDIM,
    DDPM,
    GRIDS,
    DPMSolver2M,
    DPMSolver3M,
    Euler,
    Heun,
    LinearChain,
    Sampler,
    Step,
    StochasticDDIM,
    UniPC,
    trajectory,
)
from toolkit.diffusion.sampler import Point, at

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHAIN = LinearChain()
N = 20
TIMES = GRIDS["trailing"](CHAIN, N)
BETAS: dict[str, Any] = {
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "timestep_spacing": "trailing",
}
SHAPE = (4, 3, 5)


def network(x: Tensor, step: float) -> Tensor:
    """A fixed eps-network; `step` counts from 0, as theirs do."""
    return 0.9 * torch.tanh(1.3 * x + 0.002 * step) + 0.1 * x


def denoise(x_t: Tensor, t: Tensor) -> Tensor:
    """The same network as a posterior mean."""
    p = at(CHAIN, float(t))
    return (x_t - p.sigma * network(x_t, round(p.t * 1000) - 1)) / p.alpha


def start() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def ours(sampler: Sampler, noise: Callable[[], Tensor] | None = None) -> list[Step]:
    return list(trajectory(denoise, CHAIN, sampler, start(), TIMES, noise))


def made(name: str, **options: Any) -> Any:
    """One of their schedulers, with its table in float64, at N steps."""
    scheduler = getattr(diffusers, name)(**BETAS, **options)
    scheduler.alphas_cumprod = CHAIN.log_alpha_bar[1:].exp()
    scheduler.set_timesteps(N)
    return scheduler


def walk(scheduler: Any, scale: float = 1.0, **options: Any) -> list[Tensor]:
    """Their states after each call of `step`."""
    x, states = start() * scale, []
    for t in scheduler.timesteps:
        output = network(scheduler.scale_model_input(x, t), float(t))
        x = scheduler.step(output, t, x, **options).prev_sample.double()
        states.append(x)
    return states


def gap(steps: list[Step], states: list[Tensor]) -> float:
    """Largest difference over all steps and elements."""
    assert len(steps) == len(states)
    return max(float((a.x - b).abs().max()) for a, b in zip(steps, states))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim(eta: float) -> None:
    scheduler = made("DDIMScheduler", clip_sample=False, set_alpha_to_one=True)
    assert scheduler.timesteps.tolist() == (TIMES[:-1] * 1000).round().long().sub(1).tolist()
    generator = torch.Generator().manual_seed(7)
    theirs = walk(scheduler, eta=eta, generator=torch.Generator().manual_seed(7))
    sampler = StochasticDDIM(eta) if eta else DDIM()
    noise = lambda: torch.randn(SHAPE, generator=generator, dtype=torch.float64)  # noqa: E731
    assert gap(ours(sampler, noise), theirs) < 1e-12


@pytest.mark.parametrize(("variance", "theirs_name"), [("beta-tilde", "fixed_small"), ("beta", "fixed_large")])
def test_ddpm(variance: str, theirs_name: str) -> None:
    """All but the last step, in which theirs adds noise when it comes from anywhere but t = 1 / T, and ours never."""
    scheduler = made("DDPMScheduler", clip_sample=False, variance_type=theirs_name)
    theirs = walk(scheduler, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    noise = lambda: torch.randn(SHAPE, generator=generator, dtype=torch.float64)  # noqa: E731
    steps = ours(DDPM(variance), noise)
    assert gap(steps[:-1], theirs[:-1]) < 1e-12
    if variance == "beta":
        added = (theirs[-1] - steps[-1].x) / CHAIN_LAST_BETA**0.5
        assert float((added - noise()).abs().max()) < 1e-10


CHAIN_LAST_BETA = at(CHAIN, float(TIMES[-2])).sigma ** 2
"""beta of the last step, from t_{n-1} to 0, is sigma^2 there."""


def levels() -> Tensor:
    return torch.cat([CHAIN.noise_ratio(TIMES[:-1]), torch.zeros(1, dtype=torch.float64)])


@pytest.mark.parametrize(
    ("name", "options", "sampler"),
    [
        ("DPMSolverMultistepScheduler", {"solver_order": 2, "lower_order_final": False}, DPMSolver2M()),
        ("UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh2"}, UniPC()),
    ],
)
def test_multistep(name: str, options: dict[str, Any], sampler: Sampler) -> None:
    scheduler = made(name, final_sigmas_type="zero", **options)
    torch.testing.assert_close(scheduler.sigmas.double(), levels(), rtol=2e-7, atol=0)
    assert gap(ours(sampler), walk(scheduler)) < 1e-4


@pytest.mark.parametrize(
    ("name", "sampler"), [("EulerDiscreteScheduler", Euler("sigma")), ("HeunDiscreteScheduler", Heun("sigma"))]
)
def test_sigma_space(name: str, sampler: Sampler) -> None:
    """Their state is x / alpha; Heun's scheduler steps twice for each of our steps but the last."""
    scheduler = made(name)
    theirs = scheduler.sigmas.double()
    torch.testing.assert_close(theirs.unique(sorted=True).flip(0), levels(), rtol=2e-7, atol=0)
    first = at(CHAIN, float(TIMES[0]))
    states = walk(scheduler, 1 / first.alpha)
    if "Heun" in name:
        states = [*states[1::2], states[-1]]
    alphas = [at(CHAIN, t).alpha for t in TIMES[1:].tolist()]
    assert gap(ours(sampler), [a * x for a, x in zip(alphas, states)]) < 1e-4


def test_third_order_differs_by_the_curve() -> None:
    """Theirs gives the second difference half its weight; that half is the gap at the first step that has one."""
    scheduler = made("DPMSolverMultistepScheduler", solver_order=3, lower_order_final=False, final_sigmas_type="zero")
    steps, states = ours(DPMSolver3M()), walk(scheduler)
    assert gap(steps[:2], states[:2]) < 1e-4
    p: list[Point] = [at(CHAIN, t) for t in TIMES[:4].tolist()]
    m = [step.x_hat for step in steps[:3]]
    h, r0, r1 = p[3].lam - p[2].lam, p[2].lam - p[1].lam, p[1].lam - p[0].lam
    curve = h**2 * ((m[2] - m[1]) / r0 - (m[1] - m[0]) / r1) / (r0 + r1)
    half = p[3].alpha * ((torch.tensor(-h).expm1() + h) / h**2 - 0.5) * curve
    assert float(half.abs().max()) > 1e-3
    assert float((states[2] - steps[2].x - half).abs().max()) < 1e-4
