"""Multistep samplers: one network call a step, and the values of earlier calls.

Data-prediction methods interpolate x_hat in lambda = log(alpha / sigma), noise-prediction ones eps_hat. Where
lambda is infinite (alpha = 0 or sigma = 0) a polynomial has no node, so that step is first-order and not remembered.
Without enough history they start at lower order, which limits the order measured over a whole trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.reverse import gauss_legendre
from toolkit.diffusion.sampler import (
    Denoise,
    Memory,
    Noise,
    Point,
    Sampler,
    at,
    call,
    eps_hat,
    halfway,
    regular,
    transfer,
)
from toolkit.diffusion.schedule import Schedule


class DPMSolver2M(Sampler):
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2)."""

    order = 2

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if not regular(p, q):
            return transfer(p, q, x_t, x_hat)
        return transfer(p, q, x_t, halfway(memory, p, q, x_hat))


class DPMSolver3M(Sampler):
    """DPM-Solver++(3M): x_hat as a quadratic in lambda, integrated exactly (Lu et al. 2022, eq. 9 with k = 3)."""

    order = 3

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if not regular(p, q):
            return transfer(p, q, x_t, x_hat)
        h = q.lam - p.lam
        past = memory.past
        memory.push(p, x_hat, 2)
        if not past:
            return transfer(p, q, x_t, x_hat)
        first, x_first = past[-1]
        near = (x_hat - x_first) * (h / (p.lam - first.lam))
        if len(past) == 1:
            return transfer(p, q, x_t, x_hat + near / 2)
        second, x_second = past[-2]
        far = (x_first - x_second) * (h / (first.lam - second.lam))
        r0, r1 = (p.lam - first.lam) / h, (first.lam - second.lam) / h
        curve = (near - far) / (r0 + r1)
        slope = near + r0 * curve
        decay = math.expm1(-h)
        # `curve` is h^2/2 times the second derivative. The released code gives it half this weight, which
        # leaves it at order 2 with an exact start too (`toolkit verify C1`); this is the exact integral.
        return (
            transfer(p, q, x_t, x_hat)
            + q.alpha * (decay / h + 1) * slope
            - q.alpha * (2 * (decay + h) / h**2 - 1) * curve
        )


