"""The least loss that a training set allows: that of the exact posterior mean, where it is affordable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Denoiser, RegressionDenoiser
from toolkit.diffusion.level_loss import empirical_errors
from toolkit.diffusion.loss import weighted
from toolkit.training.held_out import FixedNoise

MAX_PRODUCTS = 5 * 10**8
"""Multiplications for the floor, in float64: half a second of one core."""
MAX_FLOOR_EXAMPLES = 10_000
FLOOR_ROWS = (256, 128)
"""Examples of which the floor is taken, where that leaves `ENOUGH` to take it under."""
ENOUGH = 2_000


def least_losses(fixed: FixedNoise, denoiser: Denoiser) -> Tensor | None:
    """The least losses that any network can have, in the mean, on the examples of `fixed` and more: (m, draws) float64.

    They are those of the exact posterior mean under the data set (`empirical_errors`), of which the examples are a
    part, or under as much of it as is affordable. A network can have less on those few examples by chance, not in
    expectation; nor can it on held-out examples: the mean over data sets of the least loss on each is at most the least
    loss on what they are drawn from. None where they are not known: for a denoiser that is no regression, an objective
    that is not its own, examples of unequal length, or conditions besides a label.
    """
    if fixed.objective is not None or not isinstance(denoiser, RegressionDenoiser):
        return None
    if fixed.dataset.lengths is not None or not len(fixed):
        return None
    few, count = _affordable(len(fixed), len(fixed.dataset), fixed.draws * math.prod(fixed.modality.shape))
    if count < few:
        return None
    whole = FixedNoise(
        fixed.modality,
        fixed.dataset,
        count,
        fixed.draws,
        fixed.seed,
        fixed.purpose,
        fixed.time_distribution,
        fixed.weighting,
    )
    batches = list(whole.batches())
    if any(set(cond) - {"label"} for _, _, cond in batches):
        return None
    x = torch.cat([data for _, data, _ in batches])
    label = torch.cat([cond["label"] for _, _, cond in batches]) if "label" in batches[0][2] else None
    groups = None if label is None else (label[:few], label)
    u = fixed.quantiles(few)
    parts = []
    for draw in range(fixed.draws):
        t = fixed.time_distribution.time(u[:, draw], denoiser.schedule)
        eps = fixed.noise(list(range(few)), tuple(x.shape[1:]), draw)
        level = denoiser.schedule.log_snr(t).clamp(-40, 40)
        error = empirical_errors(x[:few], eps, level, x, groups)
        # in the network's own target, as its loss is
        c_out = denoiser.coefficients(t).c_out
        loss = torch.where(c_out == 0, 0.0, error / c_out.square().clamp(min=1e-30))
        parts.append(weighted(loss, denoiser, fixed.weighting, t))
    return torch.stack(parts, 1)


def _affordable(least: int, known: int, width: int) -> tuple[int, int]:
    """Return of how many examples to take the floor, and under how many, at `width` multiplications for a pair."""
    for few in (*FLOOR_ROWS, least):
        count = min(MAX_FLOOR_EXAMPLES, MAX_PRODUCTS // (2 * few * width), known)
        if few >= least and count >= min(known, ENOUGH) >= few:
            return few, count
    return least, count
