"""Kernel distances between two sets of features: for sets too small for a Frechet distance."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 100.0
"""The distance is small, so it is printed times this, as in Chung et al. (2025)."""


def kernel_distance(x: Tensor, reference: Tensor, bandwidth: float | None = None) -> float:
    """Return SCALE * unbiased MMD^2 with the kernel exp(-|a - b|^2 / (2 bandwidth^2)).

    With the bandwidth at `median_distance(reference)`, the default, this is the kernel audio distance, KAD (Chung et
    al. 2025).

    x, reference: features (n, d) and (m, d), n and m > 1. Computed in float64. Its expectation does not depend on n,
    and is 0 for two sets of one distribution, so it can be negative.
    Raises ValueError when the widths differ, a set has fewer than two rows, or the bandwidth is not positive.
    """
    _check(x, reference)
    width = median_distance(reference) if bandwidth is None else bandwidth
    if not width > 0:
        raise ValueError(f"a kernel needs a positive bandwidth, not {width}: more than half of the features are equal")
    return SCALE * mmd(gaussian(x, x, width), gaussian(reference, reference, width), gaussian(x, reference, width))


def kid(x: Tensor, reference: Tensor) -> float:
    """Return the kernel Inception distance: unbiased MMD^2, kernel (a b / d + 1)^3 (Binkowski et al. 2018, sec. 3).

    x, reference: features (n, d) and (m, d), n and m > 1. Computed in float64 and over all rows, which needs no
    choice of blocks. Unbiased, so for two sets of one distribution it is around 0. Raises ValueError.
    """
    _check(x, reference)
    return mmd(cubic(x, x), cubic(reference, reference), cubic(x, reference))


def mmd(within_x: Tensor, within_y: Tensor, across: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) from the kernel's values.

    within_x: (n, n), within_y: (m, m), across: (n, m), float64.
    """
    n, m = across.shape
    x = (within_x.sum() - within_x.diagonal().sum()) / (n * (n - 1))
    y = (within_y.sum() - within_y.diagonal().sum()) / (m * (m - 1))
    return float(x + y - 2 * across.mean())


def gaussian(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """Return exp(-|a - b|^2 / (2 bandwidth^2)) of all rows a of x (n, d) and b of y (m, d): (n, m) float64."""
    # distances from differences, not from |x|^2 + |y|^2 - 2 x y, which loses the small ones
    distance = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return distance.square_().mul_(-0.5 / bandwidth**2).exp_()


def cubic(x: Tensor, y: Tensor) -> Tensor:
    """Return (a b / d + 1)^3 of all rows a of x (n, d) and b of y (m, d): (n, m) float64."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def median_distance(x: Tensor) -> float:
    """Return the median of the Euclidean distances between the rows of x (n, d), n > 1."""
    return float(torch.pdist(x.double()).median())


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"two sets of at least two features of equal width expected, got {x.shape}, {y.shape}")
