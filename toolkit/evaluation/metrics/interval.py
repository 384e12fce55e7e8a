"""Uncertainty of metrics: intervals for shares and means, and standard errors of distances."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from toolkit.diffusion.randomness import seeded_generator


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share, `right` of n (Wilson 1927, eq. 2).

    Unlike a bootstrap it has a width when all or none are right. Raises ValueError.
    """
    if not 0 <= right <= n or n < 1 or not 0 < level < 1:
        raise ValueError(f"0 <= right <= n, n > 0 and 0 < level < 1 expected, got {right}, {n}, {level}")
    z, p = NormalDist().inv_cdf(0.5 + level / 2), right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # the ends of an all-or-nothing share are exact, whatever the rounding
    low = 0.0 if right == 0 else (middle - half) / scale
    return low, 1.0 if right == n else (middle + half) / scale


def bootstrap(
    values: Tensor,
    statistic: Callable[[Tensor], Tensor] = lambda rows: rows.mean(-1),
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic of independent values (Efron 1979).

    values: (n,). statistic: (draws, n) to (draws,), the mean by default. Computed in float64. Raises ValueError.
    """
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values (n,) expected, got {tuple(values.shape)}")
    rows = torch.randint(len(values), (draws, len(values)), generator=seeded_generator(seed, "bootstrap"))
    replicates = statistic(values.double()[rows])
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = replicates.quantile(ends).tolist()
    return low, high


def half_samples(statistic: Callable[[Tensor], float], x: Tensor, draws: int = 20, seed: int = 0) -> float:
    """Return the standard error of an unbiased statistic of x (n, ...), by random halves (Shao and Wu 1989, delete-d).

    The variance over halves drawn without replacement is that of the whole: s^2 (2/n - 1/n) = s^2/n for a mean. A
    bootstrap would not do for distances between sets: a row drawn twice is at distance 0 from itself.
    Raises ValueError when there are fewer than four rows.
    """
    n = len(x)
    if n < 4:
        raise ValueError(f"at least four rows expected, got {n}")
    replicates = []
    for draw in range(draws):
        order = torch.randperm(n, generator=seeded_generator(seed, "halves", draw))
        replicates.append(statistic(x[order[: n // 2]]))
    return float(torch.tensor(replicates, dtype=torch.float64).std())
