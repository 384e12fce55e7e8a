"""One decoded picture at the size, and with the channels, that all pictures of a set get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from modalities.image.data import geometry
from modalities.image.data.formats import bands
from modalities.image.data.geometry import Fit, Placement, Size
from modalities.image.data.levels import Ranges

INVISIBLE = 8
"""Levels that a picture must vary by on its background to be seen."""
_ORIENTATION_TAG = 0x0112
SIDEWAYS = (5, 6, 7, 8)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Plan:
    """Form into which every picture of a set is brought."""

    size: Size
    channels: int = 3
    """1 = grey, 2 = grey and alpha, 3 = RGB, 4 = RGB and alpha."""
    fit: Fit = "crop"
    background: int = 255
    """Level that transparent pictures are laid on, and of borders."""
    ranges: Ranges = field(default_factory=dict)


class Picture(NamedTuple):
    """One picture."""

    pixels: np.ndarray
    """(C, H, W) uint8."""
    transparent: bool = False
    """True where any of it is."""
    vanished: bool = False
    """True where its shape is in the transparency alone, and nothing of it is seen on the background."""


def finish(image: Image.Image, plan: Plan, turn: Image.Transpose | None = None) -> Picture:
    """Return a picture in L, LA, RGB or RGBA at its size, turned and with the channels of `plan`."""
    box, inner = _place(image.size, plan, turn)
    if image.mode == "LA":
        image = image.convert("RGBA")
    if box != (0, 0, *inner) or image.size != inner:  # alpha is weighted: Pillow multiplies by it and divides again
        image = image.resize(inner, Image.Resampling.BICUBIC, box=box, reducing_gap=bands.GAP)
    return _convert(image, plan, turn)


def finish_bands(images: Iterator[Image.Image], size: Size, plan: Plan, turn: Image.Transpose | None = None) -> Picture:
    """Return the same of a picture of `size` in bands of rows, in L, RGB or RGBA; it is larger than its target."""
    box, inner = _place(size, plan, turn)
    return _convert(bands.resize(images, size, inner, box), plan, turn)


def _place(size: Size, plan: Plan, turn: Image.Transpose | None) -> Placement:
    target = plan.size[::-1] if turn in {UPRIGHT[i] for i in SIDEWAYS} else plan.size
    return geometry.place(size, target, plan.fit)


def _convert(image: Image.Image, plan: Plan, turn: Image.Transpose | None) -> Picture:
    # Turning a centred part after resizing equals turning the whole picture before, at a fraction of the cost.
    if turn is not None:
        image = image.transpose(turn)
    transparent = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] < 255  # type: ignore[operator]
    keeps, vanished = plan.channels in (2, 4), False
    if image.mode == "RGBA" and not keeps:
        vanished = transparent and _varies(image.getchannel("A"))
        image = Image.alpha_composite(Image.new("RGBA", image.size, (plan.background,) * 3 + (255,)), image)
        vanished = vanished and not _varies(image.convert("RGB"))
    array = np.array(image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[plan.channels]))
    array = array.reshape(image.size[1], image.size[0], plan.channels)
    if keeps and transparent:
        array[array[..., -1] == 0, :-1] = plan.background  # what cannot be seen could be anything
    return Picture(_add_borders(array.transpose(2, 0, 1), plan), transparent, vanished)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, by default 1 (upright). Read it after load(): Pillow itself turns TIFFs."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata does not make a picture unusable
        return 1


def resizable(image: Image.Image) -> Image.Image:
    """Return the picture in L, RGB or RGBA, modes that `resize` supports."""
    alpha = image.has_transparency_data
    if image.mode == "RGBA" or (image.mode in ("L", "RGB") and not alpha):
        return image  # convert() would copy it
    if alpha:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _varies(image: Image.Image) -> bool:
    """Return True where any channel has values that are further apart than `INVISIBLE`."""
    array = np.asarray(image)
    return bool((array.max((0, 1)).astype(int) - array.min((0, 1)) > INVISIBLE).any())


def _add_borders(pixels: np.ndarray, plan: Plan) -> np.ndarray:
    """Return (C, h, w) in the middle of (C, H, W), on the background, which is transparent where there is alpha."""
    across, down = plan.size
    _, height, width = pixels.shape
    if (height, width) == (down, across):
        return np.ascontiguousarray(pixels)
    whole = np.full((plan.channels, down, across), plan.background, dtype=np.uint8)
    if plan.channels in (2, 4):
        whole[-1] = 0
    top, left = (down - height) // 2, (across - width) // 2
    whole[:, top : top + height, left : left + width] = pixels
    return whole
