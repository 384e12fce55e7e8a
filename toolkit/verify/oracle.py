"""Data whose posterior mean E[x | x_t] has a closed form, as denoisers, with their other exact results.

A sampler on one of these makes only its own errors.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.sampler import at
from toolkit.diffusion.schedule import Schedule, expand

DTYPE = torch.float64


class Oracle(Denoiser):
    """An exact denoiser, without parameters. Final classes define `forward`."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        """Return |x - x_hat|^2 averaged over an example, (B,): in expectation the least that any network can have."""
        alpha, sigma = self.schedule(t)
        x_t = expand(alpha, x) * x + expand(sigma, x) * eps
        return (x - self(x_t, t)).square().flatten(1).mean(1)


class GaussianDenoiser(Oracle):
    """Data N(mean, std^2 I), of any shape: x_hat = mean + alpha std^2 / V_t (x_t - alpha mean).

    V_t = alpha^2 std^2 + sigma^2 is the variance of x_t.
    """

    def __init__(self, schedule: Schedule, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(schedule)
        self.mean = mean
        self.std = std

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return self.mean + expand(gain, x_t) * (x_t - expand(alpha, x_t) * self.mean)

    def variance(self, t: float) -> float:
        """Return V_t, the variance of each number in x_t."""
        p = at(self.schedule, t)
        return (p.alpha * self.std) ** 2 + p.sigma**2

    def transport(self, x_t: Tensor, t: float, s: float) -> Tensor:
        """Return x_s by the probability-flow ODE: alpha_s mean + sqrt(V_s / V_t) (x_t - alpha_t mean)."""
        p, q = at(self.schedule, t), at(self.schedule, s)
        return q.alpha * self.mean + math.sqrt(self.variance(s) / self.variance(t)) * (x_t - p.alpha * self.mean)

    def reverse_gain(self, t: float, s: float) -> float:
        """Return d E[x_s | x_t] / d x_t under the exact reverse process, s < t: alpha_t V_s / (alpha_s V_t)."""
        p, q = at(self.schedule, t), at(self.schedule, s)
        return p.alpha / q.alpha * self.variance(s) / self.variance(t)

    def ddim_gain(self, t: float, s: float) -> float:
        """Return a DDIM step's factor of x_t - alpha_t mean: (alpha_s alpha_t std^2 + sigma_s sigma_t) / V_t."""
        p, q = at(self.schedule, t), at(self.schedule, s)
        return (q.alpha * p.alpha * self.std**2 + q.sigma * p.sigma) / self.variance(t)

    def ancestral_variance(self, times: Tensor, variance: str) -> float:
        """Return the variance at the end of `times` by DDPM's recursion V <- (c1 alpha_t s^2 / V_t + c2)^2 V + added.

        From Ho et al. (2020), eq. 6-7, without the sampler's own code. `variance`: beta or beta-tilde.
        """
        grid = times.tolist()
        v = self.variance(grid[0])
        for t, s in itertools.pairwise(grid):
            p, q = at(self.schedule, t), at(self.schedule, s)
            signal = (p.alpha / q.alpha) ** 2  # the alpha_t of the paper; abar is alpha^2 here
            beta = p.sigma**2 - signal * q.sigma**2
            c1 = q.alpha * beta / p.sigma**2
            c2 = math.sqrt(signal) * q.sigma**2 / p.sigma**2
            added = beta if variance == "beta" else beta * q.sigma**2 / p.sigma**2
            v = (c1 * p.alpha * self.std**2 / self.variance(t) + c2) ** 2 * v + (added if q.sigma > 0 else 0.0)
        return v


