"""Networks for waveforms: a strided, dilated UNet that is fast on a CPU, and DiffWave, which is the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.blocks import Conv, Unfold, norm, zero
from toolkit.nn.conditioned import Conditioned
from toolkit.nn.unet import Trunk

BANDS = 15
"""Taps of the filters that divide x into bands."""


class Mel(nn.Module):
    """A mel spectrogram as features for levels of other rates: (B, mels, frames) -> one (B, width, L / stride) each.

    Two convolutions at the spectrogram's own rate, then a projection for each level, repeated or averaged in time.
    """

    def __init__(self, mels: int, hidden: int, widths: Sequence[int], factors: Sequence[float]) -> None:
        """`factors`: positions of each level for every frame, below 1 where frames are finer."""
        super().__init__()
        self.body = nn.Sequential(Conv(1, mels, hidden, 5), nn.SiLU(), Conv(1, hidden, hidden), nn.SiLU())
        self.out = nn.ModuleList(Conv(1, hidden, width, 1) for width in widths)
        self.factors = tuple(factors)

    def forward(self, mel: Tensor) -> list[Tensor]:
        h = self.body(mel)
        return [_resized(out(h), factor) for out, factor in zip(self.out, self.factors, strict=True)]


class Position(nn.Module):
    """Where in the sound each position is, as features for each level: length L -> one (1, width, L / step) each.

    cos and sin of the sample number at periods of 256 to 2^17 samples, projected. A convolution knows where it is only
    near an edge, and attention not at all; but a drum is loud at its beginning.
    """

    periods = [2.0**k for k in range(8, 18)]

    def __init__(self, widths: Sequence[int], steps: Sequence[int]) -> None:
        """`steps`: samples from one position of each level to the next."""
        super().__init__()
        self.steps = tuple(steps)
        self.out = nn.ModuleList(nn.Linear(2 * len(self.periods), width) for width in widths)

    def forward(self, length: int, like: Tensor) -> list[Tensor]:
        features = []
        for step, out in zip(self.steps, self.out, strict=True):
            place = torch.arange(0, length, step, dtype=torch.float64, device="cpu")[:, None]
            phase = 2 * math.pi * place / torch.tensor(self.periods, dtype=torch.float64)
            features.append(out(torch.cat([phase.cos(), phase.sin()], 1).to(like)).T[None])
        return features


def _resized(h: Tensor, factor: float) -> Tensor:
    if factor >= 1:
        return h.repeat_interleave(int(factor), dim=-1)
    return functional.avg_pool1d(h, round(1 / factor))


class WaveUNet(Conditioned):
    """(x (B, C, L), c_noise (B,), cond) -> (B, C, L); the convolutions at full rate are few and thin.

    stem        stride of the first convolution, whose kernel is twice that, so that its windows overlap
    tail        bands of x at full rate: the trunk says, at every sample, how much of each stays and what is new in it
    mels, hop   with mels > 0, cond["mel"] is (B, mels, L / hop)
    cond: label (B,) int64 when labels > 0; each of `numbers`, (B,) in [0, 1]. The rest: see `Trunk`.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: int | Sequence[int] = 2,
        stem: int = 8,
        tail: int = 16,
        dilations: Sequence[int] = (1, 2, 4, 8),
        attention: Sequence[int] = (-1,),
        labels: int = 0,
        mels: int = 0,
        hop: int = 1,
        embedding: int | None = None,
        dropout: float = 0.0,
        numbers: Sequence[str] = (),
        norm: Callable[[int], nn.Module] = norm,
    ) -> None:
        embedding = embedding or 2 * max(widths)
        super().__init__(embedding, labels, divisor=stem * math.prod(strides), numbers=numbers)
        self.stem = Conv(1, channels, widths[0], 2 * stem, stride=stem)
        scales = [stem * math.prod(strides[:i]) for i in range(len(widths))]
        self.mel = Mel(mels, max(widths), widths, [hop / scale for scale in scales]) if mels else None
        self.position = Position(widths, scales)
        # nearest neighbours would give all places within a coarse position the same features, and with them no waveform
        self.trunk = Trunk(1, widths, embedding, blocks, strides, attention, dilations, 3, dropout, norm, Unfold)
        self.norm = norm(widths[0])
        self.bands = Conv(1, channels, tail, BANDS)
        self.expand = Unfold(widths[0], 2 * tail, stem)
        self.head = zero(Conv(1, tail, channels, 7))
        self.receptive_field = _field(
            stem, strides, [blocks] * len(widths) if isinstance(blocks, int) else blocks, dilations
        )
        self.global_attention = bool(attention)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        self.check(x)
        h = self.stem(x)
        local = self.position(x.shape[-1], h)
        if self.mel is not None:
            local = [a + b for a, b in zip(local, self.mel(cond["mel"].to(h)), strict=True)]
        h = functional.silu(self.norm(self.trunk(h, self.embed(c_noise, cond), local)))
        # most of a sound is silent in most bands, and there the noise has to go: so how much of each band of x stays is
        # a product, which layers that add would have to imitate
        keep, new = self.expand(h).chunk(2, dim=1)
        output: Tensor = self.head(keep * self.bands(x) + new)
        return output


