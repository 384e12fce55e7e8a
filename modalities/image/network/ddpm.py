"""The full-resolution UNet of Ho et al. (2020), appendix B, as a skeleton of its own from the same blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.blocks import Attention, Conv, ResBlock, Upsample, norm, zero
from toolkit.nn.conditioned import Conditioned


class DDPMUNet(Conditioned):
    """(x (B, C, *space), c_noise (B,), cond) -> (B, C, *space); of sides of any length, as in `UNet`.

    Two residual blocks a level down and three up, a skip from every block and not one a level as in `UNet`;
    attention with one head at the levels `attention` and in the middle. Unlike in the paper, blocks take the noise
    level by FiLM (Dhariwal and Nichol 2021) and not by addition, and labels are added to it.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        width: int = 128,
        levels: Sequence[int] = (1, 2, 2, 2),
        attention: Sequence[int] = (1,),
        labels: int = 0,
        dropout: float = 0.1,
    ) -> None:
        embedding = 4 * width
        super().__init__(embedding, labels, divisor=2 ** (len(levels) - 1), features=width)

        def block(inputs: int, outputs: int, level: int) -> nn.ModuleList:
            parts: list[nn.Module] = [ResBlock(dims, inputs, outputs, embedding, dropout=dropout)]
            return nn.ModuleList([*parts, Attention(dims, outputs, heads=1)] if level in attention else parts)

        now = width
        skips = [now]
        self.first = Conv(dims, channels, now)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, factor in enumerate(levels):
            for _ in range(2):
                self.down.append(block(now, factor * width, i))
                now = factor * width
                skips.append(now)
            if i + 1 < len(levels):
                self.down.append(Conv(dims, now, now, stride=2))
                skips.append(now)
        self.middle = nn.ModuleList(
            [*block(now, now, attention[0]), ResBlock(dims, now, now, embedding, dropout=dropout)]
        )
        for i, factor in reversed(list(enumerate(levels))):
            for _ in range(3):
                self.up.append(block(now + skips.pop(), factor * width, i))
                now = factor * width
            if i > 0:
                self.up.append(Upsample(dims, now, now))
        self.norm = norm(now)
        self.head = zero(Conv(dims, now, channels))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        x, place = self.padded(x)
        emb, keys = self.embed(c_noise, cond), cond.get("dropout")
        h = self.first(x)
        skips = [h]
        for part in self.down:
            h = _through(part, h, emb, keys)
            skips.append(h)
        h = _through(self.middle, h, emb, keys)
        for part in self.up:
            h = part(h) if isinstance(part, Upsample) else _through(part, torch.cat([h, skips.pop()], 1), emb, keys)
        output: Tensor = self.head(functional.silu(self.norm(h)))[(..., *place)]
        return output


def _through(part: nn.Module, h: Tensor, emb: Tensor, keys: Tensor | None) -> Tensor:
    for layer in part if isinstance(part, nn.ModuleList) else [part]:
        h = layer(h, emb, keys) if isinstance(layer, ResBlock) else layer(h)
    return h
