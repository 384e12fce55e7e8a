"""The Frechet distance between two sets of features, at their size and extrapolated to infinitely many."""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.diffusion.randomness import seeded_generator


def frechet(a: Tensor, b: Tensor) -> float:
    """Return |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) of normal fits (Heusel et al. 2017, eq. 6).

    a, b: features (n, d), n > 1. Computed in float64 with symmetric eigenvalues, which a matrix square root of the
    unsymmetric product is not safe for. The estimate falls with n: compare only equal n, beside a real-vs-real floor.
    Raises ValueError when the widths differ or a set has fewer than two rows.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"two sets of at least two features of equal width expected, got {a.shape} and {b.shape}")
    return of_moments(moments(a), moments(b))


def of_moments(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Return the distance of two normal distributions, each a mean (d,) and a covariance (d, d), float64."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (d,) and the unbiased covariance (d, d) of features (n, d), float64."""
    x = features.double()
    return x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def frechet_infinity(a: Tensor, b: Tensor, points: int = 8, draws: int = 4, most: float = 3.0, seed: int = 0) -> float:
    """Return the distance for infinitely many examples: the intercept of a line through distances of random parts.

    The bias of the estimate is linear in 1/n to first order (Chong and Forsyth 2020, sec. 3). There the reference is
    fixed; here the same share 1/s of both sets is used, s evenly from 1 to `most`, so that the bias of both goes.
    At each s > 1 the mean of `draws` draws counts. For two sets of one distribution the result is near 0, either way.
    Raises ValueError as `frechet`, or when the smallest part has fewer rows than features + 1.
    """
    if min(len(a), len(b)) / most < a.shape[1] + 1:
        raise ValueError(f"more than {most:g} times as many rows as features expected, got {a.shape} and {b.shape}")
    scales = torch.linspace(1, most, points, dtype=torch.float64)
    distances = torch.zeros_like(scales)
    for i, scale in enumerate(scales.tolist()):
        times = draws if i else 1
        for draw in range(times):
            random = seeded_generator(seed, "frechet", i, draw)
            x, y = (rows[torch.randperm(len(rows), generator=random)[: round(len(rows) / scale)]] for rows in (a, b))
            distances[i] += frechet(x, y) / times
    slope = ((scales - scales.mean()) * (distances - distances.mean())).sum() / (scales - scales.mean()).square().sum()
    return float(distances.mean() - slope * scales.mean())
