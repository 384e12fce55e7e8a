"""Networks for pictures: presets of the shared UNet."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from modalities.image.network.ddpm import DDPMUNet
from modalities.image.options import Model
from toolkit.errors import UsageError
from toolkit.nn import UNet


@dataclass(frozen=True)
class Preset:
    """Widths of the levels in multiples of `width`, and the levels with attention."""

    width: int
    levels: tuple[int, ...]
    blocks: int
    stem: int
    attention: tuple[int, ...]
    embedding: int


# parameters are for 28 x 28 grey pictures with 10 labels
PRESETS = {
    "tiny": Preset(width=32, levels=(1, 2), blocks=1, stem=2, attention=(-1,), embedding=128),  # 0.5 M
    "small": Preset(width=48, levels=(1, 2), blocks=2, stem=2, attention=(-1,), embedding=128),  # 1.6 M
    "base": Preset(width=96, levels=(1, 2, 2), blocks=2, stem=2, attention=(-1, -2), embedding=384),  # 12 M
}


def build(model: Model, shape: tuple[int, ...], labels: int) -> nn.Module:
    """Return the network of a [model] section for pictures of `shape` (C, H, W). Raises UsageError."""
    channels = shape[0]
    if model.preset == "ddpm":
        # Ho et al. (2020) for 32 x 32, made for a GPU: full resolution, attention at 16 x 16
        if model.stem not in (None, 1):
            raise UsageError("preset 'ddpm' works at full resolution; leave model.stem out, or take preset base")
        return DDPMUNet(2, channels, model.width or 128, labels=labels, dropout=model.dropout)
    return _strided_unet(PRESETS[model.preset], model, channels, labels)


def _strided_unet(preset: Preset, model: Model, channels: int, labels: int) -> UNet:
    base = model.width or preset.width
    return UNet(
        dims=2,
        channels=channels,
        widths=[base * level for level in preset.levels],
        blocks=preset.blocks,
        stem=model.stem or preset.stem,
        attention=preset.attention,
        labels=labels,
        embedding=preset.embedding,
        dropout=model.dropout,
    )
