"""C1 and the stochastic half of C4: the order of every sampler against the one it declares.

Deterministic samplers: the largest error over five trajectories, 64 to 256 steps equal in log-SNR (in sigma / alpha
for iPNDM) between two finite levels, against the exact probability flow. A multistep formula is given its exact
history; as shipped, it starts without one. Stochastic samplers: the exact mean and variance of their samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise

import torch
from torch import Tensor

from toolkit.diffusion import (
    DDPM,
    DEIS,
    ERSDE,
    IPNDM,
    SAMPLERS,
    Cosine,
    EDMChurn,
    Euler,
    EulerAncestral,
    Heun,
    Sampler,
    SASolver,
    SDEDPMSolver2M,
    SDEDPMSolver3M,
    StochasticDDIM,
    UniPC,
    UniPC3,
)
from toolkit.verify.check import Check, below, close
from toolkit.verify.measure import (
    CachedSchedule,
    exact_order,
    final_variance,
    linear_response,
    log_uniform,
    order,
    sigma_uniform,
    variance_of,
)
from toolkit.verify.oracle import DTYPE, GaussianDenoiser, MixtureDenoiser

SCHEDULE = CachedSchedule(Cosine())
COUNTS = (64, 128, 256)
FEWER = (32, 64, 128)
"""Step counts of stochastic samplers, each of which takes as many trajectories as steps."""
TOLERANCE = 0.3
"""Tolerance of orders: a wrong one is off by 1; the rest is the next term of the error at these step counts."""

AS_SHIPPED: dict[str, tuple[float, float]] = {
    "dpm++2m": (2, 2),
    "dpm++3m": (2, 2),
    "unipc": (3, 3),
    "unipc3": (3, 4),
    "deis": (2, 2),
    "ipndm": (2, 2),
    "sde-dpm++3m, eta = 0": (2, 2),
    "sa-solver, tau = 0": (3, 4),
    "sa-solver, 2 and 2 nodes, tau = 0": (3, 3),
    "er-sde, k = 2, ode": (2, 2),
    "er-sde, ode": (2, 2),
}
"""Range of orders on the mixture without a history. The first step is of first order, with an error of h^2 once: order
2 for any formula. UniPC corrects its first step, which makes that h^3: order 3, with so small a constant in `unipc3`
that order 4 is still measured at 256 steps."""


OTHER_PROCESSES = (
    "edm-churn", "edm-churn, sigma", "ddim-eta, eta = 0.5", "sde-dpm++2m, eta = 0.5", "sa-solver", "er-sde",
    "er-sde, k = 1", "er-sde, k = 2",
)  # fmt: skip
"""Samplers of other processes than the reverse SDE: the same distribution at each time, another E[x_s | x_T]."""


@cache
def oracles() -> dict[str, GaussianDenoiser | MixtureDenoiser]:
    """Return data with an exact flow: a Gaussian, and a mixture of two."""
    weights, means, stds = torch.tensor([0.3, 0.7]), torch.tensor([-0.8, 0.6]), torch.tensor([0.4, 0.5])
    return {
        "Gaussian": GaussianDenoiser(SCHEDULE, 0.6, 0.8),
        "mixture": MixtureDenoiser(SCHEDULE, weights, means, stds),
    }


@cache
def starts() -> Tensor:
    """Return five points where trajectories begin: (5, 1)."""
    return torch.tensor([[-1.2], [-0.5], [0.1], [0.7], [1.4]], dtype=DTYPE)


def measure_order(sampler: Sampler, data: str, history: int) -> float:
    """Measure the order of `sampler` on one kind of data, with `history` exact steps before it."""
    grid = partial(sigma_uniform, high=2.0, low=0.5) if isinstance(sampler, IPNDM) else log_uniform
    return exact_order(sampler, oracles()[data], [grid(SCHEDULE, n) for n in COUNTS], starts(), history)


def deterministic(name: str, sampler: Sampler, declared: int) -> Iterator[Check]:
    """Check the order of a deterministic sampler: two rows for a one-step method, three for a multistep one."""
    several = name in AS_SHIPPED
    for data in oracles():
        how = "exact history, " if several else ""
        yield close(f"C1 {name}, {how}{data}: order", round(measure_order(sampler, data, 4), 3), declared, TOLERANCE)
    if several:
        low, high = AS_SHIPPED[name]
        order = round(measure_order(sampler, "mixture", 0), 3)
        text = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        yield Check(f"C1 {name}, as shipped, mixture: order", order, text, low - TOLERANCE <= order <= high + TOLERANCE)


def stochastic(name: str, sampler: Sampler, declared: int) -> Iterator[Check]:
    """Check the order of the variance; and the mean given x_T, exact at any step count by the martingale E[x | x_t]."""
    oracle, errors, means = GaussianDenoiser(SCHEDULE, 0.0, 0.8), [], []
    for n in FEWER:
        times = log_uniform(SCHEDULE, n)
        response = linear_response(sampler, oracle, times)
        errors.append(abs(variance_of(response, oracle, times) - oracle.variance(float(times[-1]))))
        gain = oracle.reverse_gain(float(times[0]), float(times[-1]))
        means.append(abs(float(response[0]) - gain))
    yield close(f"C4 {name}, Gaussian: order of the variance", round(order(errors, FEWER), 3), declared, TOLERANCE)
    if name not in OTHER_PROCESSES:
        yield below(f"C4 {name}, Gaussian: mean given x_T", max(means), 1e-12)


def churn_excess() -> Iterator[Check]:
    """Check that EDM's S_noise = 1.003 is not consistent: its excess of variance remains at any number of steps."""
    oracle, churn, inflate, n = GaussianDenoiser(SCHEDULE, 0.0, 0.8), 5.0, 1.003, 512
    times = log_uniform(SCHEDULE, n)
    end = float(times[-1])
    got = final_variance(EDMChurn(churn=churn, inflate=inflate), oracle, times) - oracle.variance(end)
    # in y = x / alpha: each step adds (inflate^2 - 1) of its noise too much, and its flow multiplies it by v_q / v_up
    levels, excess = SCHEDULE.noise_ratio(times).tolist(), 0.0
    for p, q in pairwise(levels):
        up = p * (1 + churn / n)
        excess = (excess + (inflate**2 - 1) * (up**2 - p**2)) * (0.8**2 + q**2) / (0.8**2 + up**2)
    exact = excess * float(SCHEDULE(times[-1])[0]) ** 2
    yield close(
        f"C4 edm-churn, inflate = 1.003, {n} steps: excess of variance", got, exact, 0.01 * exact, "does not vanish"
    )


