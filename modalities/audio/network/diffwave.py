"""DiffWave, the reference among networks for waveforms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.blocks import Conv, zero
from toolkit.nn.conditioned import Conditioned


class DiffWave(Conditioned):
    """DiffWave (Kong et al. 2021, section 3.1 and appendix C): (x (B, C, L), c_noise (B,), cond) -> (B, C, L).

    Layer i: y = h + linear(emb); a dilated convolution (kernel 3, dilation 2^(i mod cycle)) to 2 width channels, plus
    a projection of the mel spectrogram; sigmoid of one half times tanh of the other; a projection to residual and
    skip. h = (h + residual) / sqrt 2, and the output is made of the sum of all skips. There are no strides:
    8 layers width^2 multiply-adds a sample.

    Unlike in the paper, the noise level enters as c_noise through Fourier features, so any schedule fits.
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
