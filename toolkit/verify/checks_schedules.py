"""A1-A8: schedules, the discrete chain, shifts and grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from toolkit.diffusion import (
    GRIDS,
    SCHEDULES,
    VP,
    LinearChain,
    RectifiedFlow,
    ScaledLinearChain,
    Schedule,
    Shift,
    ZeroTerminalSNR,
    respace,
    trajectory,
)
from toolkit.diffusion.loss import slope
from toolkit.diffusion.sampler import DDIM, at
from toolkit.diffusion.schedule import Straight, VarianceExploding, VariancePreserving
from toolkit.diffusion.stochastic import posterior
from toolkit.verify.check import Check, below, close, true
from toolkit.verify.oracle import DTYPE


def every_schedule() -> dict[str, Schedule]:
    """Return all schedules with their default options, one shifted, one with zero terminal SNR."""
    plain: dict[str, Schedule] = {name: make() for name, make in SCHEDULES.items()}
    shifted: dict[str, Schedule] = {
        "flow, shift 3": Shift(RectifiedFlow(), 3.0),
        "linear-beta, zero terminal SNR": ZeroTerminalSNR(LinearChain()),
    }
    return plain | shifted


def paths() -> Iterator[Check]:
    """Check that alpha and sigma obey the path and lambda strictly falls; t -> lambda -> t; and the slope of lambda."""
    for name, schedule in every_schedule().items():
        t = torch.arange(1, 1000, dtype=DTYPE) / 1000
        alpha, sigma = schedule(t)
        base = schedule.schedule if isinstance(schedule, Shift) else schedule
        if isinstance(base, VariancePreserving):
            yield below(f"A1 {name}: alpha^2 + sigma^2 = 1", _worst(alpha**2 + sigma**2 - 1), 1e-14)
        elif isinstance(base, Straight):
            yield below(f"A1 {name}: alpha + sigma = 1", _worst(alpha + sigma - 1), 1e-14)
        elif isinstance(base, VarianceExploding):
            yield below(f"A1 {name}: alpha = 1", _worst(alpha - 1), 0.0)
        lam = schedule.log_snr(t)
        yield true(f"A1 {name}: SNR strictly falls", bool((lam.diff() < 0).all()))
        yield below(f"A1 {name}: lambda = log(alpha^2 / sigma^2)", _worst(lam - 2 * torch.log(alpha / sigma)), 1e-9)
        yield below(f"A1 {name}: t -> lambda -> t", _worst(schedule.time(lam) - t), 1e-10)
        # between the knots of a chain, which is linear in log(abar) from one to the next
        middle, step = t + 0.0005, 1e-6
        numeric = (schedule.log_snr(middle - step) - schedule.log_snr(middle + step)) / (2 * step)
        yield below(f"A1 {name}: slope, relative", _worst(slope(schedule, middle) / numeric - 1), 1e-5)


def constants() -> Iterator[Check]:
    """Check numbers that the papers' settings imply."""
    one = torch.ones((), dtype=DTYPE)
    linear, scaled = LinearChain(), ScaledLinearChain()
    yield close("A2 linear-beta, T = 1000: abar_T", float(linear(one)[0] ** 2), 4.0358e-5, 1e-9)
    yield close("A2 linear-beta, T = 1000: sqrt(abar_T)", float(linear(one)[0]), 0.00635, 5e-6)
    yield close("A2 linear-beta, T = 1000: largest sigma / alpha", float(linear.noise_ratio(one)), 157.4, 0.05)
    yield close("A2 scaled-linear: smallest sigma / alpha", float(scaled.noise_ratio(one / 1000)), 0.0292, 5e-5)
    yield close("A2 scaled-linear: largest sigma / alpha", float(scaled.noise_ratio(one)), 14.615, 5e-4)
    yield close("A2 vp: largest sigma / alpha", float(VP().noise_ratio(one)), math.sqrt(math.expm1(10.05)), 1e-9)
    for T in (50, 200, 400):
        alpha = float(LinearChain(T)(one)[0])
        yield below(f"A2 linear-beta, T = {T}, betas rescaled: sqrt(abar_T)", alpha, 0.02, "x_T is noise")


def posteriors() -> Iterator[Check]:
    """Check q(x_{t-1} | x_t, x) of the chain, and that it is consistent with q(x_t | x)."""
    chain = LinearChain()
    alpha_bar = chain.log_alpha_bar.exp().tolist()
    betas = chain.betas.tolist()
    mean = variance = textbook = excess = 0.0
    for i in range(1, 1001):
        c1, c2, beta, tilde = posterior(at(chain, i / 1000), at(chain, (i - 1) / 1000))
        now, before = alpha_bar[i], alpha_bar[i - 1]
        mean = max(mean, abs(c1 + c2 * math.sqrt(now) - math.sqrt(before)))
        variance = max(variance, abs(c2**2 * (1 - now) + tilde - (1 - before)))
        exact = (
            betas[i - 1] * math.sqrt(before) / (1 - now),
            (1 - before) * math.sqrt(1 - betas[i - 1]) / (1 - now),
            betas[i - 1],
            betas[i - 1] * (1 - before) / (1 - now),
        )
        textbook = max(textbook, *(abs(a - b) for a, b in zip((c1, c2, beta, tilde), exact)))
        excess = max(excess, tilde - beta)
    yield below("A3 c1 + c2 sqrt(abar_t) = sqrt(abar_{t-1})", mean, 1e-12)
    yield below("A3 c2^2 (1 - abar_t) + beta~ = 1 - abar_{t-1}", variance, 1e-12)
    yield below("A3 c1, c2, beta, beta~ as in Ho et al. (2020), eq. 7", textbook, 1e-12)
    yield below("A3 beta~ - beta at most", excess, 1e-15)
    yield close("A3 beta~_1", posterior(at(chain, 1e-3), at(chain, 0.0))[3], 0.0, 0.0)


