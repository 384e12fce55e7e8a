"""Steps of the reverse SDE against brute-force integrals, and what ER-SDE and SA-Solver make of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import (
    ERSDE,
    Cosine,
    RectifiedFlow,
    Sampler,
    SASolver,
    SDEDPMSolver2M,
    SDEDPMSolver3M,
    sample,
    trajectory,
)
from toolkit.diffusion.multistep import _unified_step
from toolkit.diffusion.reverse import Constant, Extended, Noisiness, decay, noise_term, step_to
from toolkit.diffusion.sampler import Memory, Point, at
from toolkit.verify.oracle import GaussianDenoiser

F64 = torch.float64
SCHEDULE = Cosine()
TIMES = torch.tensor([0.8, 0.66, 0.57, 0.41, 0.3], dtype=F64)
POINTS = [at(SCHEDULE, t) for t in TIMES.tolist()]
LAWS = [Constant(0.0), Constant(0.25), Constant(1.0), Extended()]


def full(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=F64)


def poly(z: float, degree: int) -> float:
    return sum((0.7 - 0.4 * i) * z**i for i in range(degree + 1))


def never() -> Tensor:
    raise AssertionError("noise was asked for")


def tau2(law: Noisiness, lam: float) -> float:
    """By hand: a constant, or d log(exp(x^0.3) + 10) / d log x by differences, x = sigma / alpha / 2."""
    if isinstance(law, Constant):
        return law.value

    def log_rest(log_x: float) -> float:
        return math.log(math.exp(math.exp(log_x) ** 0.3) + 10)

    return (log_rest(math.log(0.5) - lam + 1e-4) - log_rest(math.log(0.5) - lam - 1e-4)) / 2e-4


def brute(p: Point, q: Point, law: Noisiness, x: float, x_hat: Callable[[float], float]) -> tuple[float, float]:
    """Mean and variance of x_s by Runge-Kutta steps on d(mean) and d(variance) of y = x / sigma over lambda."""
    n, mean, variance, z = 400, x / p.sigma, 0.0, p.lam
    h = (q.lam - p.lam) / n

    def slope(z: float, m: float, v: float) -> tuple[float, float]:
        strong = tau2(law, z)
        return -strong * m + (1 + strong) * math.exp(z) * x_hat(z), 2 * strong * (1 - v)

    for _ in range(n):
        a = slope(z, mean, variance)
        b = slope(z + h / 2, mean + h / 2 * a[0], variance + h / 2 * a[1])
        c = slope(z + h / 2, mean + h / 2 * b[0], variance + h / 2 * b[1])
        d = slope(z + h, mean + h * c[0], variance + h * c[1])
        mean += h / 6 * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
        variance += h / 6 * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
        z += h
    return q.sigma * mean, q.sigma**2 * variance


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("variable", ["lambda", "ratio"])
def test_a_step_is_the_integral_of_its_polynomial(law: Noisiness, variable: str) -> None:
    """With one to four nodes, behind and ahead of p; and the noise is that of the SDE."""
    p, q = POINTS[2], POINTS[3]
    for others in ([], [1], [0, 1], [0, 1, 3], [3]):
        degree = len(others)

        def x_hat(lam: float, degree: int = degree) -> float:
            return poly(lam if variable == "lambda" else math.exp(-lam), degree)

        nodes = [(POINTS[i], full(x_hat(POINTS[i].lam))) for i in others] + [(p, full(x_hat(p.lam)))]
        mean, variance = brute(p, q, law, 0.4, x_hat)
        assert float(step_to(p, q, law, full(0.4), nodes, variable)) == pytest.approx(mean, abs=1e-8)
    added = noise_term(p, q, law, full(0.0), lambda: full(1.0))
    assert float(0 if added is None else added) ** 2 == pytest.approx(variance, abs=1e-8)


def test_the_papers_phi() -> None:
    """x_s / alpha_s keeps phi(x_s) / phi(x_t), phi(x) = x (exp(x^0.3) + 10), x = sigma / alpha / 2."""
    for p, q in ((POINTS[0], POINTS[3]), (at(SCHEDULE, 0.999), at(SCHEDULE, 0.01))):
        phi_p, phi_q = (r / 2 * (math.exp((r / 2) ** 0.3) + 10) for r in (p.ratio, q.ratio))
        assert decay(p, q, Extended()) * q.ratio / p.ratio == pytest.approx(phi_q / phi_p, rel=1e-12)
        assert decay(p, q, Constant(1.0)) == pytest.approx(q.ratio / p.ratio)


NOISY: dict[str, Sampler] = {
    "sde-dpm++2m": SDEDPMSolver2M(), "sde-dpm++2m, 0.3": SDEDPMSolver2M(0.3), "sde-dpm++3m": SDEDPMSolver3M(),
    "sde-dpm++3m, 0.3": SDEDPMSolver3M(0.3), "er-sde": ERSDE(), "er-sde 1": ERSDE(1), "er-sde, sde": ERSDE(2, "sde"),
    "sa-solver": SASolver(), "sa-solver, 1": SASolver(3, 2, 1.0), "sa-solver, between": SASolver(low=0.5, high=2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", list(NOISY))
def test_of_one_point_every_step_is_exact(name: str) -> None:
    """x_hat is constant, so x_s = alpha_s x + noise of variance sigma_s^2: from any t, after any history, and at 0."""
    point = GaussianDenoiser(SCHEDULE, 0.7, 0.0)
    for grid in ([0.8, 0.3], [1.0, 0.4], TIMES.tolist(), [1.0, *TIMES.tolist()]):
        times = torch.tensor(grid, dtype=F64)
        n = len(times)
        draws = iter(torch.eye(n + 1, dtype=F64)[:, 1:].T[:, :, None])  # the k-th draw moves the k-th of the batch
        x = torch.zeros(n + 1, 1, dtype=F64)
        x[0], x[-1] = 1.0, 0.0  # the last has no noise at all
        alpha, sigma = (c.tolist() for c in SCHEDULE(times))
        x = alpha[0] * 0.7 + sigma[0] * x
        end = sample(point, SCHEDULE, NOISY[name], x, times, lambda: next(draws))[:, 0]  # noqa: B023
        assert float(end[-1]) == pytest.approx(alpha[-1] * 0.7, abs=1e-12)
        assert float((end - end[-1]).square().sum()) == pytest.approx(sigma[-1] ** 2, abs=1e-12)
    *_, last = trajectory(point, SCHEDULE, NOISY[name], full(0.3), torch.tensor([0.8, 0.5, 0.0]), lambda: full(1.0))
    assert torch.equal(last.x, last.x_hat)


def test_nodes_are_as_many_as_the_options_say() -> None:
    """Each integrates its own degree exactly, in its own variable, and not the next one."""
    p, q = POINTS[2], POINTS[3]
    for k in (1, 2, 3):
        cases: list[tuple[Sampler, str]] = [(ERSDE(k, "ode"), "ratio"), (SASolver(k, 0, 0.0), "lambda")]
        if k == 3:
            cases.append((SDEDPMSolver3M(0.0), "lambda"))
        for sampler, variable in cases:
            for degree in (k - 1, k):

                def x_hat(lam: float, degree: int = degree, variable: str = variable) -> float:
                    return poly(lam if variable == "lambda" else math.exp(-lam), degree)

                out = with_history(sampler, x_hat)
                off = abs(float(out) - brute(p, q, Constant(0.0), 0.4, x_hat)[0])
                assert off < 1e-8 if degree < k else off > 1e-5


def with_history(sampler: Sampler, x_hat: Callable[[float], float]) -> Tensor:
    """The third step, without noise, of a denoiser that knows only the time, from 0.4."""
    memory, out = Memory(4), full(0.0)
    for i in range(3):
        out = sampler.step(
            lambda x_t, t: full(x_hat(at(SCHEDULE, float(t)).lam)), SCHEDULE, full(0.4), POINTS[i].t, POINTS[i + 1].t,
            never, memory,
        )  # fmt: skip
    return out


@pytest.mark.parametrize("corrector", [1, 2, 3])
def test_the_corrector(corrector: int) -> None:
    """The corrected x_t is the integral through the new x_hat, with the noise that was drawn before."""
    sampler, tau = SASolver(1, corrector, 0.8), 0.8
    values = {point.t: full(v) for point, v in zip(POINTS, (0.3, -0.2, 0.5, 0.9, -0.4), strict=True)}
    memory, states, noises = Memory(4), [full(0.4)], iter([full(v) for v in (0.1, -0.7, 1.3, 0.6)])
    for p, q in zip(POINTS, POINTS[1:], strict=False):
        states.append(
            sampler.step(lambda x_t, t: values[float(t)], SCHEDULE, states[-1], p.t, q.t, lambda: next(noises), memory)
        )
    corrected, again = full(0.4), iter([full(v) for v in (0.1, -0.7, 1.3, 0.6)])
    law = Constant(tau**2)
    for i in range(3):
        nodes = [(POINTS[j], values[POINTS[j].t]) for j in range(max(0, i + 1 - corrector), i + 2)]
        deviation = POINTS[i + 1].sigma * math.sqrt(1 - decay(POINTS[i], POINTS[i + 1], law) ** 2)
        corrected = step_to(POINTS[i], POINTS[i + 1], law, corrected, nodes) + deviation * next(again)
    wanted = step_to(POINTS[3], POINTS[4], law, corrected, [(POINTS[3], values[POINTS[3].t])])
    deviation = POINTS[4].sigma * math.sqrt(1 - decay(POINTS[3], POINTS[4], law) ** 2)
    assert float(states[-1]) == pytest.approx(float(wanted + deviation * next(again)), abs=1e-13)


def test_the_corrector_of_a_noisy_step_is_noisy_where_the_next_is_not() -> None:
    """tau counts by where a step starts, both limits included."""
    first, second = POINTS[0], POINTS[1]
    for sampler, noisy in (
        (SASolver(1, 1, 1.0, low=first.ratio), (True, False)),
        (SASolver(1, 1, 1.0, high=second.ratio), (False, True)),
        (SASolver(1, 1, 1.0, low=second.ratio, high=second.ratio), (False, True)),
        (SASolver(1, 1, 1.0, low=second.ratio * 1.01, high=first.ratio * 0.99), (False, False)),
        (SASolver(1, 1, 1.0), (True, True)),
    ):
        laws = [Constant(float(flag)) for flag in noisy]
        draws: list[Tensor] = []

        def noise(draws: list[Tensor] = draws) -> Tensor:
            draws.append(full(0.5))
            return draws[-1]

        values, memory = {first.t: full(0.3), second.t: full(-0.2)}, Memory(2)
        x = sampler.step(lambda x_t, t: values[float(t)], SCHEDULE, full(0.4), first.t, second.t, noise, memory)  # noqa: B023
        x = sampler.step(lambda x_t, t: values[float(t)], SCHEDULE, x, second.t, POINTS[2].t, noise, memory)  # noqa: B023
        assert len(draws) == sum(noisy)
        nodes = [(first, values[first.t]), (second, values[second.t])]
        y = step_to(first, second, laws[0], full(0.4), nodes)
        added = noise_term(first, second, laws[0], y, lambda: full(0.5))
        y = y if added is None else y + added
        wanted = step_to(second, POINTS[2], laws[1], y, nodes[1:])
        added = noise_term(second, POINTS[2], laws[1], y, lambda: full(0.5))
        assert float(x) == pytest.approx(float(wanted if added is None else wanted + added), abs=1e-13)


def test_without_noise_uni_c_is_the_corrector() -> None:
    p, q = POINTS[2], POINTS[3]
    for others in ([1, 3], [0, 1, 3]):
        nodes = [(POINTS[i], full(0.2 + 0.3 * i * i)) for i in [*others, 2]]
        theirs = _unified_step(p, q, full(0.4), nodes[:-1], nodes[-1][1])
        assert float(step_to(p, q, Constant(0.0), full(0.4), nodes)) == pytest.approx(float(theirs), abs=1e-13)


def test_the_first_step_from_pure_noise_is_forgotten_by_the_corrector() -> None:
    """alpha = 0 at t = 1: that step has no lambda, so the next is a first one."""
    oracle, flow = GaussianDenoiser(RectifiedFlow(), 0.3, 0.5), RectifiedFlow()
    noises = [full(v) for v in (0.3, -0.4, 0.8)]
    whole = trajectory(
        oracle, flow, SASolver(), full(1.1), torch.tensor([1.0, 0.8, 0.6, 0.5], dtype=F64), lambda: noises.pop(0)
    )
    first, *_, last = whole
    noises = [full(v) for v in (-0.4, 0.8)]
    later = sample(oracle, flow, SASolver(), first.x, torch.tensor([0.8, 0.6, 0.5], dtype=F64), lambda: noises.pop(0))
    assert torch.equal(later, last.x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ERSDE(0), "1, 2 or 3"),
        (lambda: ERSDE(4), "1, 2 or 3"),
        (lambda: ERSDE(3, "none"), "extended, sde, ode"),
        (lambda: SASolver(0), "1 to 3"),
        (lambda: SASolver(4), "1 to 3"),
        (lambda: SASolver(2, 4), "0 to 3"),
        (lambda: SASolver(2, -1), "0 to 3"),
        (lambda: SASolver(tau=-0.5), "tau is not negative"),
        (lambda: SDEDPMSolver2M(-1.0), "eta is not negative"),
        (lambda: SDEDPMSolver3M(math.nan), "eta is not negative"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], Sampler], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "sampler",
    [SDEDPMSolver2M(0.0), SDEDPMSolver3M(0.0), SASolver(tau=0.0), SASolver(high=1e-9), ERSDE(3, "ode")],
    ids=repr,
)
def test_no_noise_is_drawn_where_there_is_none(sampler: Sampler) -> None:
    oracle = GaussianDenoiser(SCHEDULE, 0.3, 0.5)
    out = sample(oracle, SCHEDULE, sampler, full(1.1), torch.tensor([1.0, *TIMES.tolist(), 0.0], dtype=F64), never)
    assert bool(out.isfinite())
