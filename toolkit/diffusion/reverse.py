r"""Single steps of the reverse SDE with any amount of noise, for the samplers of `sde.py`.

For every tau(lambda) >= 0, y = x / sigma with lambda = log(alpha / sigma) has the data's distribution if it follows

    dy = (-tau^2 y + (1 + tau^2) e^lambda x_hat) d lambda + sqrt(2) tau dW

(Xue et al. 2023, SA-Solver, eq. 6 and 12; Cui et al. 2023, ER-SDE-Solver, eq. 11): tau = 0 is the probability flow,
tau = 1 the reverse SDE. It is linear but for x_hat, so with x_hat as a polynomial the step to s is exact:

    x_s = sigma_s / sigma_t k x_t + alpha_s \int x_hat(lambda) dw(lambda) + sigma_s sqrt(1 - k^2) z,

where k = exp(-int tau^2) is the factor of y, and w(lambda) rises to 1 at lambda_s from the factor of x_t / alpha_t
in x_s / alpha_s. An extrapolated x_hat contains noise of earlier steps, so mean and variance have order 2 at best.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from toolkit.diffusion.sampler import Noise, Point, regular

Node = tuple[Point, Tensor]
"""A point, and x_hat (B, *) there."""


class Noisiness(ABC):
    """tau^2 as a function of lambda. Abstract or final."""

    @abstractmethod
    def squared(self, lam: Tensor) -> Tensor:
        """Return tau^2 at lambda: the shape of `lam`."""

    @abstractmethod
    def exponent(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the integral of tau^2 from lambda `before` to `after`."""


@dataclass(frozen=True)
class Constant(Noisiness):
    """Constant tau^2."""

    value: float

    def squared(self, lam: Tensor) -> Tensor:
        return torch.full_like(lam, self.value)

    def exponent(self, before: Tensor, after: Tensor) -> Tensor:
        return self.value * (after - before)


@dataclass(frozen=True)
class Extended(Noisiness):
    """ER-SDE-5, phi(x) = x (exp(x^0.3) + 10) (Cui et al. 2023, table 1): tau is large at high noise, then small.

    The paper's x is sigma for pictures in [-1, 1], of deviation about 0.5; `unit` times our sigma / alpha.
    phi is x exp(int tau^2), so tau^2 = d log(exp(x^0.3) + 10) / d log x.
    """

    unit: float = 0.5

    def squared(self, lam: Tensor) -> Tensor:
        root = self._root(lam)
        return 0.3 * root * torch.sigmoid(root - math.log(10))

    def exponent(self, before: Tensor, after: Tensor) -> Tensor:
        ten = torch.tensor(math.log(10), dtype=torch.float64)
        return torch.logaddexp(self._root(before), ten) - torch.logaddexp(self._root(after), ten)

    def _root(self, lam: Tensor) -> Tensor:
        return torch.exp(0.3 * (math.log(self.unit) - lam))


def decay(p: Point, q: Point, tau: Noisiness) -> float:
    """Return k = exp(-int tau^2) from p to q, the factor of x / sigma; 0 over an infinite distance with noise."""
    if regular(p, q):
        lam = torch.tensor([p.lam, q.lam], dtype=torch.float64)
        return float(torch.exp(-tau.exponent(lam[0], lam[1])))
    return 1.0 if isinstance(tau, Constant) and tau.value == 0 else 0.0


def noise_term(p: Point, q: Point, tau: Noisiness, like: Tensor, noise: Noise) -> Tensor | None:
    """Draw sigma_s sqrt(1 - k^2) z in the dtype of `like`; return None, without a draw, where that is 0."""
    deviation = q.sigma * math.sqrt(1 - decay(p, q, tau) ** 2)
    return deviation * noise().to(like) if deviation > 0 else None


def step_to(p: Point, q: Point, tau: Noisiness, x_t: Tensor, nodes: Sequence[Node], variable: str = "lambda") -> Tensor:
    """Return the mean of x_s given x_t at p; x_hat is the polynomial in `variable` through `nodes`, p one of them.

    `variable`: "lambda", or "ratio" = sigma / alpha.
    """
    x_hat = next(value for node, value in nodes if node.lam == p.lam)
    ratio = decay(p, q, tau) * q.sigma / p.sigma
    x_s = ratio * x_t + (q.alpha - ratio * p.alpha) * x_hat
    if len(nodes) > 1:
        points = tuple(node for node, _ in nodes)
        for weight, (node, value) in zip(_weights(p, q, tau, points, variable), nodes, strict=True):
            if node.lam != p.lam:
                x_s = x_s + q.alpha * weight * (value - x_hat)
    return x_s


@lru_cache(maxsize=4096)  # many trajectories take the same steps
def _weights(p: Point, q: Point, tau: Noisiness, nodes: tuple[Point, ...], variable: str) -> list[float]:
    """Integrate the Lagrange polynomials of the nodes over w: dw = (1 + tau^2) e^(lambda - lambda_s) k dlambda."""
    place, share = gauss_legendre(24)
    end = torch.tensor(q.lam, dtype=torch.float64)
    lam = p.lam + (q.lam - p.lam) * place
    density = (1 + tau.squared(lam)) * torch.exp(lam - end - tau.exponent(lam, end))
    measure = (q.lam - p.lam) * share * density
    here = lam if variable == "lambda" else torch.exp(-lam)
    places = [node.lam if variable == "lambda" else node.ratio for node in nodes]
    weights = []
    for j, node in enumerate(places):
        basis = measure
        for i, other in enumerate(places):
            if i != j:
                basis = basis * ((here - other) / (node - other))
        weights.append(float(basis.sum()))
    return weights


@cache
def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [0, 1] from the eigenvectors of the Jacobi matrix (Golub and Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    side = k / torch.sqrt(4 * k**2 - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return (nodes + 1) / 2, vectors[0] ** 2
