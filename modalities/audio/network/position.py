"""Position in time and in frequency, as features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

PERIODS = [2.0**k for k in range(8, 18)]
"""Samples."""


def waves(length: int, step: int) -> Tensor:
    """Return cos and sin of every step-th sample number at `PERIODS`: (length / step, 2 len(PERIODS)) float64."""
    place = torch.arange(0, length, step, dtype=torch.float64, device="cpu")[:, None]
    phase = 2 * math.pi * place / torch.tensor(PERIODS, dtype=torch.float64)
    return torch.cat([phase.cos(), phase.sin()], 1)


class Position(nn.Module):
    """Features of each place's position in time and frequency: L samples -> (1, width, T, F) for each level.

    cos and sin of the sample number at periods of 256 to 2^17 samples, projected, and a vector for each row of
    frequencies. Convolutions have a position only near an edge, and attention has none; but a drum is loud at its
    beginning, and the bass is not like the treble.
    """

    def __init__(self, widths: Sequence[int], steps: Sequence[int], rows: Sequence[int]) -> None:
        """`steps`: samples from one place of each level to the next; `rows`: places of each level in frequency."""
        super().__init__()
        self.steps = tuple(steps)
        self.time = nn.ModuleList(nn.Linear(2 * len(PERIODS), width) for width in widths)
        self.frequency = nn.ParameterList(torch.empty(1, w, 1, f) for w, f in zip(widths, rows, strict=True))
        for vectors in self.frequency:
            nn.init.normal_(vectors, std=0.3)

    def forward(self, length: int, like: Tensor) -> list[Tensor]:
        features = []
        for step, time, frequency in zip(self.steps, self.time, self.frequency, strict=True):
            moments = time(waves(length, step).to(like))
            features.append(moments.T[None, :, :, None] + frequency.to(moments))
        return features
