"""Conversion between raw sound and model space, and from files to raw sound."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from modalities.audio.data.reader import read as read_file
from modalities.audio.emphasis import emphasise, undo
from modalities.audio.options import Data
from toolkit.data.dataset import Facts
from toolkit.errors import DataError

LOUDEST = 1 - 2**-15
"""The largest sample that 16 bits hold."""


def rate_of(facts: Facts) -> int:
    """Return the sample rate in Hz."""
    rate = facts.extra["rate"]
    assert isinstance(rate, int)
    return rate


def ends(raw: Tensor) -> Tensor:
    """Return the length of each clip of raw (B, C, L) without the exact zeros at its end, at least 1: (B,) int64."""
    sounding = (raw != 0).any(1)
    last = torch.arange(1, raw.shape[-1] + 1, device=raw.device) * sounding
    return last.amax(1).clamp_min(1)


class Codec(NamedTuple):
    """Pre-emphasis and scale between raw sound and model space."""

    emphasis: float
    std: float

    @classmethod
    def of(cls, data: Data, facts: Facts) -> Codec:
        return cls(data.emphasis, facts.std)

    def encode(self, raw: Tensor) -> Tensor:
        """Return samples (B, C, L) pre-emphasised and divided by the training set's deviation, float32."""
        return emphasise(raw.float(), self.emphasis) / self.std

    def decode(self, x: Tensor) -> Tensor:
        """Return the inverse of `encode`; exact zeros at an end stay, and a clip beyond full scale is scaled down."""
        x = x.float()
        inside = torch.arange(x.shape[-1], device=x.device) < ends(x)[:, None, None]
        raw = undo(x * self.std, self.emphasis) * inside
        return raw / (raw.abs().amax((1, 2), keepdim=True) / LOUDEST).clamp(min=1)


def read(path: Path, rate: int, channels: int) -> Tensor:
    """Return a whole sound file as (C, L) float32 at `rate` Hz. Raises DataError."""
    path = path.expanduser()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    return torch.from_numpy(read_file(path, rate, channels).T.copy())
