"""Pictures that are there twice: equal pixel by pixel, or nearly so on both sides of the split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SIDE = 8
"""Side of a signature in pixels."""
FINE = 16
"""Side at which what is alike there is compared again."""
NEAR, NEAR_FINE = 0.01, 0.02
"""Largest squared distance of two signatures, and of the finer ones, as a share of their mean square."""
FLAT = 6.0
"""Deviation in levels below which a signature says too little."""
TESTED = 1_000
"""Most held-out pictures that are searched, spread evenly."""
_AT_ONCE = 8_192


class Near(NamedTuple):
    """Held-out pictures that have a likeness among the training pictures."""

    pairs: list[tuple[int, int]]
    """Held-out and training picture, by their numbers."""
    searched: int
    """Held-out pictures that were compared."""


def exact(pixels: np.ndarray) -> np.ndarray:
    """Return for each picture (N, C, H, W) the number of the first that equals it, (N,); its own where none does."""
    from hashlib import blake2b

    first: dict[bytes, int] = {}
    return np.array(
        [first.setdefault(blake2b(picture.tobytes(), digest_size=16).digest(), i) for i, picture in enumerate(pixels)],
        dtype=np.int64,
    )


def near(pixels: np.ndarray, test: np.ndarray, first: np.ndarray) -> Near:
    """Return the held-out pictures with a likeness in training, such as another size of one photograph.

    pixels: (N, C, H, W) uint8; test: (N,) bool; first: of `exact`. Likeness is by pictures of 8 x 8 without their
    mean, then of 16 x 16; nearly flat ones are alike only if they are equal.
    """
    held = np.flatnonzero(test)
    held = held[np.linspace(0, len(held) - 1, min(TESTED, len(held))).astype(int)] if len(held) else held
    train = np.flatnonzero(~test)
    pairs = {}
    # equal ones first: whatever they show, they are copies
    by_first = {int(first[i]): int(i) for i in train[::-1]}
    for i in held:
        if int(first[i]) in by_first:
            pairs[int(i)] = by_first[int(first[i])]
    rest = np.array([i for i in held if int(i) not in pairs], dtype=np.int64)
    if len(rest) and len(train):
        pairs.update(_alike(pixels, rest, train))
    return Near(sorted(pairs.items()), len(held))


def _alike(pixels: np.ndarray, held: np.ndarray, train: np.ndarray) -> dict[int, int]:
    """Return held-out -> training picture for those whose nearest by the cosine of signatures is near enough."""
    mine = _signatures(pixels, held, SIDE)
    shown = torch.nonzero(mine.square().mean(1) > FLAT**2).flatten()
    mine, held = functional.normalize(mine[shown]), held[shown.numpy()]
    best, where = torch.full((len(held),), -1.0), torch.zeros(len(held), dtype=torch.int64)
    for start in range(0, len(train), _AT_ONCE):
        theirs = functional.normalize(_signatures(pixels, train[start : start + _AT_ONCE], SIDE))
        cosine, place = (mine @ theirs.T).max(1)
        better = cosine > best
        best[better], where[better] = cosine[better], place[better] + start
    rows = torch.nonzero(best > 1 - NEAR / 2).flatten().numpy()  # two of equal length are 2 - 2 cosine apart
    if not len(rows):
        return {}
    ours, others = held[rows], train[where[rows].numpy()]
    far = [_apart(_signatures(pixels, ours, side), _signatures(pixels, others, side)) for side in (SIDE, FINE)]
    near = (far[0] < NEAR) & (far[1] < NEAR_FINE)
    return {int(i): int(j) for i, j, is_near in zip(ours, others, near.tolist(), strict=True) if is_near}


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distance of rows as a share of their mean square: 0 for equal ones, 2 for unrelated ones."""
    return 2 * (a - b).square().sum(1) / (a.square().sum(1) + b.square().sum(1)).clamp(min=1e-6)


def _signatures(pixels: np.ndarray, rows: np.ndarray, side: int) -> Tensor:
    """Return pictures averaged to side x side, without their mean, (n, d)."""
    down, across = (_averages(length, side) for length in pixels.shape[2:])
    parts = []
    for start in range(0, len(rows), 1_024):
        some = torch.from_numpy(np.ascontiguousarray(pixels[rows[start : start + 1_024]])).float()
        parts.append((down @ (some @ across.T)).flatten(1))
    whole = torch.cat(parts)
    return whole - whole.mean(1, keepdim=True)


def _averages(length: int, side: int) -> Tensor:
    """Return the matrix (side, length) that averages `length` pixels to `side` of equal width."""
    edges = torch.arange(side + 1) * length / side
    pixel = torch.arange(length)
    share = (torch.minimum(edges[1:, None], pixel + 1.0) - torch.maximum(edges[:-1, None], pixel.float())).clamp(min=0)
    return share * side / length
