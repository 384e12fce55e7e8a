"""Large pictures that only their decoder as a whole can read; what copies them then takes bands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image

from modalities.image.data import canvas
from modalities.image.data.formats import bands, deep
from modalities.image.data.formats.bands import Band
from modalities.image.data.geometry import Size
from toolkit.errors import ToolkitError

MAX_BYTES = 400_000_000
"""Most memory that the decoder of one picture may take."""
_CODEC_BYTES = {"WEBP": 12.0, "AVIF": 8.8}
"""A pixel, as measured by benchmarks/large_pictures.py; libwebp holds two canvases beside the result."""
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_INSTEAD = {"PNG": "without interlacing", "TIFF": "upright, in strips of few rows"}


class TooLarge(ToolkitError):
    """A picture that takes more memory than it may."""


class Whole:
    """A picture that was opened. Raises TooLarge."""

    def __init__(self, opened: Image.Image, again: deep.Again) -> None:
        self._opened, self._again, self._deep = opened, again, deep.is_deep(opened)
        needed = bytes_of(opened)
        if needed > MAX_BYTES:
            width, height = opened.size
            instead = _INSTEAD.get(opened.format or "", f"as {'PNG' if opened.mode == 'RGBA' else 'JPEG'}")
            raise TooLarge(
                f"{width} x {height} pixels of {opened.format} take {needed / 1e6:.0f} MB to decode; "
                f"save it smaller or {instead}"
            )

    def bands(self) -> Iterator[Band]:
        """Decode the picture and yield its rows."""
        if self._deep:
            self._opened = self._again()
            yield from deep.bands(self._opened, self._again, bands.rows_at_once(self._opened.size[0], 8))
        elif self._opened.format == "WEBP" and getattr(self._opened, "n_frames", 1) == 1:
            yield from _webp(self._opened)
        else:
            self._opened.load()
            yield from bands.of_image(self._opened)

    def shape(self) -> tuple[Size, int]:
        """Return size and EXIF orientation, once the first rows are there."""
        return self._opened.size, canvas.orientation(self._opened)


def bytes_of(opened: Any) -> float:
    """Return about how many bytes are taken to decode a picture, by its header."""
    pixels = opened.size[0] * opened.size[1]
    if opened.format in _CODEC_BYTES:
        return pixels * (_CODEC_BYTES[opened.format] + 4 * (getattr(opened, "n_frames", 1) > 1))
    # 16 bits of colour are two pictures of 8; of a TIFF there is a copy where it is turned, or libtiff has one of a
    # strip, which may be all of it
    copies = 1 + deep.is_deep_colour(opened) + (opened.format == "TIFF")
    return pixels * float(_MODE_BYTES.get(opened.mode, 4) * copies)


def _webp(opened: Any) -> Iterator[Band]:
    """Yield the rows of a WEBP; its decoder is gone before there is a picture beside what it gave."""
    width, height = opened.size
    if not hasattr(opened, "_get_next") or opened.mode not in ("RGB", "RGBA"):
        opened.load()
        yield from bands.of_image(opened)
        return
    data, form = memoryview(opened._get_next()[0]), opened.rawmode
    opened._decoder = None
    step = bands.rows_at_once(width, 4)
    for top in range(0, height, step):
        rows = min(step, height - top)
        part = data[4 * width * top : 4 * width * (top + rows)]
        yield Image.frombytes(opened.mode, (width, rows), part, "raw", form)
