"""C7: the polynomials that each formula integrates exactly, at any step size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from toolkit.diffusion import (
    DDIM,
    DEIS,
    IPNDM,
    Cosine,
    Denoise,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Sampler,
    Schedule,
    UniPC3,
)
from toolkit.diffusion.multistep import _unified_step
from toolkit.diffusion.sampler import Memory, Point, at
from toolkit.verify.check import Check, below
from toolkit.verify.measure import log_uniform, no_noise, sigma_uniform
from toolkit.verify.oracle import DTYPE


def polynomials() -> Iterator[Check]:
    """Check that each exponential method integrates its own polynomials exactly, with the history it needs."""
    schedule = Cosine()
    times = log_uniform(schedule, 5) ** 1.1  # uneven, so that no symmetry hides an error
    data: list[tuple[str, Sampler, int]] = [
        ("ddim", DDIM(), 0),
        ("dpm++2s", DPMSolver2S(), 0),
        ("dpm++2m", DPMSolver2M(), 0),
        ("dpm++3m", DPMSolver3M(), 2),
        ("unipc3, no corrector", UniPC3(corrector=False), 2),
    ]
    for name, sampler, degree in data:
        yield _data_polynomial(name, sampler, schedule, times, degree)
    points = [at(schedule, t) for t in times.tolist()]
    for k in (2, 3):
        p, q = points[3], points[4]
        others = [(n, _ones(_poly(n.lam, k))) for n in [*points[4 - k : 3], q]]
        value = float(_unified_step(p, q, _ones(0.4), others, _ones(_poly(p.lam, k))))
        yield below(f"C7 UniC-{k}: x_hat of degree {k} in lambda", abs(value - _exact_data(p, q, 0.4, k)), 1e-12)
    for variable in ("t", "rho", "lambda"):
        for k in (1, 2, 3, 4):
            yield _eps_polynomial(f"deis, {variable}, k = {k}", DEIS(k, variable), schedule, times, variable)
    for k in (1, 2, 3, 4):
        yield _eps_polynomial(f"ipndm, k = {k}, even sigmas", IPNDM(k), schedule, sigma_uniform(schedule, 5), "rho")


def _ones(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=DTYPE)


def _poly(z: float, degree: int) -> float:
    return sum((0.7 - 0.4 * i) * z**i for i in range(degree + 1))


def _exact_data(p: Point, q: Point, x: float, degree: int) -> float:
    """Return sigma_s / sigma_t x + alpha_s times the integral of e^(lambda - lambda_s) poly(lambda), by parts."""

    def primitive(z: float) -> float:
        coefficients, total, sign = [0.7 - 0.4 * i for i in range(degree + 1)], 0.0, 1.0
        while coefficients:
            total += sign * sum(c * z**i for i, c in enumerate(coefficients))
            coefficients, sign = [i * c for i, c in enumerate(coefficients)][1:], -sign
        return total

    return q.sigma / p.sigma * x + q.alpha * (primitive(q.lam) - math.exp(p.lam - q.lam) * primitive(p.lam))


def _data_polynomial(name: str, sampler: Sampler, schedule: Schedule, times: Tensor, degree: int) -> Check:
    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return _ones(_poly(at(schedule, float(t)).lam, degree))

    x, p, q, value = _after_history(sampler, schedule, denoise, times)
    return below(f"C7 {name}: x_hat of degree {degree} in lambda", abs(value - _exact_data(p, q, x, degree)), 1e-12)


def _eps_polynomial(name: str, sampler: DEIS | IPNDM, schedule: Schedule, times: Tensor, variable: str) -> Check:
    """Check eps_hat of degree k - 1 in `variable` against its integral over sigma / alpha by Simpson's rule."""
    degree = sampler.k - 1

    def value(rho: float) -> float:
        t = float(schedule.time(torch.tensor(-2 * math.log(rho), dtype=DTYPE)))
        return _poly({"t": t, "rho": rho, "lambda": -math.log(rho)}[variable], degree)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        p = at(schedule, float(t))
        return (x_t - p.sigma * value(p.ratio)) / p.alpha

    x, p, q, got = _after_history(sampler, schedule, denoise, times)
    n = 512
    h = (q.ratio - p.ratio) / n
    simpson = sum((1 if i in (0, n) else 4 if i % 2 else 2) * value(p.ratio + i * h) for i in range(n + 1)) * h / 3
    return below(f"C7 {name}: eps_hat of degree {degree}", abs(got - q.alpha * (x / p.alpha + simpson)), 1e-11)


def _after_history(
    sampler: Sampler, schedule: Schedule, denoise: Denoise, times: Tensor
) -> tuple[float, Point, Point, float]:
    """Return (x_t, p, q, x_s) of the last step, for a denoiser that depends on time alone."""
    grid, memory, x = times.tolist(), Memory(total=len(times) - 1), 0.4
    out = _ones(x)
    for t, s in pairwise(grid):
        out = sampler.step(denoise, schedule, _ones(x), t, s, no_noise, memory)
    return x, at(schedule, grid[-2]), at(schedule, grid[-1]), float(out)


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {"C7 polynomials": polynomials}
