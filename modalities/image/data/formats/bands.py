"""A picture that comes in bands of rows, resized as `Image.resize` would the whole, of which there is never more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from modalities.image.data.geometry import Size

Band = Image.Image | np.ndarray
"""Rows of a picture; an array where they have more than 8 bits a channel."""
Bands = Callable[[], Iterator[Band]]
"""Reads a picture anew, from top to bottom."""
Box = tuple[float, float, float, float]
GAP = 3.0
"""Factor by which a picture stays larger than its target when it is reduced by whole pixels first."""
_BYTES = 4 << 20
_WHOLE_PIXELS = 32_000_000
"""Up to so many pixels all of a picture is kept where nothing is reduced: Pillow filters across or down first depending
on the shape of the whole."""
_SUPPORT = 2.0
"""Pixels that a bicubic filter reaches, at the scale of the smaller picture."""


def rows_at_once(width: int, pixel_bytes: float) -> int:
    """Return how many rows of a picture are handled at once."""
    return max(1, int(_BYTES / (width * pixel_bytes)))


def of_image(image: Image.Image) -> Iterator[Image.Image]:
    """Yield the bands of a picture that is in memory, for what copies it."""
    width, height = image.size
    step = rows_at_once(width, 4)
    for top in range(0, height, step):
        yield image.crop((0, top, width, min(top + step, height)))


def resize(images: Iterator[Image.Image], size: Size, target: Size, box: Box) -> Image.Image:
    """Return what `Image.resize(target, BICUBIC, box, GAP)` makes of a picture of `size` in L, RGB or RGBA.

    It reduces the part in the box by whole pixels, here band by band, to at most 6 times the target, then filters that.
    All bands are taken, those below the box too: damage there is seen.
    """
    across, down = ((box[i + 2] - box[i]) / target[i] for i in (0, 1))
    factors = (int(across / GAP) or 1, int(down / GAP) or 1)
    left, right = _reach(box[0], box[2], across, size[0])
    top, bottom = _reach(box[1], box[3], down, size[1])
    if factors == (1, 1) and size[0] * size[1] <= _WHOLE_PIXELS:
        left, top, right, bottom = 0, 0, *size
    whole: Any = None
    done, rows_read = 0, 0
    for part in _blocks(images, top, bottom, factors[1]):
        band = part.convert("RGBa") if part.mode == "RGBA" else part
        band = band.reduce(factors, (left, 0, right, band.height))
        if whole is None:
            whole = Image.new(band.mode, (band.width, -(-(bottom - top) // factors[1])))
        whole.paste(band, (0, done))
        done, rows_read = done + band.height, rows_read + part.height
    if rows_read != bottom - top:
        raise OSError("image file is truncated")
    # a box that Pillow gets as it is, it rounds to 32 bits; here before the box is moved
    ends = [float(np.float32(end)) for end in box] if factors == (1, 1) else box
    inner = tuple((ends[i] - (left, top)[i % 2]) / factors[i % 2] for i in range(4))
    whole = whole.resize(target, Image.Resampling.BICUBIC, inner)
    return whole.convert("RGBA") if whole.mode == "RGBa" else whole


def _reach(low: float, high: float, scale: float, end: int) -> tuple[int, int]:
    """Return the pixels that a filter over low..high needs, as Pillow's resize counts them."""
    support = (_SUPPORT - 0.5) * scale
    return max(0, int(low - support)), min(end, math.ceil(high + support))


def _blocks(images: Iterator[Image.Image], top: int, bottom: int, multiple: int) -> Iterator[Image.Image]:
    """Yield the rows from top to bottom anew, in bands that are multiples of `multiple` high, the last one excepted."""
    at, rest = 0, None
    for image in images:
        width, height = image.size
        first, last = max(0, top - at), min(height, bottom - at)
        at += height
        if first >= last:
            continue
        part = image if (first, last) == (0, height) else image.crop((0, first, width, last))
        if rest is not None:
            part = _stack(rest, part)
        usable = part.height if at >= bottom else part.height // multiple * multiple
        rest = None if usable == part.height else part.crop((0, usable, width, part.height))
        if usable:
            yield part if rest is None else part.crop((0, 0, width, usable))


def _stack(above: Image.Image, below: Image.Image) -> Image.Image:
    whole = Image.new(above.mode, (above.width, above.height + below.height))
    whole.paste(above, (0, 0))
    whole.paste(below, (0, above.height))
    return whole