class SpectrumDenoiser(Oracle):
    """Zero-mean Gaussian data with independent modes of variances `eigenvalues`, (K,): x is (B, K)."""

    def __init__(self, schedule: Schedule, eigenvalues: Tensor) -> None:
        super().__init__(schedule)
        self.eigenvalues = eigenvalues.to(DTYPE)

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (c.reshape(-1, 1) for c in self.schedule(t))
        return (alpha * self.eigenvalues / (alpha**2 * self.eigenvalues + sigma**2)).to(x_t) * x_t

    def ddim_variance(self, times: Tensor) -> Tensor:
        """Return the variance at the end when DDIM starts from N(0, sigma_T^2), (K,): the product of its gains."""
        alpha, sigma = (c[:, None] for c in self.schedule(times))
        marginal = alpha**2 * self.eigenvalues + sigma**2
        gains = (alpha[1:] * alpha[:-1] * self.eigenvalues + sigma[1:] * sigma[:-1]) / marginal[:-1]
        return sigma[0] ** 2 * gains.prod(0) ** 2

    def ancestral_variance(self, times: Tensor) -> Tensor:
        """Return that of DDPM with beta-tilde: the recursion of `GaussianDenoiser.ancestral_variance` for each mode."""
        alpha, sigma = self.schedule(times)
        v = (sigma[0] ** 2).expand(len(self.eigenvalues))
        for a, g, b, h in zip(alpha[:-1], sigma[:-1], alpha[1:], sigma[1:], strict=True):
            beta = g**2 - (a / b) ** 2 * h**2
            gain = b * beta / g**2 * a * self.eigenvalues / (a**2 * self.eigenvalues + g**2) + a / b * h**2 / g**2
            v = gain**2 * v + beta * h**2 / g**2
        return v


class MixtureDenoiser(Oracle):
    """Data sum_k weights_k N(means_k, stds_k^2 I) in D dimensions: weights (K,), means (K, D) or (K,), stds (K,)."""

    def __init__(self, schedule: Schedule, weights: Tensor, means: Tensor, stds: Tensor) -> None:
        super().__init__(schedule)
        self.log_weights = torch.log(weights.to(DTYPE) / weights.to(DTYPE).sum())
        self.means = means.to(DTYPE).reshape(len(weights), -1)
        self.stds = stds.to(DTYPE)

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (c.expand(len(x_t)).reshape(-1, 1) for c in self.schedule(t))
        flat = x_t.flatten(1).to(DTYPE)[:, None]  # (B, 1, D)
        v = alpha**2 * self.stds**2 + sigma**2  # (B, K)
        away = flat - alpha[..., None] * self.means
        share = torch.softmax(self._log_parts(away, v), 1)
        inside = self.means + (alpha * self.stds**2 / v)[..., None] * away
        return (share[..., None] * inside).sum(1).reshape(x_t.shape).to(x_t)

    def log_density(self, x_t: Tensor, t: float) -> Tensor:
        """Return log p_t(x_t): (B,)."""
        p = at(self.schedule, t)
        v = (p.alpha * self.stds) ** 2 + p.sigma**2
        away = x_t.flatten(1).to(DTYPE)[:, None] - p.alpha * self.means
        return torch.logsumexp(self._log_parts(away, v), 1)

    def transport(self, x_t: Tensor, t: float, s: float) -> Tensor:
        """Return x_s (B, 1) by the probability-flow ODE, in one dimension by quantiles: F_s(x_s) = F_t(x_t)."""
        if self.means.shape[1] != 1:
            raise ValueError("quantiles give the flow in one dimension only")
        level = self._distribution(x_t, t)
        q = at(self.schedule, s)
        reach = 10 * (q.alpha * float(self.stds.max()) + q.sigma)
        low = torch.full_like(x_t, q.alpha * float(self.means.min()) - reach)
        high = torch.full_like(x_t, q.alpha * float(self.means.max()) + reach)
        for _ in range(80):
            middle = (low + high) / 2
            under = self._distribution(middle, s) < level
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return (low + high) / 2

    def _log_parts(self, away: Tensor, v: Tensor) -> Tensor:
        """Return log(weight_k N_k) at offsets (B, K, D) with variances (B, K) or (K,): (B, K)."""
        return self.log_weights - away.square().sum(-1) / (2 * v) - away.shape[-1] / 2 * torch.log(2 * math.pi * v)

    def _distribution(self, x: Tensor, t: float) -> Tensor:
        p = at(self.schedule, t)
        deviation = torch.sqrt((p.alpha * self.stds) ** 2 + p.sigma**2)
        z = (x - p.alpha * self.means[:, 0]) / deviation
        return (self.log_weights.exp() * torch.special.ndtr(z)).sum(1, keepdim=True)


