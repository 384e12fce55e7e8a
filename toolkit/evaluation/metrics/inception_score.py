"""Metrics of a judge's predictions: probabilities (n, K) of the labels, whose rows sum to 1. All in float64.

The mean is over examples and the entropy over labels. Published code has taken the entropy over examples instead
(`scipy.stats.entropy(p, q)` without `axis`), which does not punish collapse and can exceed K.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-12
"""Least probability inside a logarithm."""


def inception_score(p: Tensor) -> float:
    """Return exp of mean KL(p(y|x) || p(y)) (Salimans et al. 2016, sec. 4): 1 (all alike) to K. Raises ValueError."""
    p = _normalise(p)
    return float(((p * (_log(p) - _log(p.mean(0)))).sum(1)).mean().exp())


def modified_inception_score(p: Tensor) -> float:
    """Return exp of the mean KL(p(y|x_i) || p(y|x_j)) over all pairs i, j: 1 (all alike) and more; no bound.

    After Gurumurthy et al. (2017, sec. 5), who pair examples of one class; over all pairs, as for spoken digits
    since Kong et al. (2021). It grows with how sure the judge is. Raises ValueError.
    """
    p = _normalise(p)
    own = (p * _log(p)).sum(1).mean()
    return float((own - (p.mean(0) * _log(p).mean(0)).sum()).exp())


def am_score(p: Tensor, real: Tensor) -> float:
    """Return KL(real p(y) || p(y)) + the mean entropy of p(y|x), in nats; lower is better (Zhou et al. 2018, eq. 19).

    real: probabilities (m, K) of real examples. Raises ValueError.
    """
    p, target = _normalise(p), _normalise(real).mean(0)
    divergence = (target * (_log(target) - _log(p.mean(0)))).sum()
    return float(divergence - (p * _log(p)).sum(1).mean())


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=LEAST).log()


def _normalise(p: Tensor) -> Tensor:
    p = p.double()
    if p.ndim != 2 or not len(p) or not torch.allclose(p.sum(1), torch.ones(len(p), dtype=p.dtype), atol=1e-4):
        raise ValueError(f"probabilities (n, K) with rows that sum to 1 expected, got {tuple(p.shape)}")
    return p / p.sum(1, keepdim=True)
