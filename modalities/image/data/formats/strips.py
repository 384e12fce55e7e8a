"""Large pictures in bands of rows, which are read apart wherever their format allows it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from modalities.image.data import canvas
from modalities.image.data.canvas import Picture, Plan
from modalities.image.data.formats import bands, deep, strips_png, strips_tiff
from modalities.image.data.formats.bands import Band, Bands
from modalities.image.data.formats.whole import Whole
from modalities.image.data.geometry import Size
from modalities.image.data.levels import NOT_NUMBERS, Extent, Ranges, as_bytes, extent, kind_of, over_all
from toolkit.errors import ToolkitError

_BITS = {"1;I": 1, "L": 8, "RGB": 24, "I;16B": 16, "I;32B": 32, "F;32F": 32, "F;32BF": 32}
"""Bits of a pixel, by Pillow's name for how its bytes are laid out."""


class NotNumbers(ToolkitError):
    """A picture with pixels that are NaN or infinite."""


class Large(NamedTuple):
    """A picture that is not decoded yet."""

    bands: Bands
    shape: Callable[[], tuple[Size, int]]
    """Size and EXIF orientation of what the bands show, once the first is read."""


def of(image: Image.Image, stream: BinaryIO, frame: int, again: deep.Again) -> Large:
    """Return a picture that was opened and not loaded yet. Raises TooLarge."""
    size, kind = image.size, image.format
    if kind == "PNG" and frame == 0 and (header := strips_png.header(stream)):
        png = header
        about = strips_png.without_pixels
        return Large(lambda: strips_png.bands(stream, png), lambda: (size, canvas.orientation(about(png))))
    if kind == "TIFF" and canvas.orientation(image) == 1 and (layout := strips_tiff.layout(image)):
        tiff = layout
        return Large(lambda: strips_tiff.bands(stream, tiff), lambda: (size, 1))
    if kind in ("BMP", "PPM") and (lines := _lines(image, again)):
        return Large(lines, lambda: (size, canvas.orientation(image)))
    whole = Whole(image, again)
    return Large(whole.bands, whole.shape)


def decode(large: Large, plan: Plan) -> Picture:
    """Decode a picture, by the range of its own values where `plan` has none for them. Raises NotNumbers."""
    ranges, parts = plan.ranges, large.bands()
    first = next(parts)
    size, turned = large.shape()
    kind = kind_of(first.dtype) if isinstance(first, np.ndarray) else "bytes"
    if kind != "bytes" and kind not in ranges:
        whole = extent_of(itertools.chain([first], parts))
        _require_numbers(whole)
        ranges, parts = over_all([whole], ["it"], None), large.bands()
        first = next(parts)
    images = (_levels(part, ranges) for part in itertools.chain([first], parts))
    return canvas.finish_bands(images, size, plan, canvas.UPRIGHT.get(turned))


def extent_of(parts: Iterator[Band]) -> Extent:
    """Return the values of a picture of more than 8 bits."""
    whole: Extent | None = None
    for part in parts:
        one = extent(np.asarray(part))
        # numpy's minimum keeps nan, Python's does not
        low, high = (one.low, one.high) if whole is None else (whole.low, whole.high)
        whole = Extent(one.kind, float(np.minimum(low, one.low)), float(np.maximum(high, one.high)))
    return whole or Extent()


def _lines(opened: Any, again: deep.Again) -> Bands | None:
    """Return the bands of a picture without packing, whose rows are read apart, or None where it is packed."""
    if len(opened.tile) != 1 or opened.tile[0][0] != "raw":
        return None
    _, _, place, how = opened.tile[0]
    form, stride, order = (how, 0, 1) if isinstance(how, str) else how
    width, height = opened.size
    if not stride and form not in _BITS:
        return None
    stride = stride or (width * _BITS[form] + 7) // 8

    def read() -> Iterator[Band]:
        step = bands.rows_at_once(width, max(4.0, stride / width))
        for top in range(0, height, step):
            rows = min(step, height - top)
            start = place + stride * (top if order > 0 else height - top - rows)

            def part(rows: int = rows, start: int = start) -> Any:
                image: Any = again()
                image._size = (width, rows)  # as draft() of a JPEG does
                image.tile = [image.tile[0]._replace(extents=(0, 0, width, rows), offset=start)]
                return image

            yield deep.load(part)

    return read


def _levels(part: Band, ranges: Ranges) -> Image.Image:
    """Return a band in L, RGB or RGBA."""
    if not isinstance(part, np.ndarray):
        return canvas.resizable(part)
    if part.dtype.kind == "f":
        _require_numbers(extent(part))
    image = Image.fromarray(as_bytes(part, ranges))
    return image.convert("RGBA") if image.mode == "LA" else image


def _require_numbers(values: Extent) -> None:
    if not np.isfinite(values[1:]).all():
        raise NotNumbers(NOT_NUMBERS)
