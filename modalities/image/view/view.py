"""Strips of pictures from noise to sample."""

from __future__ import annotations

import PIL.Image
from torch import Tensor

from modalities.image.view import picture
from toolkit.view import View


class ImageView(View):
    """Strips with a row for each picture."""

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """Return a row for each picture of moments (T, B, C, H, W) uint8, from noise to picture."""
        return picture.strip(moments)
