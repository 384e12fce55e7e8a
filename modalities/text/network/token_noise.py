"""Noise levels that differ from token to token, so that some are clear while others are still noise.

What a text is noised as is scale E[token], and noise of one sigma for all of it is then noise of sigma / scale for
each token by itself (independent levels: Chen et al. 2024, "Diffusion Forcing"). Schedule, sampler and bound need not
know: the scales are told, so they are part of what x is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toolkit.diffusion.randomness import normal


def spread_out(order: Tensor, spread: float, length: Tensor | None = None) -> Tensor:
    """Scales (B, 1, L): exp of equidistant numbers between -spread and spread, in the order of numbers (B, L).

    So each example has all levels, and which token has which is by chance. `length`: (B,) int64, tokens of each that
    are real; those behind have no level, and scale 1.
    """
    size = torch.full((len(order), 1), order.shape[-1]) if length is None else length[:, None]
    real = torch.arange(order.shape[-1]) < size
    rank = order.masked_fill(~real, torch.inf).argsort(-1).argsort(-1)
    scale = (spread * ((2 * rank + 1) / size - 1)).exp().float()
    return torch.where(real, scale, 1.0)[:, None]


def scales(
    spread: float, length: int, seed: int, positions: Sequence[int], round: int = 0, real: Tensor | None = None
) -> dict[str, Tensor]:
    """The condition `scale` of the examples numbered `positions`, each of so many tokens; none without a spread.

    `round`: another number draws them anew. `real`: as `length` of `spread_out`, where some are padded.
    """
    if not spread:
        return {}
    purpose = f"scale {round}" if round else "scale"
    return {"scale": spread_out(normal(seed, purpose, positions, (length,)), spread, real)}
