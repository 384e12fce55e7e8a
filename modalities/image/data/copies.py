"""Pictures that are there twice: equal pixel by pixel, or nearly so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
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
GROUPED = 60_000
"""Most different pictures that are compared with one another; of more, only equal ones are a group."""
LIKE_ONE = 32
"""Most others that one picture is linked to; the groups follow from links of links."""
_AT_ONCE = 8_192
_ROWS = 512


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


def groups(pixels: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return for each picture the number of a group, (N,): those that are alike, or like one that is, have one.

    pixels: (N, C, H, W) uint8; first: of `exact`. Likeness as in `near`.
    """
    different = np.flatnonzero(first == np.arange(len(first)))
    links = [(np.arange(len(first)), first)]
    if 1 < len(different) <= GROUPED:
        links.append(_links(pixels, different))
    one, other = (np.concatenate(side) for side in zip(*links, strict=True))
    return _components(one, other, len(first))


def join_groups(files: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the group of each file (F,), of which all that share a group have one. files, groups: (N,) of pictures."""
    count = int(files.max()) + 1
    return _components(files, count + groups, count + int(groups.max()) + 1)[:count]


def _components(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """Return the number of the connected part of each of `count` nodes, (count,), which links join."""
    graph = coo_matrix((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


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


def _links(pixels: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of different pictures that are alike, as two arrays of their numbers."""
    coarse = _signatures(pixels, rows, SIDE)
    uneven = torch.nonzero(coarse.square().mean(1) > FLAT**2).flatten()
    rows, unit = rows[uneven.numpy()], functional.normalize(coarse[uneven])
    pairs = [torch.empty(2, 0, dtype=torch.int64)]
    for start in range(0, len(rows), _ROWS):
        cosine = unit[start : start + _ROWS] @ unit[start:].T
        like = cosine > 1 - NEAR / 2
        like[:, : len(like)].triu_(1)  # each pair once
        crowded = torch.nonzero(like.sum(1) > LIKE_ONE).flatten()
        nearest = torch.zeros(len(crowded), like.shape[1], dtype=torch.bool)
        nearest.scatter_(1, cosine[crowded].topk(min(LIKE_ONE, like.shape[1]), dim=1).indices, True)
        like[crowded] &= nearest
        pairs.append(torch.nonzero(like).T + start)
    one, other = (rows[side.numpy()] for side in torch.cat(pairs, 1))
    keep = np.zeros(len(one), dtype=bool)
    for start in range(0, len(one), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        keep[part] = _near_enough(pixels, one[part], other[part])
    return one[keep], other[keep]


def _near_enough(pixels: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which pairs are alike at both sizes, (n,) bool."""
    far = [_apart(_signatures(pixels, one, side), _signatures(pixels, other, side)) for side in (SIDE, FINE)]
    return ((far[0] < NEAR) & (far[1] < NEAR_FINE)).numpy()


def _alike(pixels: np.ndarray, held: np.ndarray, train: np.ndarray) -> dict[int, int]:
    """Return held-out -> training picture for those whose nearest by the cosine of signatures is near enough."""
    mine = _signatures(pixels, held, SIDE)
    uneven = torch.nonzero(mine.square().mean(1) > FLAT**2).flatten()
    mine, held = functional.normalize(mine[uneven]), held[uneven.numpy()]
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
    near = _near_enough(pixels, ours, others)
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
