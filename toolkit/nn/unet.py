"""A UNet for any number of dimensions (Ronneberger et al. 2015; Ho et al. 2020), and its trunk by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.blocks import Attention, Conv, Dims, Downsample, ResBlock, Upsample, join, norm, zero
from toolkit.nn.conditioned import Conditioned


class Level(nn.Module):
    """Residual blocks in sequence, with attention after each or after none."""

    def __init__(self, blocks: Sequence[ResBlock], attention: Sequence[Attention]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attention = nn.ModuleList(attention)

    def forward(self, x: Tensor, emb: Tensor, keys: Tensor | None = None) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, emb, keys)
            if i < len(self.attention):
                x = self.attention[i](x)
        return x


class Trunk(nn.Module):
    """Down, through the middle, and up with skips: (x (B, widths[0], *space), emb (B, E)) -> (B, widths[0], *space).

    widths      channels of each level, finest first
    blocks      residual blocks down, and as many up: one number for all levels, or one for each
    strides     between neighbouring levels, len(widths) - 1
    attention   indices of the levels that have attention, negative ones too
    dilations   of the convolutions in the blocks of a level, in rotation
    norm        function from a number of channels to a normalisation layer
    grow        kernel of the convolutions that upsample from level to level
    """

    def __init__(
        self,
        dims: Dims,
        widths: Sequence[int],
        embedding: int,
        blocks: int | Sequence[int] = 2,
        strides: Sequence[int] | None = None,
        attention: Sequence[int] = (-1,),
        dilations: Sequence[int] = (1,),
        kernel: int = 3,
        dropout: float = 0.0,
        norm: Callable[[int], nn.Module] = norm,
        grow: int = 3,
    ) -> None:
        super().__init__()
        depth = len(widths)
        self.strides = list(strides) if strides is not None else [2] * (depth - 1)
        if len(self.strides) != depth - 1:
            raise ValueError(f"{depth} widths need {depth - 1} strides, got {len(self.strides)}")
        attended = {level % depth for level in attention}
        counts = [blocks] * depth if isinstance(blocks, int) else list(blocks)
        if len(counts) != depth:
            raise ValueError(f"{depth} widths need {depth} numbers of blocks, got {len(counts)}")

        def level(inputs: Sequence[int], width: int, index: int) -> Level:
            rate = cycle(dilations)
            rates = [(next(rate), next(rate)) for _ in inputs]
            return Level(
                [
                    ResBlock(dims, c, width, embedding, kernel, pair, dropout, norm)
                    for c, pair in zip(inputs, rates, strict=True)
                ],
                [Attention(dims, width, norm=norm) for _ in inputs] if index in attended else [],
            )

        self.down, self.shrink, self.grow, self.up = (nn.ModuleList() for _ in range(4))
        for i, width in enumerate(widths):
            self.down.append(level([width] * counts[i], width, i))
            self.up.append(level([2 * width] + [width] * (counts[i] - 1), width, i))
            if i + 1 < depth:
                self.shrink.append(Downsample(dims, width, widths[i + 1], self.strides[i]))
                self.grow.append(Upsample(dims, widths[i + 1], width, self.strides[i], grow))
        self.middle = ResBlock(dims, widths[-1], widths[-1], embedding, kernel, dropout=dropout, norm=norm)

    def forward(self, h: Tensor, emb: Tensor, local: Sequence[Tensor] = (), keys: Tensor | None = None) -> Tensor:
        """`local`: a tensor for each level, finest first, that is added to its input, (B, width, *space).

        `keys`: as for `Dropout`.
        """
        skips = []
        for i, level in enumerate(self.down):
            h = level(h + local[i] if local else h, emb, keys)
            skips.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
        h = self.middle(h, emb, keys)
        for i in reversed(range(len(self.up))):
            h = self.up[i](join(h, skips[i]), emb, keys)
            if i > 0:
                h = self.grow[i - 1](h)
        return h


class UNet(Conditioned):
    """UNet: (x (B, C, *space), c_noise (B,), cond) -> (B, C, *space); cond["label"] is (B,) int64 when labels > 0.

    Sides may have any length: inside they are padded to multiples of the total stride, `divisor`.

    widths, blocks, strides, attention, dilations: see `Trunk`
    stem        stride of the first convolution: the finest level works on space / stem, and a thin tail of
                `tail` channels at full size restores the detail that the stem discarded
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        widths: Sequence[int],
        blocks: int = 2,
        strides: Sequence[int] | None = None,
        stem: int = 1,
        tail: int = 16,
        attention: Sequence[int] = (-1,),
        dilations: Sequence[int] = (1,),
        kernel: int = 3,
        labels: int = 0,
        embedding: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        steps = list(strides) if strides is not None else [2] * (len(widths) - 1)
        embedding = embedding or 2 * max(widths)
        super().__init__(embedding, labels, divisor=stem * math.prod(steps))
        self.stem = Downsample(dims, channels, widths[0], stem) if stem > 1 else Conv(dims, channels, widths[0], kernel)
        self.trunk = Trunk(dims, widths, embedding, blocks, steps, attention, dilations, kernel, dropout)
        self.norm = norm(widths[0])
        if stem > 1:
            self.expand: nn.Module | None = Upsample(dims, widths[0], tail, stem)
            self.last = nn.Sequential(Conv(dims, tail + channels, tail, kernel), nn.SiLU())
            self.head = zero(Conv(dims, tail, channels, kernel))
        else:
            self.expand, self.last = None, nn.Sequential()
            self.head = zero(Conv(dims, widths[0], channels, kernel))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        x, place = self.padded(x)
        h = self.trunk(self.stem(x), self.embed(c_noise, cond), keys=cond.get("dropout"))
        h = functional.silu(self.norm(h))
        if self.expand is not None:
            h = self.last(join(functional.silu(self.expand(h)), x.to(h)))
        output: Tensor = self.head(h)[(..., *place)]
        return output
