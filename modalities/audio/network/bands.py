"""Sounds as bands of a learned transform, and back, without loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

TURN = 0.1
"""Radians for each unit of a learned number: of all numbers together each band turns much further than one does."""


class Bands(nn.Module):
    """Learned transform of overlapping frames: x (B, C, L) <-> (B, 2 C, L / hop + overlap - 1, hop * overlap / 2).

    Frames of hop * overlap samples under a sine window, one every hop; in each as many filters, in pairs, one pair a
    band. They begin as cosines and sines at the frequencies (k + 1/2) / (hop * overlap) of the rate, k < hop * overlap
    / 2, as in `Cells`, and are learned as a rotation of them (Cayley transform of a skew matrix). So the filters stay
    orthogonal, and the squares of windows that overlap add up to 1. Whatever is learned, `inverse` is the transpose,
    inverse(forward(x)) = x, and the power of a band, the sum of the squares of its pair, is for white noise that of a
    sample of x, on average over the bands.
    """

    def __init__(self, hop: int, overlap: int = 2, learned: bool = True) -> None:
        super().__init__()
        self.hop, self.overlap = hop, overlap
        span = hop * overlap
        n = torch.arange(span, dtype=torch.float64) + 0.5
        k = torch.arange(span // 2, dtype=torch.float64)[:, None] + 0.5
        phase = 2 * math.pi / span * k * (n - span / 2)
        self.register_buffer("waves", (torch.cat([phase.cos(), phase.sin()]) * math.sqrt(2 / span)).float(), False)
        self.register_buffer("window", (torch.sin(math.pi / span * n) / math.sqrt(overlap / 2)).float(), False)
        self.turn = nn.Parameter(torch.zeros(span, span)) if learned else None

    def filters(self) -> Tensor:
        """Return the filters of a frame, window included: (hop * overlap, hop * overlap), cosines first."""
        waves = self.get_buffer("waves")
        if self.turn is not None:
            skew = TURN / 4 * (self.turn - self.turn.T).float()
            one = torch.eye(len(skew), device=skew.device)
            waves = torch.linalg.solve(one + skew, (one - skew) @ waves)
        return waves * self.get_buffer("window")

    def forward(self, x: Tensor) -> Tensor:
        edge = self.hop * (self.overlap - 1)
        with torch.autocast(x.device.type, enabled=False):
            frames = functional.pad(x.float(), (edge, edge)).unfold(-1, self.hop * self.overlap, self.hop)
            # each pair of filters has half of the power of white noise twice: that of a sample
            bands = frames @ self.filters().T * math.sqrt(self.overlap / 2)
        return bands.unflatten(-1, (2, -1)).transpose(2, 3).flatten(1, 2)

    def inverse(self, bands: Tensor) -> Tensor:
        """Return sounds (B, C, L) float32 of bands (B, 2 C, L / hop + overlap - 1, hop * overlap / 2)."""
        length = bands.shape[2] - self.overlap + 1
        with torch.autocast(bands.device.type, enabled=False):
            pairs = bands.float().unflatten(1, (-1, 2)).transpose(2, 3).flatten(3, 4)
            frames = pairs @ self.filters() / math.sqrt(self.overlap / 2)
        parts = frames.unflatten(-1, (self.overlap, self.hop))
        x = parts[:, :, self.overlap - 1 :, 0]
        for i in range(1, self.overlap):
            x = x + parts[:, :, self.overlap - 1 - i :][:, :, :length, i]
        return x.flatten(2)