@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC with B_2(h) = e^h - 1 (Zhao et al. 2023, algorithms 5 and 6): predictor and corrector of order p.

    The corrector improves x_t with the x_hat that the next step needs anyway, so it costs no call, and raises the
    order to p + 1. The paper's code takes 1/2 for the one-term systems; so do we.
    """

    p: int = 2
    corrector: bool = True
    order = 3

    def __post_init__(self) -> None:
        if self.p not in (1, 2, 3):
            raise ValueError(f"UniPC's p is 1, 2 or 3, got {self.p}")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if self.corrector and memory.x is not None and memory.past and math.isfinite(p.lam):
            nodes = memory.past[-self.p :]
            x_t = _unified_step(nodes[-1][0], p, memory.x, [*nodes[:-1], (p, x_hat)], nodes[-1][1])
        if not regular(p, q):
            return transfer(p, q, x_t, x_hat)
        others = memory.past[-(self.p - 1) :] if self.p > 1 else []
        memory.push(p, x_hat, self.p)
        memory.x = x_t
        return _unified_step(p, q, x_t, others, x_hat)


class UniPC3(UniPC):
    """UniPC with p = 3: order 4."""

    order = 4

    def __init__(self, corrector: bool = True) -> None:
        super().__init__(p=3, corrector=corrector)


def _unified_step(p: Point, q: Point, x_t: Tensor, others: Sequence[tuple[Point, Tensor]], x_hat: Tensor) -> Tensor:
    """Return x_s by the common formula of UniP and UniC (Zhao et al. 2023, eq. 9 and 5); `others`: nodes beside p."""
    x_s = transfer(p, q, x_t, x_hat)
    if not others:
        return x_s
    h = q.lam - p.lam
    r = torch.tensor([(point.lam - p.lam) / h for point, _ in others], dtype=torch.float64)
    n = len(others)
    if n == 1:
        weights = torch.tensor([0.5], dtype=torch.float64)
    else:
        b, phi = [], math.expm1(-h) / -h - 1
        for i in range(1, n + 1):
            b.append(phi * math.factorial(i) / math.expm1(-h))
            phi = phi / -h - 1 / math.factorial(i + 1)
        powers = torch.stack([r**i for i in range(n)])
        weights = torch.linalg.solve(powers, torch.tensor(b, dtype=torch.float64))
    for weight, ratio, (_, value) in zip(weights.tolist(), r.tolist(), others, strict=True):
        x_s = x_s - q.alpha * math.expm1(-h) * weight / ratio * (value - x_hat)
    return x_s


@dataclass(frozen=True)
class DEIS(Sampler):
    """DEIS (Zhang and Chen 2023, eq. 14-15): eps_hat as a polynomial of degree k - 1, integrated over sigma / alpha.

    `variable` of the polynomial: "t" (their tAB), "rho" = sigma / alpha (their rhoAB, which is Adams-Bashforth
    with variable steps) or "lambda" = log(alpha / sigma).
    """

    k: int = 3
    variable: str = "t"
    order = 3

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 4:
            raise ValueError(f"DEIS's k is 1 to 4, got {self.k}")
        if self.variable not in ("t", "rho", "lambda"):
            raise ValueError(f"DEIS's variable is t, rho or lambda, got '{self.variable}'")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if not regular(p, q):
            return transfer(p, q, x_t, x_hat)
        memory.push(p, eps_hat(p, x_t, x_hat), self.k)
        points = [point for point, _ in memory.past]
        x_s = q.alpha / p.alpha * x_t
        for weight, (_, value) in zip(self._weights(schedule, points, q), memory.past, strict=True):
            x_s = x_s + q.alpha * weight * value
        return x_s

    def _weights(self, schedule: Schedule, points: list[Point], q: Point) -> list[float]:
        """Integrate the Lagrange polynomials on `points` from the newest to q, d rho = -e^-lambda d lambda."""
        p = points[-1]
        place, share = gauss_legendre(32)
        lam = p.lam + (q.lam - p.lam) * place
        measure = -(q.lam - p.lam) * share * torch.exp(-lam)
        where = {"t": lambda: schedule.time(2 * lam), "rho": lambda: torch.exp(-lam), "lambda": lambda: lam}
        here = where[self.variable]()
        nodes = [{"t": n.t, "rho": n.ratio, "lambda": n.lam}[self.variable] for n in points]
        weights = []
        for j, node in enumerate(nodes):
            basis = torch.ones_like(here)
            for i, other in enumerate(nodes):
                if i != j:
                    basis = basis * (here - other) / (node - other)
            weights.append(float((basis * measure).sum()))
        return weights


_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


@dataclass(frozen=True)
class IPNDM(Sampler):
    """iPNDM (Zhang and Chen 2023, appendix; Liu et al. 2022, PNDM, eq. 9): Adams-Bashforth weights on eps_hat.

    The weights are those of equal steps in sigma / alpha: the declared order holds on such a grid only.
    On other grids use DEIS with variable "rho".
    """

    k: int = 4
    order = 4

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 4:
            raise ValueError(f"iPNDM's k is 1 to 4, got {self.k}")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if not regular(p, q):
            return transfer(p, q, x_t, x_hat)
        memory.push(p, eps_hat(p, x_t, x_hat), self.k)
        values = [value for _, value in reversed(memory.past)]
        mixed = sum(w * value for w, value in zip(_ADAMS_BASHFORTH[len(values) - 1], values, strict=True))
        return q.alpha / p.alpha * x_t + q.alpha * (q.ratio - p.ratio) * mixed
