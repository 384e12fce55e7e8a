"""A transformer for sequences, with or without a noise level, bidirectional or causal. Tensors are (B, L, C)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.blocks import zero
from toolkit.nn.conditioned import Conditioned


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021, eq. 34): pairs of channels, rotated by angles that grow with position."""

    def __init__(self, channels: int, longest: float = 1e4) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"rotary positions need an even number of channels a head, got {channels}")
        ratio = torch.arange(0, channels, 2, dtype=torch.float64) / channels
        self.register_buffer("frequencies", (longest**-ratio).float(), persistent=False)

    def angles(self, length: int, device: torch.device) -> Tensor:
        """Return exp(i angle) for each position and pair, (L, D / 2) complex64."""
        place = torch.arange(length, device=device, dtype=torch.float32)
        phase = torch.outer(place, self.get_buffer("frequencies"))
        return torch.polar(torch.ones_like(phase), phase)

    @staticmethod
    def turn(x: Tensor, angles: Tensor) -> Tensor:
        """Rotate x (*, L, D): neighbouring channels are a pair.

        By a complex product, which on a CPU took 6 ms forward and backward where sines, cosines and halves of the
        channels took 14 (2 x 16 x 3 heads x 128 x 64, one core).
        """
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * angles).flatten(-2).to(x)


def shift(h: Tensor, causal: bool) -> Tensor:
    """Take a quarter of the channels from one neighbour, a quarter from the other: (B, L, C) -> (B, L, C).

    The inputs of a convolution of width 3 without multiplications (Wu et al. 2018, "Shift"). `causal`: from one and
    two positions before.
    """
    n = h.shape[-1] // 4
    before = functional.pad(h[:, :-1, :n], (0, 0, 1, 0))
    if causal:
        other = functional.pad(h[..., n : 2 * n], (0, 0, 2, 0))[:, :-2]
    else:
        other = functional.pad(h[:, 1:, n : 2 * n], (0, 0, 0, 1))
    return torch.cat([before, other, h[:, :, 2 * n :]], dim=-1)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Return softmax(q k / sqrt(D) + bias) v: (B, H, L, D) each; bias broadcasts to (B, H, L, L).

    Written out: in bfloat16 on a CPU, torch's fused kernel took 42 ms forward and backward where this took 7
    (batch 32, 4 heads of 64, 128 positions, one core). At thousands of positions the fused one needs less memory.
    """
    if q.is_cuda or q.shape[-2] > 1024:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ v


class SquaredReLU(torch.autograd.Function):
    """max(x, 0)^2, whose backward pass reads one tensor instead of making four."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.clamp_min(0)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (gradients[0] * positive).mul_(2)


def relu2(x: Tensor) -> Tensor:
    """Return max(x, 0)^2."""
    output: Tensor = SquaredReLU.apply(x)
    return output


