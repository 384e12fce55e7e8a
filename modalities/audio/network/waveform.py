"""UNet over time and frequency for waveforms, fast on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from modalities.audio.network.cells import Cells, gather, scatter
from modalities.audio.network.position import Position
from modalities.audio.network.power import MAX_DEVIATIONS, POWERS, features, gain, level, noise_share
from toolkit.nn.blocks import Conv, norm, zero
from toolkit.nn.conditioned import Conditioned
from toolkit.nn.unet import Trunk


class Mel(nn.Module):
    """Encoder of a mel spectrogram: (B, mels, frames) -> finest level's features (B, width, frames / ratio, rows).

    Two convolutions at the spectrogram's own rate; then all frames of one patch make that patch's features.
    `power`: (B, mels, frames) -> the log power of each band (B, bands, frames).
    """

    def __init__(self, mels: int, hidden: int, width: int, rows: int, ratio: int, power: nn.Module, bands: int) -> None:
        super().__init__()
        self.rows, self.ratio = rows, ratio
        self.power = power
        self.offset = nn.Parameter(torch.zeros(bands))
        self.body = nn.Sequential(Conv(1, mels, hidden, 5), nn.SiLU(), Conv(1, hidden, hidden), nn.SiLU())
        self.out = Conv(1, hidden * ratio, width * rows, 1)

    def forward(self, mel: Tensor) -> Tensor:
        h = self.body(functional.pad(mel, (0, -mel.shape[-1] % self.ratio)))
        h = h.unflatten(-1, (-1, self.ratio)).transpose(2, 3).flatten(1, 2)
        return self.out(h).unflatten(1, (-1, self.rows)).transpose(2, 3)

    def expected(self, mel: Tensor, frames: int) -> Tensor:
        """Return the log power expected in the middle of cells, with a learned correction: (B, 1, frames, bands)."""
        power = self.power(mel)
        # frame i of the spectrogram is centred on i hops, a cell between two of its own
        power = torch.logaddexp(power, functional.pad(power[..., 1:], (0, 1), mode="replicate")) - math.log(2)
        power = functional.interpolate(power, frames, mode="linear")
        return (power.transpose(1, 2) + POWERS * self.offset).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS).unsqueeze(1)


class WaveUNet(Conditioned):
    """(x (B, C, L), c_noise (B,), cond) -> (B, C, L): a UNet over cells of time and frequency, for `edm` prediction.

    x is divided into cells (`Cells`: `hop` samples by as many bands), of which `patch` (time, frequency) make a place
    of the finest level. The network's input is each cell, with its phase and power relative to the noise, since the
    relevant levels of a sound span 60 dB. It predicts the power of the real and of the imaginary part of each cell,
    which determines a Wiener filter for them, and adds a term that no such filter gives.

    strides     in time and in frequency alike; the number of places in frequency is a multiple of their product
    treble      (edge, bands): from band `edge` on, a place of the finest level has so many bands, as hearing and most
                sounds know fewer differences there
    mels        with mels > 0, cond["mel"] is (B, mels, L / mel_hop), and mel_hop divides hop * patch[0];
                `mel_power` converts it to power (`Mel`), to which predictions are then relative
    cond: label (B,) int64 when labels > 0; each of `numbers`, (B,) in [0, 1]. The rest: see `Trunk`.
    L is a multiple of hop. Places are padded with silence to whole patches and strides, and the padding is dropped.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: int | Sequence[int] = 1,
        hop: int = 128,
        patch: tuple[int, int] = (4, 4),
        treble: tuple[int, int] | None = None,
        attention: Sequence[int] = (-1,),
        labels: int = 0,
        mels: int = 0,
        mel_hop: int = 1,
        mel_power: nn.Module | None = None,
        embedding: int | None = None,
        dropout: float = 0.0,
        numbers: Sequence[str] = (),
        norm: Callable[[int], nn.Module] = norm,
    ) -> None:
        embedding = embedding or 2 * max(widths)
        super().__init__(embedding, labels, divisor=hop, numbers=numbers)
        self.cells = Cells(hop)
        self.patch = patch
        self.edge, wide = treble or (hop, 1)
        self.wide = (patch[0], wide)
        self.whole = patch[0] * math.prod(strides)
        if bool(mels) != (mel_power is not None):
            raise ValueError(f"mels and mel_power go together (see `Mel`), got {mels} and {mel_power}")
        steps = [hop * patch[0] * math.prod(strides[:i]) for i in range(len(widths))]
        self.rows = self.edge // patch[1]
        high = (hop - self.edge) // wide
        rows = [(self.rows + high) // math.prod(strides[:i]) for i in range(len(widths))]
        each = 5 * channels + bool(mels)
        self.stem = Conv(2, each * math.prod(patch), widths[0], 1)
        self.stem_high = Conv(2, each * math.prod(self.wide), widths[0], 1) if treble else None
        self.position = Position(widths, steps, rows)
        self.mel = None
        if mel_power is not None:
            self.mel = Mel(mels, max(widths), widths[0], rows[0], steps[0] // mel_hop, mel_power, hop)
        self.trunk = Trunk(2, widths, embedding, blocks, strides, attention, (1,), 3, dropout, norm, grow=1)
        self.norm = norm(widths[0])
        self.head = zero(Conv(2, widths[0], 4 * channels * math.prod(patch), 3))
        self.head_high = zero(Conv(2, widths[0], 4 * channels * math.prod(self.wide), 1)) if treble else None
        counts = [blocks] * len(widths) if isinstance(blocks, int) else blocks
        self.receptive_field = _field(hop, steps, strides, counts)
        self.global_attention = bool(attention)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        self.check(x)
        cells = self.cells(x)
        frames = cells.shape[2]
        cells = functional.pad(cells, (0, 0, 0, -frames % self.whole))
        inputs, expected = features(cells, c_noise), torch.zeros((), device=x.device)
        if self.mel is not None:
            expected = self.mel.expected(cond["mel"], frames)
            expected = functional.pad(expected, (0, 0, 0, cells.shape[2] - frames), value=-MAX_DEVIATIONS)
            noise = noise_share(c_noise, 4)
            inputs = torch.cat([inputs, level(expected.exp() * (1 - noise) / noise)], 1)
        h = self._places(inputs)
        local = self.position(cells.shape[2] * self.cells.hop, h)
        if self.mel is not None:
            mel = self.mel(cond["mel"].to(h))
            local[0] = local[0] + functional.pad(mel, (0, 0, 0, h.shape[2] - mel.shape[2]))
        h = self.trunk(h, self.embed(c_noise, cond), local, cond.get("dropout"))
        h = functional.silu(self.norm(h))
        # float32 under autocast too: in loud cells the result is a small difference
        power, new = self._outputs(h).chunk(2, dim=1)
        gains = gain(power, c_noise, expected)
        return self.cells.inverse((gains * cells + new)[:, :, :frames]).to(x)

    def _places(self, inputs: Tensor) -> Tensor:
        """Return the features of places: (B, 5 C, T, F) -> (B, width, T / patch, rows)."""
        if self.stem_high is None:
            output: Tensor = self.stem(gather(inputs, self.patch))
            return output
        low = self.stem(gather(inputs[..., : self.edge], self.patch))
        return torch.cat([low, self.stem_high(gather(inputs[..., self.edge :], self.wide))], 3)

    def _outputs(self, h: Tensor) -> Tensor:
        """Return what the heads say of each cell: (B, width, T / patch, rows) -> (B, 4 C, T, F) float32."""
        if self.head_high is None:
            return scatter(self.head(h).float(), self.patch)
        low = self.head(h[..., : self.rows + 1])[..., :-1]  # which sees the lowest row of the treble
        high = self.head_high(h[..., self.rows :])
        return torch.cat([scatter(low.float(), self.patch), scatter(high.float(), self.wide)], 3)


def _field(hop: int, steps: Sequence[int], strides: Sequence[int], blocks: Sequence[int]) -> int:
    """Return the samples of x that one output sample depends on through convolutions: 1 + sum of (kernel - 1) * step.

    Strides and patches round it, by less than a place of the coarsest level at each end.
    """
    field = 1 + 2 * (2 * hop - 1) + 2 * steps[0]  # the windows of both transforms, and the head
    for i, (count, step) in enumerate(zip(blocks, steps, strict=True)):
        field += 2 * 2 * 2 * count * step  # down and up, two convolutions of kernel 3 each
        if i < len(strides):
            field += (2 * strides[i] - 1) * step  # to the next level; on the way back a place sees itself
    return field + 2 * 2 * steps[-1]  # middle
