"""C2-C4, C6, F1-F3, F8: exact results of single steps and whole trajectories, apart from orders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from toolkit.diffusion import (
    DDIM,
    DDPM,
    DEIS,
    ERSDE,
    GRIDS,
    IPNDM,
    SAMPLERS,
    VE,
    Cosine,
    DPMSolver2M,
    DPMSolver3M,
    EDMChurn,
    Euler,
    EulerAncestral,
    Heun,
    LinearChain,
    NoiseStream,
    RectifiedFlow,
    Sampler,
    SASolver,
    Schedule,
    SDEDPMSolver2M,
    SDEDPMSolver3M,
    StochasticDDIM,
    UniPC,
    sample,
    trajectory,
)
from toolkit.diffusion.randomness import normal
from toolkit.verify.check import Check, below, close, true
from toolkit.verify.measure import exact_history, final_variance, log_uniform, no_noise, repeat_noise
from toolkit.verify.oracle import DTYPE, EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser


def mixture(schedule: Schedule) -> MixtureDenoiser:
    """Return a mixture of two modes in two dimensions."""
    means = torch.tensor([[-0.8, 0.2], [0.6, -0.4]])
    return MixtureDenoiser(schedule, torch.tensor([0.3, 0.7]), means, torch.tensor([0.4, 0.5]))


def ddim_gain() -> Iterator[Check]:
    """Check that DDIM multiplies the deviation of Gaussian data by the exact factor at each step."""
    for name, times in {"log-snr": log_uniform(Cosine(), 20), "uniform": GRIDS["uniform"](Cosine(), 20)}.items():
        oracle = GaussianDenoiser(Cosine(), 0.0, 0.5)
        grid = times.tolist()
        exact = math.prod(oracle.ddim_gain(t, s) for t, s in pairwise(grid))
        std = math.sqrt(final_variance(DDIM(), oracle, times))
        yield close(
            f"C2 ddim, {name}, 20 steps: final deviation", std, math.sqrt(oracle.variance(grid[0])) * exact, 1e-12
        )


def ancestral_variance() -> Iterator[Check]:
    """Check the variance of DDPM's samples against its recursion, without sampling."""
    chain = LinearChain()
    oracle = GaussianDenoiser(chain, 0.0, 0.5)
    for n in (10, 100):
        times = GRIDS["trailing"](chain, n)
        for variance in ("beta-tilde", "beta"):
            value = final_variance(DDPM(variance), oracle, times)
            exact = oracle.ancestral_variance(times, variance)
            yield close(f"C2 ddpm, {variance}, {n} steps: final variance", value, exact, 1e-12, "data: 0.25")


def special_points() -> Iterator[Check]:
    """Check that beta~ is exact for data that is one point, beta for unit normal data, at any number of steps."""
    chain = LinearChain()
    for n in (1, 3):
        times = GRIDS["trailing"](chain, n)
        point = final_variance(DDPM(), GaussianDenoiser(chain, 0.0, 0.0), times)
        yield close(f"C3 ddpm, beta-tilde, one point, {n} steps: variance", point, 0.0, 1e-12)
    middle = GRIDS["trailing"](chain, 5)[:-1]  # before the step to sigma = 0, which adds no noise
    normal_data = final_variance(DDPM("beta"), GaussianDenoiser(chain, 0.0, 1.0), middle)
    yield close("C3 ddpm, beta, unit normal, 4 steps: variance", normal_data, 1.0, 1e-12)


