"""W1-W2: covariance and mean of an AR(1) sampled by averaged windows, against the closed form.

The closed form is that of windows of two at every place. The covariance of two neighbours has the eigenvectors (1, 1)
and (1, -1) with eigenvalues 1 + r and 1 - r, so the average of the windows' posterior means is a(t) I + b(t) S, where S
is one step of a random walk over the places (to either neighbour, from an end to its only one). Such matrices commute,
so the probability flow has the solution x_0 = F(S) x_T, where F(mu) is the flow of a variance 1 + r to (1 + mu) / 2
times that of 1 - r to (1 - mu) / 2: a geometric mean. From pure noise to none that is

    F(S) = (1 - r^2)^(1/4) exp(artanh(r) / 2 S),

and far from the ends the covariance at distance k is sqrt(1 - r^2) I_k(artanh r), I_k the modified Bessel function,
where r^k is the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from toolkit.diffusion import Cond, Denoise, DPMSolver3M, RectifiedFlow, Schedule, conditional, sample
from toolkit.diffusion.schedule import expand
from toolkit.diffusion.window import windowed
from toolkit.verify.check import Check, below, close
from toolkit.verify.measure import log_uniform
from toolkit.verify.oracle import DTYPE, Oracle

SCHEDULE = RectifiedFlow()
HIGH, LOW = 1e3, 1e-3
"""sigma / alpha at the start and at the end of sampling."""


class Autoregressive(Oracle):
    """Data (B, L), stationary: N(mean, C), C_ij = r^|i - j|."""

    def __init__(self, schedule: Schedule, length: int, r: float, mean: float = 0.0) -> None:
        super().__init__(schedule)
        self.mean, self.covariance = mean, covariance(length, r)
        self.variances, self.axes = torch.linalg.eigh(self.covariance)

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (expand(c, x_t) for c in self.schedule(t))
        gain = alpha * self.variances / (alpha**2 * self.variances + sigma**2)
        return self.mean + (((x_t - alpha * self.mean) @ self.axes) * gain) @ self.axes.T


def covariance(length: int, r: float) -> Tensor:
    """Return r^|i - j|: (length, length)."""
    place = torch.arange(length, dtype=DTYPE)
    return r ** (place[:, None] - place).abs()


def response(denoise: Denoise, length: int, times: Tensor) -> Tensor:
    """Return d x_0 / d x_T of a linear denoiser, (length, length): row i is x_0 for x_T with a 1 at place i."""
    return sample(denoise, SCHEDULE, DPMSolver3M(), torch.eye(length, dtype=DTYPE), times)


def pairs(length: int, r: float, mean: float = 0.0) -> Denoise:
    """Return the denoiser of an AR(1) by windows of two at every place, each exact."""
    part = conditional(Autoregressive(SCHEDULE, 2, r, mean), None)
    return windowed(lambda start: part, length, 2, range(length - 1))


def of_pairs(length: int, r: float, times: Tensor) -> Tensor:
    """Return the `response` of `pairs` without discretisation error, by the formula above: (length, length)."""
    walk = torch.zeros(length, length, dtype=DTYPE)
    for i in range(length):
        near = [j for j in (i - 1, i + 1) if 0 <= j < length]
        walk[i, near] = 1 / len(near)
    (alpha_0, sigma_0), (alpha_T, sigma_T) = (SCHEDULE(times[i]) for i in (-1, 0))
    plus, minus = (
        float(torch.log((alpha_0**2 * v + sigma_0**2) / (alpha_T**2 * v + sigma_T**2)) / 2) for v in (1 + r, 1 - r)
    )
    eye = torch.eye(length, dtype=DTYPE)
    # rows are examples, so what acts on an example from the left is transposed
    return torch.linalg.matrix_exp((plus + minus) / 2 * eye + (plus - minus) / 2 * walk).T


def bias() -> Iterator[Check]:
    """Check windows of two against the closed form: at every place, and far from the ends."""
    times = log_uniform(SCHEDULE, 200, HIGH, LOW)
    for r in (0.5, 0.9):
        measured, exact = response(pairs(6, r), 6, times), of_pairs(6, r, times)
        worst = float((measured.T @ measured - exact.T @ exact).abs().max() * float(SCHEDULE(times[0])[1]) ** 2)
        yield below(f"W1 windows of 2 on 6 places, r = {r}: covariance - closed form", worst, 1e-5)
    r, length = 0.9, 24
    z = torch.tensor(math.atanh(r), dtype=DTYPE)
    (alpha_0, _), (_, sigma_T) = (SCHEDULE(times[i]) for i in (-1, 0))
    unit_response = response(pairs(length, r), length, times) * float(sigma_T / alpha_0)
    k = unit_response.T @ unit_response
    middle = length // 2
    variance = math.sqrt(1 - r**2) * float(torch.special.i0(z))
    neighbours = float(torch.special.i1(z) / torch.special.i0(z))
    yield close(f"W1 windows of 2, r = {r}: variance", float(k[middle, middle]), variance, 1e-4, "the truth is 1")
    value = float(k[middle, middle + 1] / (k[middle, middle] * k[middle + 1, middle + 1]).sqrt())
    yield close(f"W1 windows of 2, r = {r}: correlation of neighbours", value, neighbours, 1e-4, f"the truth is {r}")


def mean() -> Iterator[Check]:
    """Check that the mean is exact, since that of each window is and weights sum to one."""
    times = log_uniform(SCHEDULE, 50, HIGH, LOW)
    alpha_T, alpha_0 = (float(SCHEDULE(times[i])[0]) for i in (0, -1))
    x_T = torch.full((1, 24), alpha_T * 2.0, dtype=DTYPE)
    x_0 = sample(pairs(24, 0.9, 2.0), SCHEDULE, DPMSolver3M(), x_T, times)
    yield below("W2 windows of 2, r = 0.9: mean - truth", float((x_0 - alpha_0 * 2.0).abs().max()), 1e-12)


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {"W1 bias": bias, "W2 mean": mean}
