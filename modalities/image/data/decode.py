"""Decoding of one picture of any size and mode to a square uint8 array, or to the reason why not.

Choices: transparent pictures are laid on white; an animation gives its first frame; EXIF orientation is applied;
16-bit grey keeps its upper 8 bits; colour profiles are ignored.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from toolkit.data.listing import printable
from toolkit.errors import ToolkitError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Parsers of Pillow that a file may reach, whatever its name."""
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
MAX_PIXELS = 64_000_000
"""Largest number of pixels; larger pictures are refused by their header, before anything is allocated."""
_LARGE_PIXELS = 8_000_000
_one_large = threading.Lock()

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(ToolkitError):
    """Reason why one picture cannot be used."""


def dimensions(stream: BinaryIO) -> tuple[int, int]:
    """Return width and height by the header. Raises any exception of Pillow."""
    with Image.open(stream, formats=FORMATS) as opened:
        return opened.size


def pixels(stream: BinaryIO, size: int, channels: int) -> np.ndarray:
    """Decode the picture in `stream` to (channels, size, size) uint8, RGB or grey.

    Raises Unreadable, or any exception of Pillow for a broken file: pass it to `reason`.
    """
    with Image.open(stream, formats=FORMATS) as opened:
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise Unreadable(f"{width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million allowed")
        large = width * height > _LARGE_PIXELS
        # A large picture takes 4 bytes a pixel or more while it is decoded: one at a time bounds the memory.
        with _one_large if large else contextlib.nullcontext():
            opened.draft(None, (2 * size, 2 * size))  # JPEG only: decodes at 1/2, 1/4 or 1/8 when that is enough
            opened.load()
            turn = _UPRIGHT.get(_orientation(opened))
            small = _square(_resizable(opened), size)
    # Turning a centred square after resizing equals turning the whole picture before, at a fraction of the cost.
    if turn is not None:
        small = small.transpose(turn)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, (255, 255, 255, 255)), small)
    array = np.asarray(small.convert("L" if channels == 1 else "RGB"))
    return np.ascontiguousarray(array.reshape(size, size, channels).transpose(2, 0, 1))


def has_colour(rgb: np.ndarray, tolerance: int = 8) -> bool:
    """Return True where any pixel of (3, H, W) uint8 is not grey; lossy formats miss grey by a few levels."""
    return bool((rgb.max(axis=0) - rgb.min(axis=0)).max() > tolerance)


def to_grey(rgb: np.ndarray) -> np.ndarray:
    """Return the luma (ITU-R BT.601, in Pillow's integers) of (N, 3, H, W) uint8 as (N, 1, H, W); grey stays exact."""
    red, green, blue = (rgb[:, i].astype(np.uint32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[:, None]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about odd metadata and size; errors are raised. Enter it in one thread only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason(error: Exception) -> str:
    """Return one short line, without addresses or line breaks, on why a picture could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS // 10**6} million pixels allowed"
    if isinstance(error, PermissionError):
        return "permission denied"
    return printable(" ".join(str(error).split()))[:160] or type(error).__name__


def _orientation(opened: Image.Image) -> int:
    """Return the EXIF orientation, by default 1 (upright). Read it after load(): Pillow itself turns TIFFs."""
    try:
        return int(opened.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata does not make a picture unusable
        return 1


def _resizable(opened: Image.Image) -> Image.Image:
    """Return the picture in L, RGB or RGBA, modes that `resize` supports."""
    if opened.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    if opened.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(opened)))
    alpha = opened.has_transparency_data
    if opened.mode == "RGBA" or (opened.mode in ("L", "RGB") and not alpha):
        return opened  # convert() would copy it
    if alpha:
        return opened.convert("RGBA")
    return opened.convert("L" if opened.mode == "1" else "RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Return 32-bit pixels as uint8: integers are read as 16-bit, fractions as 0 to 1. Raises Unreadable for others."""
    low, high = values.min(), values.max()
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high <= 65535:
        return (values >> 8).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating) and low >= 0 and high <= 1:  # false for NaN
        return (values * 255 + 0.5).astype(np.uint8)
    raise Unreadable(f"32-bit pixels from {low:g} to {high:g}; only 0 to 65535 or 0.0 to 1.0 can be used")


def _square(image: Image.Image, size: int) -> Image.Image:
    """Return the centred square of `image`, resized to (size, size) with antialiasing; alpha is weighted correctly."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    if box == (0, 0, size, size) and image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
