"""Multistep samplers of the reverse SDE: SDE-DPM-Solver++, ER-SDE-Solver and SA-Solver. One network call a step.

They differ in tau, in the variable of the polynomial x_hat, and in having a corrector (reverse.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from toolkit.diffusion.reverse import Constant, Extended, Noisiness, noise_term, step_to
from toolkit.diffusion.sampler import Denoise, Memory, Noise, Point, Sampler, at, call, halfway, regular
from toolkit.diffusion.schedule import Schedule


@dataclass(frozen=True)
class SDEDPMSolver2M(Sampler):
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, eq. 13-14 with the midpoint of 2M).

    `eta` is tau^2: 1 is the reverse SDE, 0 the probability flow, where it is DPM-Solver++(2M).
    """

    eta: float = 1.0
    order = 2
    stochastic = True

    def __post_init__(self) -> None:
        _not_negative("eta", self.eta)

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if regular(p, q):
            x_hat = halfway(memory, p, q, x_hat)
        tau = Constant(self.eta)
        return _with(noise_term(p, q, tau, x_t, noise), step_to(p, q, tau, x_t, [(p, x_hat)]))


@dataclass(frozen=True)
class SDEDPMSolver3M(Sampler):
    """SDE-DPM-Solver++(3M): x_hat as a quadratic in lambda, integrated exactly (Lu et al. 2022, eq. 13, with k = 3).

    `eta` is tau^2: 0 gives DPM-Solver++(3M), of order 3. (Another form, used elsewhere, takes the quadratic of
    the flow at a step of (1 + eta) h; at eta > 0 that is not the integral.)
    """

    eta: float = 1.0
    order = 2
    stochastic = True

    def __post_init__(self) -> None:
        _not_negative("eta", self.eta)

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        return _multistep(3, Constant(self.eta), "lambda", denoise, schedule, x_t, t, s, noise, memory)


@dataclass(frozen=True)
class ERSDE(Sampler):
    """ER-SDE-Solver (Cui et al. 2023, eq. 16-17 and algorithms 1-3): x_hat of degree k - 1 in sigma / alpha.

    `noise`: "extended" is the paper's best (ER-SDE-5), "sde" the reverse SDE, "ode" the probability flow, of order k.
    """

    k: int = 3
    noise: str = "extended"
    order = 2
    stochastic = True

    def __post_init__(self) -> None:
        if self.k not in (1, 2, 3):
            raise ValueError(f"ER-SDE's k is 1, 2 or 3, got {self.k}")
        if self.noise not in _NOISINESS:
            raise ValueError(f"ER-SDE's noise is {', '.join(_NOISINESS)}, got '{self.noise}'")

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        return _multistep(self.k, _NOISINESS[self.noise], "ratio", denoise, schedule, x_t, t, s, noise, memory)


_NOISINESS: dict[str, Noisiness] = {"extended": Extended(), "sde": Constant(1.0), "ode": Constant(0.0)}


@dataclass(frozen=True)
class SASolver(Sampler):
    """SA-Solver (Xue et al. 2023, algorithm 1): Adams predictor and corrector, x_hat as a polynomial in lambda.

    The predictor has `predictor` nodes; the corrector, with `corrector` earlier nodes and the new one, improves x_t by
    the x_hat that the next step needs anyway, under the same noise; 0: none. tau applies to steps that start at a level
    sigma / alpha from `low` to `high` (the paper's 0.05 and 1, for data of deviation 0.5, are 0.1 and 2 here).
    At tau = 0 the order is min(predictor, corrector) + 1, or `predictor` without a corrector.
    """

    predictor: int = 3
    corrector: int = 3
    tau: float = 0.5
    low: float = 0.0
    high: float = math.inf
    order = 2
    stochastic = True

    def __post_init__(self) -> None:
        if self.predictor not in (1, 2, 3) or self.corrector not in (0, 1, 2, 3):
            raise ValueError(
                f"SA-Solver's predictor is 1 to 3 and its corrector 0 to 3, got {self.predictor} and {self.corrector}"
            )
        _not_negative("tau", self.tau)

    def step(
        self, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: float, s: float, noise: Noise, memory: Memory
    ) -> Tensor:
        p, q = at(schedule, t), at(schedule, s)
        x_hat = call(denoise, x_t, t)
        if self.corrector and memory.x is not None and memory.past and math.isfinite(p.lam):
            before, nodes = memory.past[-1][0], [*memory.past[-self.corrector :], (p, x_hat)]
            x_t = _with(memory.noise, step_to(before, p, self._tau_at(before), memory.x, nodes))
        tau, nodes = self._tau_at(p), [(p, x_hat)]
        if regular(p, q):
            memory.push(p, x_hat, max(self.predictor, self.corrector))
            memory.x, nodes = x_t, memory.past[-self.predictor :]
        memory.noise = noise_term(p, q, tau, x_t, noise)
        return _with(memory.noise, step_to(p, q, tau, x_t, nodes))

    def _tau_at(self, p: Point) -> Noisiness:
        return Constant(self.tau**2 if self.low <= p.ratio <= self.high else 0.0)


def _multistep(
    k: int,
    tau: Noisiness,
    variable: str,
    denoise: Denoise,
    schedule: Schedule,
    x_t: Tensor,
    t: float,
    s: float,
    noise: Noise,
    memory: Memory,
) -> Tensor:
    """Take a step with the last k values of x_hat, or as many as there are."""
    p, q = at(schedule, t), at(schedule, s)
    nodes = [(p, call(denoise, x_t, t))]
    if regular(p, q):
        memory.push(*nodes[0], k)
        nodes = memory.past
    return _with(noise_term(p, q, tau, x_t, noise), step_to(p, q, tau, x_t, nodes, variable))


def _with(added: Tensor | None, mean: Tensor) -> Tensor:
    return mean if added is None else mean + added


def _not_negative(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} is not negative, got {value}")
