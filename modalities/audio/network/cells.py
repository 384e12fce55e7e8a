"""Sounds as cells of time and frequency, and back, without loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Cells(nn.Module):
    """Windowed Fourier transform at odd frequencies: x (B, C, L) <-> (B, 2 C, L / hop, hop), real and imaginary parts.

    Frames of 2 hop samples under a sine window, one every hop, at the frequencies (k + 1/2) / (2 hop) of the rate, k <
    hop. It is the modulated complex lapped transform (Malvar 1999): each frame's transform preserves norms, and the
    squares of two windows that overlap add up to 1, so `inverse` is the transpose and inverse(forward(x)) = x; the
    power of a cell, the sum of both squares, is for white noise that of a sample of x. The first and the last hop / 2
    samples lie in one frame only, for which `edge` compensates.

    A shift by 4 frames or by 2 bands only moves the cells, so that convolutions over patches of as many mean the same
    everywhere.
    """

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        n = torch.arange(2 * hop, dtype=torch.float64) + 0.5
        k = torch.arange(hop, dtype=torch.float64)[:, None] + 0.5
        window = torch.sin(math.pi / (2 * hop) * n)
        phase = math.pi / hop * k * (n - hop)
        basis = torch.cat([window * phase.cos(), window * phase.sin()]) / math.sqrt(hop)
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("edge", (1 / window[hop // 2 : hop]).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        hop, half = self.hop, self.hop // 2
        with torch.autocast(x.device.type, enabled=False):
            frames = functional.pad(self._weigh_edges(x.float()), (half, half)).unfold(-1, 2 * hop, hop)
            cells = frames @ self.get_buffer("basis").T  # (B, C, T, 2 hop)
        return cells.unflatten(-1, (2, hop)).transpose(2, 3).flatten(1, 2)

    def inverse(self, cells: Tensor) -> Tensor:
        """Return sounds (B, C, L) float32 of cells (B, 2 C, L / hop, hop)."""
        hop, half = self.hop, self.hop // 2
        with torch.autocast(cells.device.type, enabled=False):
            pairs = cells.float().unflatten(1, (-1, 2)).transpose(2, 3).flatten(3, 4)
            frames = pairs @ self.get_buffer("basis")
        x = functional.pad(frames[..., :hop], (0, 0, 0, 1)) + functional.pad(frames[..., hop:], (0, 0, 1, 0))
        return self._weigh_edges(x.flatten(-2)[..., half:-half])

    def _weigh_edges(self, x: Tensor) -> Tensor:
        edge, half = self.get_buffer("edge"), self.hop // 2
        return torch.cat([x[..., :half] * edge, x[..., half:-half], x[..., -half:] * edge.flip(0)], -1)


def gather(h: Tensor, patch: tuple[int, int]) -> Tensor:
    """Return the cells of patches p x q as channels: (B, C, T, F) -> (B, p q C, T / p, F / q)."""
    time, frequency = patch
    h = h.unflatten(3, (-1, frequency)).unflatten(2, (-1, time))  # B, C, T / p, p, F / q, q
    return h.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def scatter(h: Tensor, patch: tuple[int, int]) -> Tensor:
    """Return the inverse of `gather`."""
    h = h.unflatten(1, (*patch, -1))  # B, p, q, C, T / p, F / q
    return h.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
