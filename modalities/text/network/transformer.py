"""The network for tokens: presets of the transformer, with a table of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modalities.text.options import Model
from toolkit.nn import Transformer

NOISE_FEATURES = 8
"""Inputs for a token's own noise level."""


@dataclass(frozen=True)
class Preset:
    """Layers, their channels, and heads."""

    width: int
    depth: int
    heads: int


# parameters with 84 tokens and 16 dimensions:
PRESETS = {
    "smoke": Preset(width=128, depth=4, heads=2),  # 0.9 M
    "small": Preset(width=256, depth=6, heads=4),  # 5.0 M
    "base": Preset(width=512, depth=8, heads=8),  # 26 M
}


class TokenNet(nn.Module):
    """(x (B, 2 dims + V + NOISE_FEATURES + 1, L), c_noise (B,), cond) -> logits (B, L, V), with an embedding table."""

    def __init__(self, vocabulary: int, dims: int, preset: Preset, labels: int = 0) -> None:
        super().__init__()
        self.dims = dims
        self.embedding = nn.Embedding(vocabulary, dims)
        # only directions count, so short vectors turn faster at the same learning rate
        nn.init.normal_(self.embedding.weight, std=0.3 / dims**0.5)
        self.gate = nn.Parameter(torch.zeros(()))
        features = 2 * dims + vocabulary + NOISE_FEATURES + 1
        self.body = Transformer(features, vocabulary, preset.width, preset.depth, preset.heads, labels)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        output: Tensor = self.body(x, c_noise, cond)
        return output


def build(model: Model, vocabulary: int, labels: int) -> TokenNet:
    """Return the network of a [model] section for `vocabulary` tokens and `labels` labels."""
    preset = PRESETS[model.preset]
    width, depth = model.width or preset.width, model.depth or preset.depth
    heads = preset.heads if width % (4 * preset.heads) == 0 else 1
    return TokenNet(vocabulary, model.dims, Preset(width, depth, heads), labels)