def without_noise() -> Iterator[Check]:
    """Check that stochastic samplers without noise are the deterministic ones."""
    schedule = Cosine()
    times, x = log_uniform(schedule, 12), normal(0, "x", range(6), (2,)).to(DTYPE)
    oracle = mixture(schedule)
    ddim = sample(oracle, schedule, DDIM(), x, times)
    yield true(
        "C4 ddim-eta, eta = 0: DDIM bitwise", torch.equal(sample(oracle, schedule, StochasticDDIM(0.0), x, times), ddim)
    )
    for coordinates in ("flow", "sigma"):
        heun = sample(oracle, schedule, Heun(coordinates), x, times)
        still = sample(oracle, schedule, EDMChurn(churn=0.0, coordinates=coordinates), x, times)
        yield true(f"C4 edm-churn, churn = 0, {coordinates}: Heun bitwise", torch.equal(still, heun))
    flows: dict[str, tuple[Sampler, Sampler]] = {
        "sde-dpm++2m, eta = 0: DPM-Solver++(2M)": (SDEDPMSolver2M(0.0), DPMSolver2M()),
        "sa-solver, tau = 0, 1 node: DDIM": (SASolver(1, 0, 0.0), DDIM()),
        "er-sde, ode, k = 1: DDIM": (ERSDE(1, "ode"), DDIM()),
    }
    for name, (noisy, flow) in flows.items():
        gap = sample(oracle, schedule, noisy, x, times) - sample(oracle, schedule, flow, x, times)
        yield below(f"C4 {name}", float(gap.abs().max()), 1e-12)
    exact: dict[str, tuple[Sampler, Sampler]] = {  # with a history: their first steps differ
        "sde-dpm++3m, eta = 0: DPM-Solver++(3M)": (SDEDPMSolver3M(0.0), DPMSolver3M()),
        "sa-solver, tau = 0, 3 nodes: UniPC, p = 3": (SASolver(3, 3, 0.0), UniPC(3)),
        "sa-solver, tau = 0, 3 nodes, no corrector: the same": (SASolver(3, 0, 0.0), UniPC(3, False)),
    }
    gaussian = GaussianDenoiser(schedule, 0.3, 0.5)
    for name, pair in exact.items():
        ends = [_with_history(sampler, gaussian, x, times) for sampler in pair]
        yield below(f"C4 {name}", float((ends[0] - ends[1]).abs().max()), 1e-12)


def _with_history(sampler: Sampler, oracle: GaussianDenoiser, x: Tensor, times: Tensor, steps: int = 4) -> Tensor:
    """Return x at the end of `times` after some exact steps."""
    grid = times.tolist()
    memory = exact_history(sampler, oracle, oracle.schedule, times, lambda t: oracle.transport(x, grid[0], t), steps)
    x = oracle.transport(x, grid[0], grid[steps])
    for t, s in pairwise(grid[steps:]):
        x = sampler.step(oracle, oracle.schedule, x, t, s, no_noise, memory)
    return x


def training_points() -> Iterator[Check]:
    """Check that samplers with the posterior mean of a data set end on its examples, and x_hat stays in their hull."""
    schedule = RectifiedFlow()
    data = normal(1, "data", range(5), (2, 2)).to(DTYPE)
    oracle = EmpiricalDenoiser(schedule, data)
    x, times = normal(2, "x", range(16), (2, 2)).to(DTYPE), GRIDS["karras"](schedule, 25)
    low, high = data.amin(0), data.amax(0)
    for name, make in SAMPLERS.items():
        noise = NoiseStream(3, "noise", range(16), (2, 2))
        outside, last = 0.0, x
        for step in trajectory(oracle, schedule, make(), x, times, noise):
            outside = max(outside, float((low - step.x_hat).max()), float((step.x_hat - high).max()))
            last = step.x
        gap = float((last[:, None] - data).flatten(2).norm(dim=2).min(1).values.max())
        yield below(f"C6 {name}, 25 steps: distance to the nearest example", gap, 1e-6)
        yield below(f"C6 {name}: x_hat outside the hull by", outside, 1e-12)


