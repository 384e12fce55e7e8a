"""What people see of pictures on their way."""

from __future__ import annotations

import PIL.Image
from torch import Tensor

from modalities.image.view import picture
from toolkit.view import View


class ImageView(View):
    """A row for each picture."""

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """A row for each picture, from noise to picture: (T, B, C, H, W) uint8."""
        return picture.strip(moments)
