"""Gaussian data as the eigenvalues of its covariance: white noise, pictures with a common brightness, long sounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from toolkit.verify.oracle import DTYPE


class Spectrum(NamedTuple):
    """Modes of data whose places have variance 1 each."""

    eigenvalues: Tensor
    """Variance of each mode, (K,), or of a group of modes that are nearly equal."""
    shares: Tensor
    """Share of each in the variance of a place: (K,), sums to 1."""


def white() -> Spectrum:
    """Return the spectrum of N(0, I)."""
    return Spectrum(torch.ones(1, dtype=DTYPE), torch.ones(1, dtype=DTYPE))


def picture(size: int, falling: bool, common: float = 0.3) -> Spectrum:
    """Return that of `size` x `size` pictures: a share `common` of the variance is one brightness, the rest is white.

    `falling`: the rest falls as 1 / frequency^2, like that of photographs (Field 1987).
    """
    place = torch.fft.fftfreq(size, 1 / size, dtype=DTYPE)
    square = (place[:, None] ** 2 + place**2).flatten()[1:]  # the first, 0, is the brightness
    rest = 1 / square if falling else torch.ones_like(square)
    rest = rest * ((1 - common) * size**2 / rest.sum())
    return _join(torch.tensor([common * size**2], dtype=DTYPE), rest)


def sound(r: float = 0.98, length: int = 16384) -> Spectrum:
    """Return that of x_i = r x_{i-1} + noise on a circle: (1 - r^2) / (1 - 2 r cos w + r^2) at w = 2 pi k / L."""
    w = 2 * math.pi * torch.arange(length, dtype=DTYPE) / length
    density = (1 - r**2) / (1 - 2 * r * torch.cos(w) + r**2)
    return _join(density[:1], density[1:])


def together(spectra: Sequence[Spectrum]) -> tuple[Tensor, list[slice]]:
    """Return all eigenvalues in one tensor, and the slice of each spectrum."""
    ends = torch.tensor([0, *(len(s.eigenvalues) for s in spectra)]).cumsum(0).tolist()
    return torch.cat([s.eigenvalues for s in spectra]), [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def _join(first: Tensor, rest: Tensor, groups: int = 20) -> Spectrum:
    """Return one mode by itself, and the others in groups equal in log(eigenvalue): means, and sums as shares."""
    level = rest.log()
    width = float(level.max() - level.min()) / groups + 1e-9
    group = ((level - level.min()) / width).floor().long()
    count = torch.bincount(group, minlength=groups)
    total = torch.zeros(len(count), dtype=DTYPE).index_add_(0, group, rest)
    filled = count > 0
    eigenvalues = torch.cat([first, total[filled] / count[filled]])
    sums = torch.cat([first, total[filled]])
    return Spectrum(eigenvalues, sums / sums.sum())
