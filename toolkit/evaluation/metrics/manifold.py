"""Is each example near real ones, and each real one near examples? Balls around points, as far as the k-th neighbour.

Everything takes distances, so that they are computed once: real to real (m, m), made to made (n, n), made to real
(n, m), all of the same features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances between the rows of x (n, d) and y (m, d): (n, m) float64."""
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def radii(within: Tensor, k: int) -> Tensor:
    """From each point to its k-th nearest other: (n,), from distances within a set (n, n). Raises ValueError."""
    if not 1 <= k < len(within):
        raise ValueError(f"a {k}-th neighbour needs more than {k} points, got {len(within)}")
    others = within.clone().fill_diagonal_(torch.inf)  # a twin at distance 0 is a neighbour, the point itself is not
    return others.kthvalue(k, dim=1).values


def precision(within_real: Tensor, across: Tensor, k: int = 3) -> Tensor:
    """Which made examples lie in the ball of a real one: (n,) bool. Its mean is the improved precision.

    Kynkaanniemi et al. (2019), eq. 1 and 2. across: (n, m), made to real.
    """
    return (across <= radii(within_real, k)).any(1)


def recall(within_made: Tensor, across: Tensor, k: int = 3) -> Tensor:
    """Which real examples lie in the ball of a made one: (m,) bool. Its mean is the improved recall (ibid.)."""
    return (across <= radii(within_made, k)[:, None]).any(0)


def density(within_real: Tensor, across: Tensor, k: int = 5) -> Tensor:
    """In how many real balls each made example lies, divided by k: (n,) float64, with mean 1 for a set and itself.

    Naeem et al. (2020), eq. 5: unlike precision, one odd real example does not count for much.
    """
    return (across < radii(within_real, k)).double().sum(1) / k


def coverage(within_real: Tensor, across: Tensor, k: int = 5) -> Tensor:
    """Which real examples have a made one in their ball: (m,) bool (Naeem et al. 2020, eq. 6)."""
    return across.amin(0) < radii(within_real, k)
