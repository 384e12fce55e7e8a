"""Networks for sounds: presets of the UNet over time and frequency, the dilated UNet in time alone, and DiffWave."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from modalities.audio.mel import MelSpec, Power
from modalities.audio.network.diffwave import DiffWave
from modalities.audio.network.dilated import DilatedUNet
from modalities.audio.network.waveform import WaveUNet
from modalities.audio.options import Model

NUMBERS = ("seconds",)
HOP = 128
"""Samples from one frame of cells to the next, and bands in frequency; twice as many above `HIGHEST`."""
HIGHEST = 24_000
"""Sample rate in Hz."""
TREBLE = (80, 22)
"""Above `HIGHEST`: band from which places are wider, and their bands; at 44.1 kHz from 6.9 kHz on, 1.9 kHz wide."""


@dataclass(frozen=True)
class Preset:
    """Widths of the levels in multiples of `width`, strides between them in time and frequency, residual blocks."""

    width: int
    levels: tuple[float, ...]
    strides: tuple[int, ...]
    blocks: tuple[int, ...]

    def widths(self, width: int | None) -> list[int]:
        """Return the channels of each level; `width`: those of the first, in place of the preset's."""
        return [round((width or self.width) * level) for level in self.levels]


PRESETS = {
    "tiny": Preset(width=32, levels=(1, 2, 3), strides=(2, 2), blocks=(1, 1, 1)),
    "small": Preset(width=48, levels=(1, 2, 3), strides=(2, 2), blocks=(1, 1, 1)),
    "base": Preset(width=96, levels=(1, 2, 3), strides=(2, 2), blocks=(2, 2, 2)),
}
DILATED = Preset(width=64, levels=(1, 1.5, 2), strides=(2, 2), blocks=(1, 1, 1))


def build(
    model: Model, channels: int, labels: int, mel: MelSpec | None = None, std: float = 1.0, rate: int = 16_000
) -> nn.Module:
    """Return the network of a [model] section: (B, C, L) -> (B, C, L), L a multiple of 256.

    `mel`: condition of a vocoder, None for others; `std`: deviation of sounds before encoding; `rate`: in Hz.
    """
    bands, hop = (mel.mels, mel.hop) if mel else (0, 1)
    if model.preset == "diffwave":
        return DiffWave(channels, model.width or 64, labels=labels, mels=bands, hop=hop, numbers=NUMBERS)
    preset = DILATED if model.preset == "dilated" else PRESETS[model.preset]
    widths = preset.widths(model.width)
    if model.preset == "dilated":
        return DilatedUNet(
            channels,
            widths,
            preset.strides,
            preset.blocks,
            labels=labels,
            hop=HOP,
            dropout=model.dropout,
            numbers=NUMBERS,
        )
    cells = HOP if rate <= HIGHEST else 2 * HOP
    return WaveUNet(
        channels,
        widths,
        preset.strides,
        preset.blocks,
        labels=labels,
        mels=bands,
        mel_hop=hop,
        mel_power=Power(mel, cells, std) if mel else None,
        hop=cells,
        treble=TREBLE if cells > HOP else None,
        dropout=model.dropout,
        numbers=NUMBERS,
    )


def reach(net: nn.Module) -> tuple[int, bool]:
    """Return the receptive field of the convolutions in samples, and True where attention adds all other samples."""
    if not isinstance(net, WaveUNet | DilatedUNet | DiffWave):
        raise TypeError(f"no receptive field is known for {type(net).__name__}")
    return net.receptive_field, net.global_attention
