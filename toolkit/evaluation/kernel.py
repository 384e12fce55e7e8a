"""The kernel distance between two sets of features: for sets too small for a Frechet distance."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 100.0
"""The distance is small, so it is printed times this, as in Chung et al. (2025)."""


def kernel_distance(x: Tensor, reference: Tensor, bandwidth: float | None = None) -> float:
    """SCALE * unbiased MMD^2 with the kernel exp(-|a - b|^2 / (2 bandwidth^2)) (Gretton et al. 2012, eq. 3).

    With the bandwidth at `median_distance(reference)`, the default, this is the kernel audio distance (Chung et al.
    2025); with a cubic kernel it would be KID (Binkowski et al. 2018).

    x, reference: features (n, d) and (m, d), n and m > 1. Computed in float64. Its expectation does not depend on n,
    and is 0 for two sets of one distribution, so it can be negative.
    Raises ValueError when the widths differ, a set has fewer than two rows, or the bandwidth is not positive.
    """
    if x.ndim != 2 or reference.ndim != 2 or x.shape[1] != reference.shape[1] or min(len(x), len(reference)) < 2:
        raise ValueError(f"two sets of at least two features of equal width expected, got {x.shape}, {reference.shape}")
    width = median_distance(reference) if bandwidth is None else bandwidth
    if not width > 0:
        raise ValueError(f"a kernel needs a positive bandwidth, not {width}: more than half of the features are equal")
    x, y = x.double(), reference.double()
    within_x = _kernel(x, x, width).fill_diagonal_(0).sum() / (len(x) * (len(x) - 1))
    within_y = _kernel(y, y, width).fill_diagonal_(0).sum() / (len(y) * (len(y) - 1))
    return SCALE * float(within_x + within_y - 2 * _kernel(x, y, width).mean())


def median_distance(x: Tensor) -> float:
    """The median of the Euclidean distances between the rows of x (n, d), n > 1."""
    return float(torch.pdist(x.double()).median())


def _kernel(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    # distances from differences, not from |x|^2 + |y|^2 - 2 x y, which loses the small ones
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.square_().mul_(-0.5 / bandwidth**2).exp_()
