"""Precision, recall, density and coverage of samples: by balls around points that reach to the k-th neighbour.

All take distances, so that these are computed once: real to real (m, m), sample to sample (n, n), sample to real
(n, m), all of the same features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the Euclidean distances between the rows of x (n, d) and y (m, d): (n, m) float64."""
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def radii(within: Tensor, k: int) -> Tensor:
    """Return each point's distance to its k-th nearest other, (n,), from distances within (n, n). Raises ValueError."""
    if not 1 <= k < len(within):
        raise ValueError(f"a {k}-th neighbour needs more than {k} points, got {len(within)}")
    others = within.clone().fill_diagonal_(torch.inf)  # a twin at distance 0 is a neighbour, the point itself is not
    return others.kthvalue(k, dim=1).values


def precision(within_real: Tensor, across: Tensor, k: int = 3) -> Tensor:
    """Return which samples lie in the ball of a real example: (n,) bool. Its mean is the improved precision.

    Kynkaanniemi et al. (2019), eq. 1 and 2. across: (n, m), sample to real.
    """
    return (across <= radii(within_real, k)).any(1)


def recall(within_samples: Tensor, across: Tensor, k: int = 3) -> Tensor:
    """Return which real examples lie in the ball of a sample: (m,) bool. Its mean is the improved recall (ibid.)."""
    return (across <= radii(within_samples, k)[:, None]).any(0)


def density(within_real: Tensor, across: Tensor, k: int = 5) -> Tensor:
    """Return the number of real balls that each sample lies in, over k: (n,) float64, of mean 1 for a set and itself.

    Naeem et al. (2020), eq. 5: unlike precision, one odd real example does not count for much.
    """
    return (across < radii(within_real, k)).double().sum(1) / k


def coverage(within_real: Tensor, across: Tensor, k: int = 5) -> Tensor:
    """Return which real examples have a sample in their ball: (m,) bool (Naeem et al. 2020, eq. 6)."""
    return across.amin(0) < radii(within_real, k)
