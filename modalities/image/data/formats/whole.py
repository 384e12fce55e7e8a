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

    def __init__(self, image: Image.Image, again: deep.Again) -> None:
        self._opened, self._again, self._deep = image, again, deep.is_deep(image)
        needed = bytes_of(image)
        if needed > MAX_BYTES:
            width, height = image.size
            instead = _INSTEAD.get(image.format or "", f"as {'PNG' if image.mode == 'RGBA' else 'JPEG'}")
            raise TooLarge(
                f"{width} x {height} pixels of {image.format} take {needed / 1e6:.0f} MB to decode; "
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


def bytes_of(image: Any) -> float:
    """Return about how many bytes are taken to decode a picture, by its header."""
    pixels = image.size[0] * image.size[1]
    if image.format in _CODEC_BYTES:
        return pixels * (_CODEC_BYTES[image.format] + 4 * (getattr(image, "n_frames", 1) > 1))
    # 16 bits of colour are two pictures of 8; of a TIFF there is a copy where it is turned, or libtiff has one of a
    # strip, which may be all of it
    copies = 1 + deep.is_deep_colour(image) + (image.format == "TIFF")
    return pixels * float(_MODE_BYTES.get(image.mode, 4) * copies)


def _webp(image: Any) -> Iterator[Band]:
    """Yield the rows of a WEBP; its decoder is gone before there is a picture beside what it gave."""
    width, height = image.size
    if not hasattr(image, "_get_next") or image.mode not in ("RGB", "RGBA"):
        image.load()
        yield from bands.of_image(image)
        return
    data, form = memoryview(image._get_next()[0]), image.rawmode
    image._decoder = None
    step = bands.rows_at_once(width, 4)
    for top in range(0, height, step):
        rows = min(step, height - top)
        part = data[4 * width * top : 4 * width * (top + rows)]
        yield Image.frombytes(image.mode, (width, rows), part, "raw", form)