def zero_terminal() -> Iterator[Check]:
    """Check zero terminal SNR (Lin et al. 2024, algorithm 1) on a chain and in continuous time."""
    for name, plain in {"linear-beta": LinearChain(), "vp": VP()}.items():
        schedule = ZeroTerminalSNR(plain)
        first, t = torch.tensor(schedule.first, dtype=DTYPE), torch.linspace(0, 1, 1001, dtype=DTYPE)
        alpha = schedule(t)[0]
        yield close(f"A4 {name}: alpha_1", float(alpha[-1]), 0.0, 0.0)
        yield close(f"A4 {name}: alpha at the first step", float(schedule(first)[0]), float(plain(first)[0]), 1e-15)
        yield true(f"A4 {name}: alpha strictly falls", bool((alpha.diff() < 0).all()))
        yield below(f"A4 {name}: twice is once", _worst(ZeroTerminalSNR(schedule)(t)[0] - alpha), 1e-15)


def shifts() -> Iterator[Check]:
    """Check that shifts form a group, and their closed form on rectified flow (Esser et al. 2024, eq. 23)."""
    flow, t = RectifiedFlow(), torch.linspace(0, 1, 101, dtype=DTYPE)
    for s in (0.5, 3.0):
        yield below(
            f"A5 flow, shift {s:g}: s t / (1 + (s - 1) t)",
            _worst(Shift(flow, s)(t)[1] - s * t / (1 + (s - 1) * t)),
            1e-14,
        )
    twice, once = Shift(Shift(flow, 2.0), 1.5), Shift(flow, 3.0)
    yield below("A5 shift 2 of shift 1.5 = shift 3", _worst(twice(t)[1] - once(t)[1]), 1e-14)
    yield below("A5 shift 1 = none", _worst(Shift(flow, 1.0)(t)[1] - t), 1e-14)
    ends = Shift(flow, 3.0)(torch.tensor([0.0, 1.0], dtype=DTYPE))[1]
    yield true("A5 a shift keeps both ends", ends.tolist() == [0.0, 1.0])


def respacing() -> Iterator[Check]:
    """Check that a respaced chain has the same abar at its steps."""
    chain = LinearChain()
    for n in (7, 50):
        steps = (trailing_steps(chain, n) * 1000).round().long().flip(0)
        gap = _worst(respace(chain, steps).log_alpha_bar[1:].exp() - chain.log_alpha_bar[steps].exp())
        yield below(f"A6 {n} of 1000: abar kept", gap, 1e-14)


def trailing_steps(chain: LinearChain, n: int) -> Tensor:
    """Return the trailing grid without its 0."""
    return GRIDS["trailing"](chain, n)[:-1]


def grids() -> Iterator[Check]:
    """Check the grids of the papers, and that step i ends at grid[i + 1] for any n."""
    chain = LinearChain()
    published = {
        "leading": [901, 801, 701, 601, 501, 401, 301, 201, 101, 1],
        "trailing": [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100],
        "linspace": [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1],
    }
    for name, steps in published.items():
        places = (GRIDS[name](chain, 10) * 1000).round().long().tolist()
        yield true(f"A7 {name}, 10 of 1000, steps from 1 to T", places == [*steps, 0])
    x = torch.ones(1, 1, dtype=DTYPE)
    for name, grid in GRIDS.items():
        missed = 0
        for n in (1, 7, 10, 13, 50):
            times = grid(chain, n)
            stops = [step.s for step in trajectory(lambda x_t, t: x_t, chain, DDIM(), x, times)]
            missed += stops != times[1:].tolist() or len(stops) != n or float(times[-1]) != 0
        yield close(f"A7 {name}: n = 1, 7, 10, 13, 50 steps that miss their grid", missed, 0, 0)


def rho_grids() -> Iterator[Check]:
    """Check the grid of Karras et al. (2022), eq. 5."""
    flow, n = RectifiedFlow(), 20
    levels = flow.noise_ratio(GRIDS["karras"](flow, n, 0.02, 80.0)[:-1])
    yield close("A8 karras: first level", float(levels[0]), 80.0, 1e-9)
    yield close("A8 karras: last level", float(levels[-1]), 0.02, 1e-12)
    linear = flow.noise_ratio(GRIDS["karras"](flow, n, 0.02, 80.0, 1.0)[:-1])
    yield below("A8 karras, rho = 1: second differences", _worst(linear.diff().diff()), 1e-9, "linear in sigma")
    limit = flow.noise_ratio(GRIDS["karras"](flow, n, 0.02, 80.0, 1e6)[:-1])
    even = flow.noise_ratio(GRIDS["log-snr"](flow, n, 0.02, 80.0)[:-1])
    yield below("A8 karras, rho = 1e6, from log-snr, relative", _worst(limit / even - 1), 1e-4)


def _worst(difference: Tensor) -> float:
    return float(difference.abs().max())


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "A1 paths": paths,
    "A2 constants": constants,
    "A3 posteriors": posteriors,
    "A4 zero terminal SNR": zero_terminal,
    "A5 shifts": shifts,
    "A6 respacing": respacing,
    "A7 grids": grids,
    "A8 karras": rho_grids,
}
