"""Number of different bins: shares of samples and of real examples in a k-means partition of real features."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor

from toolkit.diffusion.randomness import seeded_generator


def k_means(x: Tensor, k: int, rounds: int = 50, seed: int = 0) -> Tensor:
    """Return centres (k, d) float64 of x (n, d): Lloyd's rounds from a k-means++ start (Arthur, Vassilvitskii 2007).

    A centre that loses all its points moves to the point that is farthest from its own. Raises ValueError.
    """
    if x.ndim != 2 or not 1 <= k <= len(x):
        raise ValueError(f"1 to {len(x)} bins of points (n, d) expected, got {k} of {tuple(x.shape)}")
    x = x.double()
    rng = seeded_generator(seed, "k-means")
    starts = [int(torch.randint(len(x), (), generator=rng))]
    nearest = (x - x[starts[0]]).square().sum(1)
    for _ in range(k - 1):
        weight = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        starts.append(int(torch.multinomial(weight, 1, generator=rng)))
        nearest = torch.minimum(nearest, (x - x[starts[-1]]).square().sum(1))
    centres = x[starts]
    before = torch.full((len(x),), -1)
    for _ in range(rounds):
        distance, which = _distances(x, centres).min(1)
        if torch.equal(which, before):
            break
        before = which
        count = torch.bincount(which, minlength=k)
        centres = torch.zeros_like(centres).index_add_(0, which, x) / count.clamp(min=1)[:, None]
        empty = (count == 0).nonzero()[:, 0]
        centres[empty] = x[distance.topk(len(empty)).indices]
    return centres


def histogram(x: Tensor, centres: Tensor) -> Tensor:
    """Return how many of x (n, d) are nearest to each of the centres (k, d): (k,) int64."""
    return torch.bincount(_distances(x.double(), centres).argmin(1), minlength=len(centres))


def different_bins(a: Tensor, b: Tensor, level: float = 0.05) -> float:
    """Return NDB / k, the share of bins that differ by a two-proportion z-test (Richardson and Weiss 2018, sec. 3.1).

    a, b: counts (k,). For two sets of one distribution it is about `level`. Raises ValueError.
    """
    share_a, share_b = _shares(a, b)
    n, m = float(a.sum()), float(b.sum())
    pooled = (a + b).double() / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
    z = (share_a - share_b).abs() / error.clamp(min=torch.finfo(torch.float64).tiny)
    return float((z > NormalDist().inv_cdf(1 - level / 2)).double().mean())


def jensen_shannon(a: Tensor, b: Tensor) -> float:
    """Return the Jensen-Shannon divergence of the shares of counts a, b (k,), in nats: 0 to ln 2. Raises ValueError."""
    p, q = _shares(a, b)
    middle = (p + q) / 2

    def kl(x: Tensor) -> Tensor:
        return torch.where(x > 0, x * (x / middle.clamp(min=1e-300)).log(), 0.0).sum()

    return float((kl(p) + kl(q)) / 2)


def _shares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim != 1 or min(int(a.sum()), int(b.sum())) < 1:
        raise ValueError(f"counts (k,) of two sets that are not empty expected, got {a} and {b}")
    return a.double() / a.sum(), b.double() / b.sum()


def _distances(x: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(x, centres)
