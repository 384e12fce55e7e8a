"""A network for vectors: residual blocks whose scale and shift depend on the noise level and the label."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.conditioned import Conditioned


class MLP(Conditioned):
    """Network for vectors: net(x (B, size), c_noise (B,), cond) -> (B, size)."""

    def __init__(self, size: int, labels: int = 0, width: int = 96, depth: int = 3) -> None:
        super().__init__(embedding=width, labels=labels, divisor=1)
        self.first, self.last = nn.Linear(size, width), nn.Linear(width, size)
        self.films = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        emb, h = self.embed(c_noise, cond), self.first(x)
        for film, block in zip(self.films, self.blocks, strict=True):
            scale, shift = torch.chunk(film(emb), 2, 1)
            h = h + block(functional.silu(h * (1 + scale) + shift))
        output: Tensor = self.last(h)
        return output