def _field(stem: int, strides: Sequence[int], blocks: Sequence[int], dilations: Sequence[int]) -> int:
    """Samples of x that one output sample depends on through convolutions: 1 + sum of (kernel - 1) * step.

    Strides round it, by less than a position of the coarsest level at each end.
    """
    field, step = 1 + 6 + (2 * stem - 1), stem  # the head and the stem
    field += 2 * step  # sub-pixel layer
    for i, count in enumerate(blocks):
        rates = [dilations[j % len(dilations)] for j in range(2 * count)]
        field += 2 * 2 * sum(rates) * step  # down and up
        if i < len(strides):
            field += (2 * strides[i] - 1) * step  # down
            step *= strides[i]
            field += 2 * step  # up
    return field + 2 * 2 * step  # middle


class DiffWave(Conditioned):
    """DiffWave (Kong et al. 2021, section 3.1 and appendix C): (x (B, C, L), c_noise (B,), cond) -> (B, C, L).

    Layer i: y = h + linear(emb); a dilated convolution (kernel 3, dilation 2^(i mod cycle)) to 2 width channels, plus
    a projection of the mel spectrogram; sigmoid of one half times tanh of the other; a projection to residual and
    skip. h = (h + residual) / sqrt 2, and the output is made of the sum of all skips. No position is ever skipped:
    8 layers width^2 multiply-adds a sample.

    What differs from the paper: the noise level enters as c_noise through Fourier features, so any schedule fits.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        layers: int = 30,
        cycle: int = 10,
        labels: int = 0,
        mels: int = 0,
        hop: int = 1,
        numbers: Sequence[str] = (),
    ) -> None:
        super().__init__(512, labels, divisor=max(1, hop) if mels else 1, features=128, numbers=numbers)
        self.hop = hop
        self.dilations = [2 ** (i % cycle) for i in range(layers)]
        self.first = Conv(1, channels, width, 1)
        self.step = nn.ModuleList(nn.Linear(512, width) for _ in self.dilations)
        self.dilated = nn.ModuleList(Conv(1, width, 2 * width, 3, dilation=d) for d in self.dilations)
        self.mel = nn.ModuleList(Conv(1, mels, 2 * width, 1) for _ in self.dilations) if mels else None
        self.out = nn.ModuleList(Conv(1, width, 2 * width, 1) for _ in self.dilations)
        self.last = Conv(1, width, width, 1)
        self.head = zero(Conv(1, width, channels, 1))
        self.receptive_field = 1 + 2 * sum(self.dilations)
        self.global_attention = False
        for module in (self.first, *self.dilated, *self.out, self.last):
            nn.init.kaiming_normal_(module.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        self.check(x)
        emb = self.embed(c_noise, cond)
        h = functional.relu(self.first(x))
        total = torch.zeros_like(h)
        for i, (step, dilated, out) in enumerate(zip(self.step, self.dilated, self.out, strict=True)):
            y = dilated(h + step(emb)[:, :, None])
            if self.mel is not None:
                y = y + self.mel[i](cond["mel"].to(h)).repeat_interleave(self.hop, dim=-1)
            gate, value = y.chunk(2, dim=1)
            residual, skip = out(torch.sigmoid(gate) * torch.tanh(value)).chunk(2, dim=1)
            h = (h + residual) / math.sqrt(2)
            total = total + skip
        output: Tensor = self.head(functional.relu(self.last(total / math.sqrt(len(self.dilations)))))
        return output
