"""The start of a trajectory: x_T at the first level of its grid, as if it came from infinite noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toolkit.diffusion.sampler import Denoise, Noise, call
from toolkit.diffusion.schedule import Schedule


def bare(schedule: Schedule, t: float, noise: Noise) -> Tensor:
    """Draw sigma_t eps (B, *): noise without the part of the data that is in x_t."""
    _, sigma = schedule(torch.tensor(t, dtype=torch.float64))
    return float(sigma) * noise()


def marginal(denoise: Denoise, schedule: Schedule, t: float, noise: Noise) -> Tensor:
    """Draw x_t (B, *) of noisy data, approximately, with one call of the denoiser: sigma eps + alpha x_hat(sigma eps').

    For data N(m, C) and g = alpha^2 c / (alpha^2 c + sigma^2) along a mode of variance c, the exact mean is alpha m and
    the exact variance sigma^2 (1 + g + g^2 + g^3 + ...). With eps' of correlation 1/2 with eps the mean is
    alpha m (1 - g) and the variance sigma^2 (1 + g + g^2); noise alone has 0 and sigma^2. This needs no knowledge of
    the data, follows conditions, since they change x_hat, and eps' is noise like that the network was trained on.
    """
    alpha = float(schedule(torch.tensor(t, dtype=torch.float64))[0])
    x = bare(schedule, t, noise)
    if alpha == 0:
        return x
    other = bare(schedule, t, noise)
    return x + alpha * call(denoise, (x + math.sqrt(3) * other) / 2, t)
