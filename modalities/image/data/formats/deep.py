"""Values of more than 8 bits as a file has them: 16-bit grey and colour, 32-bit integers and fractions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

Again = Callable[[], Image.Image]
"""Opens the same picture anew."""
_OTHER = {";16L": ";16B", ";16B": ";16L", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
_COLOUR = ("RGB", "RGBA", "RGBX", "LA")


def is_deep(image: Image.Image) -> bool:
    """Return True where a picture that was opened, not loaded yet, has more than 8 bits a channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or is_deep_colour(image)


def values(image: Image.Image, again: Again) -> np.ndarray:
    """Return the values of a deep picture, (H, W) or (H, W, C); it is loaded then."""
    return next(bands(image, again, image.size[1]))


def load(again: Again) -> Image.Image | np.ndarray:
    """Return the values of a deep picture, as of `values`, or any other as it is, loaded."""
    image = again()
    if is_deep(image):
        return values(image, again)
    image.load()
    return image


def bands(image: Image.Image, again: Again, rows: int) -> Iterator[np.ndarray]:
    """Yield the values of a deep picture, so many rows at once; it is loaded then.

    Pillow has no mode for 16 bits of colour and keeps the upper byte of each value. Read as of the other byte order,
    the same file gives the lower one.
    """
    if not is_deep_colour(image):
        image.load()
        yield from (np.asarray(part) for part in _parts(image, rows))
        return
    form = _form(image)
    other: Any = again()
    # grey with alpha has four bytes a pixel, as RGBA of 8 bits has: both bytes come at once
    both = form.startswith("LA")
    asked = "RGBA" if both else form[:-4] + _OTHER[form[-4:]]
    other.tile = [tile._replace(args=_change(tile.args, asked)) for tile in other.tile]
    other.load()
    image.load()
    if both:
        for part in _parts(other, rows):
            array = np.asarray(part).astype(np.uint16)
            yield array[..., 0::2] << 8 | array[..., 1::2]
        return
    for upper, lower in zip(_parts(image, rows), _parts(other, rows)):
        yield np.asarray(upper).astype(np.uint16) << 8 | np.asarray(lower)


def _parts(image: Image.Image, rows: int) -> Iterator[Image.Image]:
    """Yield the rows of a picture that is loaded, some at once."""
    width, height = image.size
    if rows >= height:
        yield image
        return
    yield from (image.crop((0, top, width, min(top + rows, height))) for top in range(0, height, rows))


def is_deep_colour(image: Image.Image) -> bool:
    """Return True where a picture that was opened, not loaded yet, has colours of 16 bits a channel."""
    form = _form(image)
    return image.mode in ("RGB", "RGBA") and form[:-4] in _COLOUR and form[-4:] in _OTHER


def _form(image: Image.Image) -> str:
    """Return how the bytes of a picture are laid out, by Pillow's name: "RGB;16B"; "" where that is not said."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    args = tiles[0].args
    form = args[0] if isinstance(args, tuple) and args else args
    return form if isinstance(form, str) else ""


def _change(args: Any, form: str) -> Any:
    return (form, *args[1:]) if isinstance(args, tuple) else form
