"""Embeddings of numbers and labels as vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FourierEmbedding(nn.Module):
    """cos and sin of a number at `channels / 2` frequencies, spaced geometrically: (B,) -> (B, channels).

    c_noise = -log-SNR / 8 lies within +-2.5, so periods run from 8 (no wrapping) down to 8 / 200.
    """

    def __init__(self, channels: int, longest: float = 8.0, spread: float = 200.0) -> None:
        super().__init__()
        ratio = torch.linspace(0, 1, channels // 2, dtype=torch.float64)
        self.register_buffer("frequencies", (2 * math.pi / longest * spread**ratio).float(), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        # float32 even under autocast: bfloat16 would round the phase
        phase = value.float()[:, None] * self.get_buffer("frequencies")
        return torch.cat([phase.cos(), phase.sin()], dim=1)


class NoiseEmbedding(nn.Module):
    """Fourier features of c_noise and a two-layer network: (B,) -> (B, channels)."""

    def __init__(self, channels: int, features: int = 64) -> None:
        super().__init__()
        self.fourier = FourierEmbedding(features)
        self.mlp = nn.Sequential(nn.Linear(features, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, c_noise: Tensor) -> Tensor:
        output: Tensor = self.mlp(self.fourier(c_noise))
        return output


class LabelEmbedding(nn.Embedding):
    """A vector for each of `labels` and one more, the null label (index `labels`): (B,) int64 -> (B, channels)."""

    def __init__(self, labels: int, channels: int) -> None:
        super().__init__(labels + 1, channels)
        # as large as the noise embedding's output, or the network would learn to use the label late
        nn.init.normal_(self.weight, std=0.5)