class Layer(nn.Module):
    """Attention, then two linear maps with relu^2 between (So et al. 2021, "Primer"), each on a shifted, normalised h.

    With `modulation` (B, 6, C) both branches are scaled, shifted and gated (Peebles and Xie 2023, adaLN-zero), and a
    new layer is its skip; without it they are only normalised.
    """

    hidden_layers = ("qkv", "out", "wide", "back")

    def __init__(self, width: int, heads: int, causal: bool, modulated: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.back = nn.Linear(4 * width, width, bias=False)
        self.own = nn.Parameter(torch.zeros(6, width)) if modulated else None
        for linear in (self.qkv, self.wide):
            nn.init.normal_(linear.weight, std=width**-0.5)
        # the last map of each branch starts at 0: a new layer is its skip
        zero(self.out)
        zero(self.back)

    def attend(self, h: Tensor, angles: Tensor, bias: Tensor | None) -> Tensor:
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = Rotary.turn(qkv[:2], angles).unbind(0)
        output: Tensor = self.out(attention(q, k, qkv[2], bias).transpose(1, 2).flatten(2))
        return output

    def forward(
        self,
        h: Tensor,
        modulation: Tensor | None,
        angles: Tensor,
        bias: Tensor | None,
        real: Tensor | None = None,
    ) -> Tensor:
        """`real`: (B, L, 1), 0 at padding, which neighbours see as 0, like positions beyond the end."""

        def neighbours(inner: Tensor) -> Tensor:
            return shift(inner if real is None else inner * real, self.causal)

        size = h.shape[-1:]
        if modulation is None or self.own is None:
            h = h + self.attend(neighbours(functional.layer_norm(h, size)), angles, bias)
            branch = self.wide(neighbours(functional.layer_norm(h, size)))
            return h + self.back(relu2(branch))
        move1, scale1, gate1, move2, scale2, gate2 = (modulation + self.own).to(h).unsqueeze(2).unbind(1)
        inner = torch.addcmul(move1, functional.layer_norm(h, size), 1 + scale1)
        h = torch.addcmul(h, gate1, self.attend(neighbours(inner), angles, bias))
        inner = torch.addcmul(move2, functional.layer_norm(h, size), 1 + scale2)
        return torch.addcmul(h, gate2, self.back(relu2(self.wide(neighbours(inner)))))


class Stack(nn.Module):
    """Layers in sequence, then a normalisation: (h (B, L, width), emb (B, E) or None) -> (B, L, width).

    embedding   E of the embedding that modulates all layers by one shared linear map (Chen et al. 2024, "PixArt",
                adaLN-single); 0: no modulation
    causal      position l attends to none after it
    """

    def __init__(self, width: int, depth: int, heads: int, embedding: int = 0, causal: bool = False) -> None:
        super().__init__()
        if width % (4 * heads):
            raise ValueError(f"a width of {width} must be a multiple of 4 times {heads} heads")
        self.causal = causal
        self.rotary = Rotary(width // heads)
        self.modulate = nn.Linear(embedding, 6 * width) if embedding else None
        if self.modulate is not None:
            # gates begin at 1, because a new layer is its skip by the last map of each branch
            zero(self.modulate)
            with torch.no_grad():
                self.modulate.bias.reshape(6, width)[[2, 5]] = 1
        self.layers = nn.ModuleList(Layer(width, heads, causal, bool(embedding)) for _ in range(depth))

    def forward(self, h: Tensor, emb: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """`mask`: (B, L), 0 at padding, which no other position sees."""
        angles = self.rotary.angles(h.shape[1], h.device)
        modulation = self.modulate(emb).unflatten(-1, (6, -1)) if self.modulate is not None else None
        bias = real = None
        if mask is not None:
            real = mask[..., None].to(h)
            bias = torch.zeros(mask.shape, dtype=h.dtype, device=h.device).masked_fill(mask == 0, -1e4)[:, None, None]
        if self.causal:
            after = torch.full((h.shape[1], h.shape[1]), -1e4, dtype=h.dtype, device=h.device).triu(1)
            bias = after if bias is None else bias + after
        for layer in self.layers:
            h = layer(h, modulation, angles, bias, real)
        return functional.layer_norm(h, h.shape[-1:])


class Transformer(Conditioned):
    """Bidirectional transformer: (x (B, C, L), c_noise (B,), cond) -> (B, L, outputs).

    cond: label (B,) int64 when labels > 0; mask (B, 1, L), 0 at padding. The last linear map starts at 0.
    """

    def __init__(
        self, channels: int, outputs: int, width: int, depth: int, heads: int, labels: int = 0, embedding: int = 128
    ) -> None:
        super().__init__(embedding, labels, divisor=1)
        self.first = nn.Linear(channels, width)
        self.stack = Stack(width, depth, heads, embedding)
        self.head = zero(nn.Linear(width, outputs))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        mask = cond["mask"].flatten(1) if "mask" in cond else None
        h = self.stack(self.first(x.transpose(1, 2)), self.embed(c_noise, cond), mask)
        output: Tensor = self.head(h)
        return output


def heads_of(width: int) -> int:
    """Return the number of heads of about 64 channels each."""
    return max(1, math.gcd(width // 4, max(1, width // 64)))
