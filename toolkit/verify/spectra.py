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
    """The variance of each mode, (K,), or of a group of modes that are nearly alike."""
    shares: Tensor
    """How much of the variance of a place each of them is: (K,), sums to 1."""


def white() -> Spectrum:
    """N(0, I)."""
    return Spectrum(torch.ones(1, dtype=DTYPE), torch.ones(1, dtype=DTYPE))


def picture(size: int, falling: bool, common: float = 0.3) -> Spectrum:
    """Pictures of `size` x `size`: a share `common` of a pixel's variance is one brightness, the rest is white.

    `falling`: the rest falls as 1 / frequency^2, as that of photographs does (Field 1987).
    """
    place = torch.fft.fftfreq(size, 1 / size, dtype=DTYPE)
    square = (place[:, None] ** 2 + place**2).flatten()[1:]  # the first, 0, is the brightness
    rest = 1 / square if falling else torch.ones_like(square)
    rest = rest * ((1 - common) * size**2 / rest.sum())
    return _joined(torch.tensor([common * size**2], dtype=DTYPE), rest)


def sound(r: float = 0.98, length: int = 16384) -> Spectrum:
    """x_i = r x_{i-1} + noise, on a circle: density (1 - r^2) / (1 - 2 r cos w + r^2) at frequencies w = 2 pi k / L."""
    w = 2 * math.pi * torch.arange(length, dtype=DTYPE) / length
    density = (1 - r**2) / (1 - 2 * r * torch.cos(w) + r**2)
    return _joined(density[:1], density[1:])


def together(spectra: Sequence[Spectrum]) -> tuple[Tensor, list[slice]]:
    """All eigenvalues in one tensor, and where those of each are."""
    ends = torch.tensor([0, *(len(s.eigenvalues) for s in spectra)]).cumsum(0).tolist()
    return torch.cat([s.eigenvalues for s in spectra]), [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def _joined(first: Tensor, rest: Tensor, groups: int = 20) -> Spectrum:
    """One mode by itself, and the others in groups, equal in log(eigenvalue), of their mean and their sum."""
    level = rest.log()
    width = float(level.max() - level.min()) / groups + 1e-9
    group = ((level - level.min()) / width).floor().long()
    count = torch.bincount(group, minlength=groups)
    total = torch.zeros(len(count), dtype=DTYPE).index_add_(0, group, rest)
    met = count > 0
    eigenvalues = torch.cat([first, total[met] / count[met]])
    sums = torch.cat([first, total[met]])
    return Spectrum(eigenvalues, sums / sums.sum())
