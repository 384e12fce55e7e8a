"""Values of more than 8 bits as a file has them: 16-bit grey and colour, 32-bit integers and fractions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Again = Callable[[], Image.Image]
"""Opens the same picture anew."""
_OTHER = {";16L": ";16B", ";16B": ";16L", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
_COLOUR = ("RGB", "RGBA", "RGBX", "LA")


def is_deep(opened: Image.Image) -> bool:
    """Return True where a picture that was opened, not loaded yet, has more than 8 bits a channel."""
    return opened.mode in ("I", "F") or opened.mode.startswith("I;16") or _is_deep_colour(opened)


def values(opened: Image.Image, again: Again) -> np.ndarray:
    """Return the values of a deep picture, (H, W) or (H, W, C); it is loaded then.

    Pillow has no mode for 16 bits of colour and keeps the upper byte of each value. Read as of the other byte order,
    the same file gives the lower one.
    """
    if not _is_deep_colour(opened):
        opened.load()
        return np.asarray(opened)
    form = _form(opened)
    other: Any = again()
    # grey with alpha has four bytes a pixel, as RGBA of 8 bits has: both bytes come at once
    both = form.startswith("LA")
    asked = "RGBA" if both else form[:-4] + _OTHER[form[-4:]]
    other.tile = [tile._replace(args=_changed(tile.args, asked)) for tile in other.tile]
    other.load()
    opened.load()
    lower = np.asarray(other).astype(np.uint16)
    if both:
        return lower[..., 0::2] << 8 | lower[..., 1::2]
    return np.asarray(opened).astype(np.uint16) << 8 | lower


def _is_deep_colour(opened: Image.Image) -> bool:
    form = _form(opened)
    return opened.mode in ("RGB", "RGBA") and form[:-4] in _COLOUR and form[-4:] in _OTHER


def _form(opened: Image.Image) -> str:
    """Return how the bytes of a picture are laid out, by Pillow's name: "RGB;16B"; "" where that is not said."""
    tiles = getattr(opened, "tile", None)
    if not tiles:
        return ""
    args = tiles[0].args
    form = args[0] if isinstance(args, tuple) and args else args
    return form if isinstance(form, str) else ""


def _changed(args: Any, form: str) -> Any:
    return (form, *args[1:]) if isinstance(args, tuple) else form
