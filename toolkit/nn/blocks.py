"""Building blocks of networks in one, two or three dimensions. Tensors are (B, C, *space).

`dims` says how many dimensions convolutions run over. "first": there are two, and they run along the first alone, with
the same weights at all places of the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.dropout import Dropout

Dims = int | Literal["first"]


class LineConv(nn.Conv2d):
    """A one-dimensional convolution, (B, C, L) -> (B, C', L'), computed as a (1, k) one over (B, C, 1, L).

    Only four-dimensional tensors have a channels-last layout, in which bfloat16 convolutions are twice as fast on a
    CPU; (B, C, L) keeps its strides through the two views.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__(channels_in, channels_out, (1, kernel_size), (1, stride), (0, padding), (1, dilation))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(2)).squeeze(2)


class FirstConv(nn.Conv2d):
    """A convolution along the first of two dimensions: (B, C, L, M) -> (B, C', L', M)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__(channels_in, channels_out, (kernel_size, 1), (stride, 1), (padding, 0), (dilation, 1))


_Kind = type[LineConv] | type[FirstConv] | type[nn.Conv2d] | type[nn.Conv3d]
_CONVOLUTIONS: dict[Dims, _Kind] = {1: LineConv, "first": FirstConv, 2: nn.Conv2d, 3: nn.Conv3d}


def Conv(
    dims: Dims, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Module:
    """Return a convolution over `dims` dimensions that keeps the size (divided by `stride`): (B, C, *) -> (B, C', *).

    The stride must divide an even kernel, as in a stem with kernel = 2 stride.
    """
    span = dilation * (kernel - 1) + 1
    return _CONVOLUTIONS[dims](
        channels_in, channels_out, kernel, stride=stride, padding=(span - stride + 1) // 2, dilation=dilation
    )


def join(*parts: Tensor) -> Tensor:
    """Concatenate channels, (B, C_i, *) -> (B, sum C_i, *), and keep the memory layout, that of (B, C, L) too."""
    if parts[0].ndim == 3:
        return torch.cat([part.unsqueeze(2) for part in parts], dim=1).squeeze(2)
    return torch.cat(parts, dim=1)


def zero(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to 0 and return it: a branch that initially adds nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class GroupNorm(nn.GroupNorm):
    """Group normalisation that views (B, C, L) as (B, C, 1, L), whose channels-last layout needs no copy."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(2)).squeeze(2) if x.ndim == 3 else super().forward(x)


def norm(channels: int) -> GroupNorm:
    """Return group normalisation (Wu and He 2018) with groups of at least 8 channels, 32 groups at most."""
    groups = next(g for g in range(min(32, max(1, channels // 8)), 0, -1) if channels % g == 0)
    return GroupNorm(groups, channels)


class ChannelNorm(nn.Module):
    """x / rms of x over the channels, times a gain: (B, C, *) -> (B, C, *) (Zhang and Sennrich 2019, RMSNorm).

    Each position is normalised by itself, so features depend neither on position nor on the amount of padding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.square().mean(1, keepdim=True, dtype=torch.float32) + 1e-5).to(x)
        return x * scale * self.gain.to(x).reshape(-1, *[1] * (x.ndim - 2))


class ResBlock(nn.Module):
    """x + conv(silu(FiLM(norm(conv(silu(norm(x))))))): (B, C, *) -> (B, C', *).

    FiLM (Perez et al. 2018) scales and shifts by a linear function of `emb` (B, E), as in Dhariwal and Nichol
    (2021). The second convolution starts at zero, so a new block is its skip. `dilations` are of the two convolutions.
    """

    hidden_layers = ("conv1", "conv2")
    """Layers from hidden features to hidden features, whose weights Muon may train (toolkit/training/muon.py)."""

    def __init__(
        self,
        dims: Dims,
        channels_in: int,
        channels_out: int,
        embedding: int,
        kernel: int = 3,
        dilations: tuple[int, int] = (1, 1),
        dropout: float = 0.0,
        norm: Callable[[int], nn.Module] = norm,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels_in)
        self.conv1 = Conv(dims, channels_in, channels_out, kernel, dilation=dilations[0])
        self.film = nn.Linear(embedding, 2 * channels_out)
        self.norm2 = norm(channels_out)
        self.conv2 = zero(Conv(dims, channels_out, channels_out, kernel, dilation=dilations[1]))
        self.dropout = Dropout(dropout)
        self.skip = Conv(dims, channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor, keys: Tensor | None = None) -> Tensor:
        """`keys`: as for `Dropout`."""
        h = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.film(emb).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        h = functional.silu(torch.addcmul(shift, self.norm2(h), 1 + scale))
        output: Tensor = self.skip(x) + self.conv2(self.dropout(h, keys))
        return output


class Attention(nn.Module):
    """x + self-attention over all positions (Vaswani et al. 2017): (B, C, *) -> (B, C, *)."""

    hidden_layers = ("qkv", "out")

    def __init__(
        self, dims: Dims, channels: int, heads: int | None = None, norm: Callable[[int], nn.Module] = norm
    ) -> None:
        super().__init__()
        self.heads = heads or max(1, channels // 64)
        if channels % self.heads:
            raise ValueError(f"{channels} channels cannot be divided among {self.heads} heads")
        self.norm = norm(channels)
        self.qkv = Conv(dims, channels, 3 * channels, 1)
        self.out = zero(Conv(dims, channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).reshape(len(x), 3, self.heads, x.shape[1] // self.heads, -1)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        h = functional.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(x.shape)
        output: Tensor = x + self.out(h)
        return output


class Downsample(nn.Module):
    """A strided convolution with kernel 2 * stride, so that windows overlap: (B, C, L) -> (B, C', L / stride)."""

    def __init__(self, dims: Dims, channels_in: int, channels_out: int, stride: int = 2) -> None:
        super().__init__()
        self.conv = Conv(dims, channels_in, channels_out, 2 * stride if stride > 1 else 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.conv(x)
        return output


class Upsample(nn.Module):
    """Nearest neighbours, then a convolution: (B, C, L) -> (B, C', stride * L).

    A transposed convolution would leave a grid at multiples of the stride (Odena et al. 2016). With kernel 1,
    convolving before upsampling is equivalent and costs 1 / stride^dims.
    """

    def __init__(self, dims: Dims, channels_in: int, channels_out: int, stride: int = 2, kernel: int = 3) -> None:
        super().__init__()
        self.scale = (float(stride), 1.0) if dims == "first" else float(stride)
        self.first = kernel == 1
        self.conv = Conv(dims, channels_in, channels_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x) if self.first else x
        x = functional.interpolate(x, scale_factor=self.scale, mode="nearest")
        return x if self.first else self.conv(x)
