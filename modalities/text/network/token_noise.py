"""Noise levels that differ from token to token, so that some are clear while others are still noise.

The diffused variable is scale E[token]; one shared sigma then acts as sigma / scale on each token (independent levels:
Chen et al. 2024, "Diffusion Forcing"). Schedule, sampler and bound need no change: the scales are a condition, and part
of x.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toolkit.diffusion.randomness import normal


def spread_out(order: Tensor, spread: float, length: Tensor | None = None) -> Tensor:
    """Return scales (B, 1, L): exp of equidistant numbers between -spread and spread, ranked as `order` (B, L).

    So each example has all levels, and random numbers as `order` give them to tokens by chance. `length`: (B,) int64,
    real tokens of each example; those behind have scale 1.
    """
    size = torch.full((len(order), 1), order.shape[-1]) if length is None else length[:, None]
    real = torch.arange(order.shape[-1]) < size
    rank = order.masked_fill(~real, torch.inf).argsort(-1).argsort(-1)
    scale = (spread * ((2 * rank + 1) / size - 1)).exp().float()
    return torch.where(real, scale, 1.0)[:, None]


def scales(
    spread: float, length: int, seed: int, positions: Sequence[int], round: int = 0, real: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the condition `scale` of the examples at `positions`, of `length` tokens each; {} without a spread.

    `round`: another number draws other scales. `real`: as `length` of `spread_out`, where some are padded.
    """
    if not spread:
        return {}
    purpose = f"scale {round}" if round else "scale"
    return {"scale": spread_out(normal(seed, purpose, positions, (length,)), spread, real)}