def _all() -> dict[str, Callable[[], Iterator[Check]]]:
    checks: dict[str, Callable[[], Iterator[Check]]] = {}
    for name, make in SAMPLERS.items():
        if not make.stochastic:
            checks[f"C1 {name}"] = partial(deterministic, name, make(), make.order)
    others: dict[str, tuple[Sampler, int]] = {
        "euler, sigma": (Euler("sigma"), 1),
        "heun, sigma": (Heun("sigma"), 2),
        "deis, rho": (DEIS(3, "rho"), 3),
        "deis, lambda": (DEIS(3, "lambda"), 3),
        "unipc, no corrector": (UniPC(corrector=False), 2),
        "unipc3, no corrector": (UniPC3(corrector=False), 3),
        "sde-dpm++3m, eta = 0": (SDEDPMSolver3M(0.0), 3),
        "sa-solver, tau = 0": (SASolver(tau=0.0), 4),
        "sa-solver, 2 and 2 nodes, tau = 0": (SASolver(2, 2, 0.0), 3),
        "er-sde, ode": (ERSDE(3, "ode"), 3),
        "er-sde, k = 2, ode": (ERSDE(2, "ode"), 2),
    }
    for name, (sampler, declared) in others.items():
        checks[f"C1 {name}"] = partial(deterministic, name, sampler, declared)
    noisy: dict[str, tuple[Sampler, int]] = {
        "ddpm": (DDPM(), 1),
        "ddpm, beta": (DDPM("beta"), 1),
        "ddim-eta": (StochasticDDIM(), 1),
        "ddim-eta, eta = 0.5": (StochasticDDIM(0.5), 1),
        "euler-ancestral": (EulerAncestral(), 1),
        "sde-dpm++2m": (SDEDPMSolver2M(), 2),
        "sde-dpm++2m, eta = 0.5": (SDEDPMSolver2M(0.5), 2),
        "sde-dpm++3m": (SDEDPMSolver3M(), 2),
        "sa-solver": (SASolver(), 2),
        "sa-solver, 3 and 3 nodes, tau = 1": (SASolver(3, 3, 1.0), 2),
        "sa-solver, 1 node, no corrector, tau = 1": (SASolver(1, 0, 1.0), 1),
        "er-sde": (ERSDE(), 2),
        "er-sde, k = 1": (ERSDE(1), 1),
        "er-sde, k = 2": (ERSDE(2), 2),
        "edm-churn": (EDMChurn(), 2),
        "edm-churn, sigma": (EDMChurn(coordinates="sigma"), 2),
    }
    for name, (sampler, declared) in noisy.items():
        checks[f"C4 {name}"] = partial(stochastic, name, sampler, declared)
    return checks | {"C4 edm-churn, inflate = 1.003": churn_excess}


CHECKS: dict[str, Callable[[], Iterator[Check]]] = _all()