class EmpiricalDenoiser(Oracle):
    """The data set itself as the distribution: x_hat = softmax(-|x_t - alpha y_i|^2 / (2 sigma^2)) . y, y (N, *).

    Its loss is the least that any network can have on these examples.
    """

    def __init__(self, schedule: Schedule, data: Tensor) -> None:
        super().__init__(schedule)
        self.data = data

    def weights(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the posterior over examples: (B, N)."""
        alpha, sigma = (c.expand(len(x_t)).reshape(-1, 1) for c in self.schedule(t))
        flat, data = x_t.flatten(1).to(DTYPE), self.data.flatten(1).to(DTYPE)
        distance = (flat[:, None] - alpha[..., None] * data).square().sum(-1)
        # the nearest has distance 0 exactly, so that sigma = 0 gives it all the weight
        distance = distance - distance.min(1, keepdim=True).values
        return torch.softmax(-distance / (2 * sigma**2).clamp(min=1e-300), 1)

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        mixed = self.weights(x_t, t) @ self.data.flatten(1).to(DTYPE)
        return mixed.reshape(x_t.shape).to(x_t)


class TokenChain(Oracle):
    """Texts of `length` tokens, a stationary Markov chain, as rows of a fixed table of norm sqrt(dims): x (B, L, dims).

    Token i is followed by i + 1 with probability `stay`, by each other token with equal probabilities. x = scale
    E[token], where `scales` (B, L, 1) give each token its own noise level. The posterior is exact: forward and backward
    sums in float64, normalised at each place (Baum et al. 1970; Rabiner 1989, section V.A).
    """

    def __init__(self, schedule: Schedule, scales: Tensor, tokens: int = 6, dims: int = 16, stay: float = 0.8) -> None:
        super().__init__(schedule)
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(tokens, dims, generator=generator, dtype=DTYPE)
        self.table = table / table.norm(dim=1, keepdim=True) * math.sqrt(dims)
        self.scales = scales.to(DTYPE)
        following = torch.full((tokens, tokens), (1 - stay) / (tokens - 1), dtype=DTYPE)
        self.following = following + (stay - following[0, 0]) * torch.eye(tokens, dtype=DTYPE).roll(1, 1)

    def posterior(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the probability of each token at each place: (B, L, V)."""
        alpha, sigma = self.schedule(t)
        logits = x_t.to(DTYPE) @ self.table.T * (alpha * self.scales / sigma**2)
        likelihood = (logits - logits.amax(-1, keepdim=True)).exp()  # rows of the table have equal norms
        first, *others = likelihood.unbind(1)
        before = [_normal(first)]
        for here in others:
            before.append(_normal(before[-1] @ self.following * here))
        behind = [torch.ones_like(first)]
        for here in reversed(others):
            behind.append(_normal(behind[-1] * here @ self.following.T))
        return _normal(torch.stack(before, 1) * torch.stack(behind[::-1], 1))

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        return (self.posterior(x_t, t) @ self.table * self.scales).to(x_t)

    def nearest_tokens(self, x: Tensor) -> Tensor:
        """Return the nearest tokens: (B, L) int64."""
        return (x.to(DTYPE) / self.scales @ self.table.T).argmax(-1)


def _normal(p: Tensor) -> Tensor:
    return p / p.sum(-1, keepdim=True)
