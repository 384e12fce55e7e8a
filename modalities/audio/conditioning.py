"""How long the sounds to be made are, and what the network is told of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalities.audio import mel
from toolkit.diffusion.randomness import uniform
from toolkit.errors import UsageError
from toolkit.modality import MAX_NUMBERS, Request

GRAIN = 256
"""Every array is a multiple of it: the strides of all networks and the hops of all spectrograms divide it."""
PARTS = 8
"""Clips are padded to one of so many lengths, in training and in sampling alike."""
QUANTILES = 17
"""Of the durations of each label: what is drawn from when nobody says how long a sound is to be."""


def rounded(length: int, trained: int) -> int:
    """The length of an array that holds `length` samples: the next eighth of `trained`, or of grain beyond that."""
    if length >= trained:
        return -(-length // GRAIN) * GRAIN
    step = -(-trained // (PARTS * GRAIN)) * GRAIN
    return min(trained, -(-length // step) * step)


def conditions(length: Tensor, frames: int, trained: int) -> dict[str, Tensor]:
    """mask (B, 1, frames) and seconds (B,), the share of a training example that is filled, for length: (B,) int64."""
    mask = (torch.arange(frames) < length[:, None, None]).float()
    return {"mask": mask, "seconds": (length / trained).clamp(max=1).float()}


def quantiles(seconds: Tensor, labels: Tensor | None, count: int) -> tuple[float, ...]:
    """Durations of `count` labels, then of all, QUANTILES of each one after the other. seconds, labels: (N,)."""
    levels = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    groups = [seconds[labels == i] for i in range(count)] if labels is not None else []
    rows = [(g if len(g) else seconds).double().quantile(levels) for g in [*groups, seconds]]
    return tuple(round(float(value), 6) for value in torch.cat(rows))


def draw(durations: Sequence[float], labels: Tensor | None, seed: int, positions: Sequence[int]) -> Tensor:
    """Seconds (B,) for samples with these labels (B,), each a function of (seed, position): `quantiles`, inverted."""
    table = torch.tensor(durations, dtype=torch.float64).reshape(-1, QUANTILES)
    rows = table[labels] if labels is not None else table[-1:].expand(len(positions), -1)
    place = uniform(seed, "seconds", positions) * (QUANTILES - 1)
    low = place.long().clamp(max=QUANTILES - 2)[:, None]
    left, right = rows.gather(1, low)[:, 0], rows.gather(1, low + 1)[:, 0]
    return left + (place - low[:, 0]) * (right - left)


def by_length(length: Tensor, channels: int, trained: int, join: str) -> list[Request]:
    """A request for each array length that occurs, shortest first. length: (B,) int64 samples. Raises UsageError."""
    sizes = [_size(n, trained, join) for n in length.tolist()]
    found = []
    for size in sorted(set(sizes)):
        which = [i for i, s in enumerate(sizes) if s == size]
        shape = _checked((channels, size))
        window = trained if size > trained and join == "windows" else None
        found.append(Request(tuple(which), shape, conditions(length[which], size, trained), window))
    return found


def of_sound(raw: Tensor, spec: mel.MelSpec, shape: tuple[int, ...], n: int, join: str) -> Request:
    """`n` resynthesised versions of one sound (C, L), from its mel spectrogram. Raises UsageError."""
    channels, trained = shape
    length = torch.full((n,), raw.shape[-1])
    size = _size(raw.shape[-1], trained, join)
    padded = torch.zeros(_checked((channels, size)))
    padded[:, : raw.shape[-1]] = raw
    cond = conditions(length, size, trained)
    cond["mel"] = mel.normalise(mel.log_mel(padded[None], spec)).expand(n, -1, -1)
    return Request(tuple(range(n)), (channels, size), cond, trained if size > trained and join == "windows" else None)


def _size(length: int, trained: int, join: str) -> int:
    size = rounded(length, trained)
    # a longer one in windows is at least one and a half, or its two windows would be nearly the same
    return size if size <= trained or join == "whole" else max(size, -(-3 * trained // (2 * GRAIN)) * GRAIN)


def _checked(shape: tuple[int, int]) -> tuple[int, int]:
    if shape[0] * shape[1] > MAX_NUMBERS:
        raise UsageError(f"{shape[1]:,} samples are too many for one sound; ask for fewer --seconds")
    return shape
