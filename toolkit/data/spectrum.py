"""Variance that is common to a whole example: the largest eigenvalue of the covariance of the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toolkit.diffusion.randomness import seeded_generator
from toolkit.modality import Modality

MAX_EXAMPLES = 2048
"""Most examples that are measured."""
NUMBERS = 1 << 26
"""Most numbers in all of them together."""
FEWEST = 8
"""Fewest examples that are measured, however large they are."""
_AT_ONCE = 1 << 22


def spread(modality: Modality) -> float | None:
    """Return the largest eigenvalue of the covariance of an encoded training example, in variances of one number.

    1 where all numbers are independent, their count where all are equal: the brightness of flat pictures. Examples are
    as the network sees them: zero beyond their end. None for tokens, and for fewer than four examples.
    The data must be open. The examples are the same every time, at most MAX_EXAMPLES.
    """
    data, size = modality.dataset("train"), math.prod(modality.shape)
    if len(data) < 4:
        return None
    count = min(len(data), max(FEWEST, min(MAX_EXAMPLES, NUMBERS // size)))
    indices = torch.randperm(len(data), generator=seeded_generator(0, "spread"))[:count]
    rows = torch.zeros(count, size)
    for places in torch.arange(count).split(max(1, _AT_ONCE // size)):
        x = modality.encode(data.take(indices[places]).raw)
        if not x.is_floating_point():
            return None
        whole = x.new_zeros(len(x), *modality.shape)
        length = min(x.shape[-1], whole.shape[-1])
        whole[..., :length] = x[..., :length]
        rows[places] = whole.flatten(1).float().cpu()
    value = largest(rows)
    return value if math.isfinite(value) and value > 0 else None


def largest(rows: Tensor) -> float:
    """Return the largest eigenvalue of the covariance of `rows` (n, d), n >= 4, not biased up where n is below d.

    That of a sample covariance is about (1 + sqrt(d / n))^2 where the truth is 1 (Marchenko and Pastur 1967), as a
    direction is fitted to chance. Here the direction comes from one half of the rows and the variance from the
    other, both ways; that is the variance along some direction, so at most the largest in expectation. nan where a row
    holds one.
    """
    rows = rows - rows.mean(0)
    # all inner products: n is small beside d, and the rows vary only within their span
    gram = (rows @ rows.T).double()
    if not bool(gram.isfinite().all()):
        return math.nan
    half = len(rows) // 2
    first, second = slice(0, half), slice(half, len(rows))
    return (_across(gram, first, second) + _across(gram, second, first)) / 2


def _across(gram: Tensor, fit: slice, other: slice) -> float:
    """Return the variance of the rows `other` along the leading direction of the rows `fit`."""
    inner = gram[fit, fit]
    inner = inner - inner.mean(0) - inner.mean(1, keepdim=True) + inner.mean()
    values, vectors = torch.linalg.eigh(inner)
    if float(values[-1]) <= 0:
        return 0.0
    # the direction is sum_i a_i (row_i - mean) of length sqrt(value); weights that sum to 0 need no mean
    weights = vectors[:, -1] - vectors[:, -1].mean()
    along = gram[other, fit] @ weights / math.sqrt(float(values[-1]))
    return float(along.var())
