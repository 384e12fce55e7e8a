"""Power of a sound in bands, beside that of the noise: features of it, and the filter that follows from it."""

from __future__ import annotations

import torch
from torch import Tensor

POWERS = 4.0
"""Nepers of power in one unit of the head's output; silence is some 10 nepers below the mean."""
MAX_DEVIATIONS = 20.0
"""Largest distance of an expected power from the mean, in nepers."""


def wiener(log_power: Tensor, c_noise: Tensor) -> Tensor:
    """Return the gain on the input of a network that predicts `edm`, to filter cells of known power (Wiener 1949).

    For x of variance v = exp(log_power), E[x | x_t] = alpha v x_t / (alpha^2 v + sigma^2). In EDM's coefficients with
    sigma_data = 1 that is c_skip x_t + c_out g (c_in x_t) with g = r (v - 1) / (1 + r^2 v), r = alpha / sigma.
    log_power: (B, *); c_noise = -log(r) / 4: (B,).
    """
    r = torch.exp(-4 * c_noise).reshape(-1, *[1] * (log_power.ndim - 1))
    v = log_power.exp()
    return r * (v - 1) / (1 + r * r * v)


def gain(output: Tensor, c_noise: Tensor, expected: Tensor | float = 0.0) -> Tensor:
    """Return the gains of the powers that a head puts out, relative to `expected` nepers: (B, *) -> (B, *)."""
    return wiener((POWERS * output + expected).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS), c_noise.float())


def noise_share(c_noise: Tensor, dims: int) -> Tensor:
    """Return the noise's share of the variance of c_in x_t, where sigma_data = 1: (B,) -> (B, 1, ...), `dims` axes."""
    return torch.sigmoid(8 * c_noise.float()).reshape(-1, *[1] * (dims - 1))


def level(ratio: Tensor) -> Tensor:
    """Return a power over the noise's, any shape, as a feature: in nepers of magnitude, down to -1.15."""
    return torch.log(ratio + 0.1) / 2


def features(cells: Tensor, c_noise: Tensor) -> Tensor:
    """Return cells (B, 2 C, T, F) with their phase and their power over the noise's: (B, 5 C, T, F)."""
    noise = noise_share(c_noise, 4)
    pairs = cells.unflatten(1, (-1, 2))
    power = pairs.square().sum(2)
    phase = pairs * torch.rsqrt(power + noise).unsqueeze(2)
    return torch.cat([cells, phase.flatten(1, 2), level(power / noise)], 1)
