"""Bits per character: the variational bound of a text under a trained model."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modalities.text.network.denoiser import TokenDenoiser
from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.vlb import Continuous, Terms, bound, with_second_pass

LOOKS = 2**18
"""Tokens denoised over all texts and noise levels: the fewer and shorter the texts, the more levels for each."""


class Bits(NamedTuple):
    """A bound in bits per character, its terms, and its standard error over texts."""

    total: float
    prior: float
    diffusion: float
    reconstruction: float
    error: float
    texts: int
    nats_per_token: float
    lengths: float = 0.0
    """Cost of the texts' lengths, where a decoder is not given them."""


def num_draws(tokens: Tensor) -> int:
    """Return the number of noise levels for each text of tokens (N, L), 8 to 512."""
    return min(512, max(8, round(LOOKS / max(1, int((tokens != 0).sum())))))


@torch.no_grad()
def terms(
    denoiser: TokenDenoiser,
    levels: Continuous,
    tokens: Tensor,
    cond: Cond,
    seed: int,
    positions: range,
    draws: int,
) -> Terms:
    """Return the bound on -log P in nats for each row of tokens (B, L), 0 where there is padding; (B,) each.

    cond: as for the denoiser; of a text that is partly given, the bound is on the rest given that part.
    """
    cond = {**cond, "tokens": tokens[:, None]}
    x = denoiser.embed(tokens, cond)
    targets = denoiser.target_mask(tokens, cond)

    def reconstruct(x_t: Tensor, t: Tensor) -> Tensor:
        second = dict(cond)
        if denoiser.self_conditioning:
            second["estimate"] = denoiser(x_t, t, cond)
        nats = functional.cross_entropy(denoiser.logits(x_t, t, second).transpose(1, 2), tokens, reduction="none")
        return (nats * targets).double().sum(1)

    denoise, mask = with_second_pass(denoiser, cond), targets[:, None].expand_as(x)
    return bound(denoise, x, levels, reconstruct, seed, positions, draws, mask=mask)


def bits(
    denoiser: TokenDenoiser,
    times: TimeDistribution | None,
    ends: tuple[float, float],
    tokens: Tensor,
    characters: Tensor,
    cond: Cond,
    seed: int = 0,
    draws: int | None = None,
    batch: int = 64,
    lengths: Tensor | None = None,
) -> Bits:
    """Return the bound over texts, rows of tokens (N, L).

    ends: the lowest and the highest noise, sigma / alpha. times: distribution of the noise levels, at best the learned
    one. characters: number in each row, (N,); cond: conditions of all rows. draws: noise levels for each row; by
    default more where rows are few or short. lengths: nats that each row's length costs, (N,), where a decoder is not
    given it: the denoiser is, by the mask.
    """
    levels = Continuous(denoiser.schedule, *ends, times)
    draws = draws or num_draws(tokens)
    batches: list[Terms] = []
    for start in range(0, len(tokens), batch):
        rows = tokens[start : start + batch]
        part = {name: value[start : start + batch] for name, value in cond.items()}
        batches.append(terms(denoiser, levels, rows, part, seed, range(start, start + len(rows)), draws))
    sizes = characters.double()
    whole = float(sizes.sum())
    nats = {
        name: torch.cat([getattr(part, name) for part in batches]) for name in ("prior", "diffusion", "reconstruction")
    }
    if lengths is not None:
        nats["lengths"] = lengths.double()
    total = sum(nats.values(), torch.zeros(len(sizes), dtype=torch.float64))
    value = float(total.sum()) / whole
    # of a ratio of sums over texts
    error = float(((total - value * sizes) ** 2).sum().sqrt()) / whole
    shares = {name: float(part.sum()) / whole / math.log(2) for name, part in nats.items()}
    return Bits(
        value / math.log(2),
        shares["prior"],
        shares["diffusion"],
        shares["reconstruction"],
        error / math.log(2),
        len(sizes),
        float(total.sum()) / float(denoiser.target_mask(tokens, cond).sum()),
        shares.get("lengths", 0.0),
    )