def one_method() -> Iterator[Check]:
    """F1: check that these are one method at first order, on any path."""
    schedule = Cosine()
    oracle, x = mixture(schedule), normal(0, "x", range(6), (2,)).to(DTYPE)
    times = GRIDS["karras"](schedule, 15)
    reference = sample(oracle, schedule, DDIM(), x, times)
    same: dict[str, Sampler] = {
        "euler, flow": Euler("flow"),
        "euler, sigma": Euler("sigma"),
        "unipc, p = 1, no corrector": UniPC(1, False),
        "deis, k = 1": DEIS(1),
        "ipndm, k = 1": IPNDM(1),
    }
    for name, sampler in same.items():
        gap = (sample(oracle, schedule, sampler, x, times) - reference).abs().max()
        yield below(f"F1 {name} = ddim, 15 steps", float(gap), 1e-12)
    lam = schedule.log_snr(times[:-1])
    for name, other in {"flow": RectifiedFlow(), "ve": VE(1e-3, 1e3)}.items():
        path = mixture(other)
        moved, inner = other.time(lam), times[:-1]
        start = x / schedule(inner[0])[0] * other(moved[0])[0]
        for sampler in (DDIM(), DPMSolver2M(), UniPC(), Heun("sigma")):
            here = sample(oracle, schedule, sampler, x, inner) / schedule(inner[-1])[0]
            there = sample(path, other, sampler, start, moved) / other(moved[-1])[0]
            label = type(sampler).__name__
            yield below(f"F1 {label}: cosine = {name}, x / alpha", float((here - there).abs().max()), 1e-10)


def ancestral_family() -> Iterator[Check]:
    """F2: check that DDIM(eta = 1), DDPM with beta~ and Euler-ancestral are one method when they share the noise."""
    chain = LinearChain()
    oracle, x = GaussianDenoiser(chain, 0.3, 0.5), normal(0, "x", range(6), (2,)).to(DTYPE)
    times, draws = GRIDS["trailing"](chain, 13), [normal(1, "z", range(6), (2,), k).to(DTYPE) for k in range(13)]
    reference = sample(oracle, chain, DDPM(), x, times, repeat_noise(draws))
    for name, sampler in {"ddim-eta, eta = 1": StochasticDDIM(1.0), "euler-ancestral": EulerAncestral()}.items():
        gap = (sample(oracle, chain, sampler, x, times, repeat_noise(draws)) - reference).abs().max()
        yield below(f"F2 {name} = ddpm, beta-tilde, 13 steps", float(gap), 1e-12)


def last_step() -> Iterator[Check]:
    """F3: check that a step to sigma = 0 returns the posterior mean, and the number of calls (Heun: 2 N - 1)."""
    schedule, x = Cosine(), normal(0, "x", range(6), (2,)).to(DTYPE)
    oracle = mixture(schedule)
    for name, make in SAMPLERS.items():
        noise = NoiseStream(3, "noise", range(6), (2,))
        *_, last = trajectory(oracle, schedule, make(), x, GRIDS["karras"](schedule, 6), noise)
        yield below(f"F3 {name}: last x - x_hat", float((last.x - last.x_hat).abs().max()), 1e-14)
    for name, make in SAMPLERS.items():
        calls: list[float] = []

        def counted(x_t: Tensor, t: Tensor, calls: list[float] = calls) -> Tensor:
            calls.append(float(t))
            return oracle(x_t, t)

        sample(counted, schedule, make(), x, GRIDS["karras"](schedule, 6), NoiseStream(3, "noise", range(6), (2,)))
        yield close(f"F3 {name}: calls in 6 steps", len(calls), 5 * make.calls + 1, 0)


def positions() -> Iterator[Check]:
    """F8: check that example i is the same in any batch."""
    schedule = Cosine()
    oracle, times = mixture(schedule), GRIDS["karras"](schedule, 8)

    def run(indices: list[int]) -> Tensor:
        x = normal(5, "start", indices, (2,)).to(DTYPE)
        return sample(oracle, schedule, SDEDPMSolver2M(), x, times, NoiseStream(5, "noise", indices, (2,)))

    together, alone = run(list(range(8))), torch.cat([run([i]) for i in range(8)])
    yield below("F8 8 examples together and one by one", float((together - alone).abs().max()), 1e-12)


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "C2 ddim": ddim_gain,
    "C2 ddpm": ancestral_variance,
    "C3 special points": special_points,
    "C4 without noise": without_noise,
    "C6 training points": training_points,
    "F1 one method": one_method,
    "F2 ancestral": ancestral_family,
    "F3 last step": last_step,
    "F8 positions": positions,
}
