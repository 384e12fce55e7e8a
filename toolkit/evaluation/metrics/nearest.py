"""Distances to the nearest training example, which find copies.

For sequences (n, d, T) of nonnegative cells in which 0 is silence, such as mel spectrograms in dB above a floor, and
for signals (n, L). Everything is computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_CELLS = 1 << 24


def nearest(a: Tensor, b: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distance of each row of a (n, d) to the nearest row of b (m, d), and its number: (n,), (n,).

    `own`: (n,) int64, the number in b of each row of a, which is then no neighbour of itself (leave one out).
    Raises ValueError when there are no neighbours.
    """
    _check(a, b, own)
    distance = torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")
    if own is not None:
        distance[torch.arange(len(a)), own] = torch.inf
    values, numbers = distance.min(1)
    return values, numbers


def nearest_of_many(a: Tensor, b: Tensor, own: Tensor | None = None, candidates: int = 8) -> tuple[Tensor, Tensor]:
    """Return `nearest` for large b: exact among the `candidates` that are nearest in single precision."""
    _check(a, b, own)
    count = min(candidates + (own is not None), len(b))
    distances, numbers = [], []
    rows = max(1, _CELLS // len(b))
    for i, part in enumerate(a.float().split(rows)):
        near = torch.cdist(part, b.float(), compute_mode="use_mm_for_euclid_dist").topk(count, largest=False).indices
        exact = (part.double()[:, None] - b[near].double()).square().sum(2).sqrt()
        if own is not None:
            exact[near == own[i * rows : i * rows + len(part), None]] = torch.inf
        least = exact.min(1)
        distances.append(least.values)
        numbers.append(near.gather(1, least.indices[:, None])[:, 0])
    return torch.cat(distances), torch.cat(numbers)


def aligned_distances(a: Tensor, b: Tensor, shift: int) -> Tensor:
    """Return root mean square differences of sequences a (n, d, T) and b (m, d, T) at the best shift in time: (n, m).

    b is moved by up to `shift` places either way. The mean is over the places at which either of the two sounds, so
    that a short sound is not near everything for being silent most of the time. Two silences are at distance 0.
    Raises ValueError when the shapes differ or a cell is negative.
    """
    if a.shape[1:] != b.shape[1:] or a.ndim != 3 or not 0 <= shift < a.shape[2]:
        raise ValueError(f"sequences of one shape, longer than {shift}, expected, got {a.shape} and {b.shape}")
    if float(a.min()) < 0 or float(b.min()) < 0:
        raise ValueError("cells below 0, which is silence")
    x = a.double()
    live_x = (x > 0).any(1)
    best = torch.full((len(a), len(b)), torch.inf, dtype=torch.float64)
    for place in range(-shift, shift + 1):
        y = _move(b.double(), place)
        live_y = (y > 0).any(1)
        both = live_x.double() @ live_y.double().T
        union = live_x.sum(1, keepdim=True) + live_y.sum(1) - both
        # |x|^2 + |y|^2 - 2 x y loses half the digits, which leaves eight
        squares = x.square().sum((1, 2))[:, None] + y.square().sum((1, 2)) - 2 * x.flatten(1) @ y.flatten(1).T
        best = torch.minimum(best, squares.clamp(min=0) / (a.shape[1] * union).clamp(min=1))
    return best.sqrt()


def nearest_aligned(
    a: Tensor, b: Tensor, shift: int, count: int = 1, own: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the `count` least `aligned_distances` for each of a, ascending, and their rows of b: (n, count) twice.

    `own`: as for `nearest`. `count` falls to what b has. Raises ValueError.
    """
    _check(a, b, own)
    distance = aligned_distances(a, b, shift)
    if own is not None:
        distance[torch.arange(len(a)), own] = torch.inf
    values, numbers = distance.topk(min(count, len(b) - (own is not None)), largest=False)
    return values, numbers


def nearest_aligned_of_many(
    a: Tensor, b: Tensor, shift: int, own: Tensor | None = None, candidates: int = 8
) -> tuple[Tensor, Tensor]:
    """Return the least `aligned_distances` for large b, exact among the `candidates` nearest by averages of cells.

    Averages are over 2 x 4 cells. Returns distances (n,) and numbers (n,). Raises ValueError.
    """
    _check(a, b, own)
    coarse_a, coarse_b = (avg_pool2d(x.float()[:, None], (2, 4), ceil_mode=True)[:, 0] for x in (a, b))
    coarse = aligned_distances(coarse_a, coarse_b, min(-(-shift // 4), coarse_a.shape[2] - 1))
    if own is not None:
        coarse[torch.arange(len(a)), own] = torch.inf
    near = coarse.topk(min(candidates, len(b) - (own is not None)), largest=False).indices
    exact = torch.stack([_aligned_pairs(a.double(), b[column].double(), shift) for column in near.T], 1)
    least = exact.min(1)
    return least.values, near.gather(1, least.indices[:, None])[:, 0]


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the largest |normalised cross-correlation| over shifts of pairs of signals a, b (n, L): (n,), in [0, 1].

    1: one is the other, moved, scaled and perhaps turned upside down. Of a signal of zeros it is 0.
    Raises ValueError when the shapes differ.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"pairs of signals of one length expected, got {a.shape} and {b.shape}")
    size = 1 << (2 * a.shape[1] - 1).bit_length()  # zeros in between: a shift does not wrap around
    peaks = [torch.zeros(0, dtype=torch.float64)]
    rows = max(1, _CELLS // size)
    for x, y in zip(a.double().split(rows), b.double().split(rows)):
        product = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(y, size).conj(), size)
        scale = x.norm(dim=1) * y.norm(dim=1)
        peak = product.abs().amax(1)
        peaks.append(torch.where(scale > 0, peak / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0))
    return torch.cat(peaks)


def _aligned_pairs(a: Tensor, b: Tensor, shift: int) -> Tensor:
    """Return `aligned_distances` for pairs of sequences a and b (n, d, T) only: (n,)."""
    best = torch.full((len(a),), torch.inf, dtype=torch.float64)
    live = (a > 0).any(1)
    for place in range(-shift, shift + 1):
        y = _move(b, place)
        union = (live | (y > 0).any(1)).sum(1)
        best = torch.minimum(best, (a - y).square().sum((1, 2)) / (a.shape[1] * union).clamp(min=1))
    return best.sqrt()


def _move(x: Tensor, place: int) -> Tensor:
    """Return x (n, d, T) moved by `place` along T, with silence in the gap."""
    moved = torch.zeros_like(x)
    if place >= 0:
        moved[..., place:] = x[..., : x.shape[-1] - place]
    else:
        moved[..., :place] = x[..., -place:]
    return moved


def _check(a: Tensor, b: Tensor, own: Tensor | None) -> None:
    if own is not None and own.shape != (len(a),):
        raise ValueError(f"a number in the other set for each of {len(a)} rows expected, got {tuple(own.shape)}")
    if len(b) - (own is not None) < 1:
        raise ValueError("there is nothing to be near to")
