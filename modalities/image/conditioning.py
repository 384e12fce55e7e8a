"""Conditioning of pictures: augmentation in training."""

from __future__ import annotations

from collections.abc import Sequence

from modalities.image.data.augment import augment
from modalities.image.options import Data
from toolkit.conditioning import Conditioning
from toolkit.data.dataset import Examples
from toolkit.diffusion.randomness import Draws


class ImageConditioning(Conditioning):
    """Augmented pictures, with a label or none."""

    def __init__(self, shape: Sequence[int], data: Data) -> None:
        super().__init__(shape)
        self.data = data

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        """Crop, shift and flip by the [data] section: raw (B, C, H, W) uint8."""
        return Examples(augment(examples.raw, self.data, draws), examples.cond)
