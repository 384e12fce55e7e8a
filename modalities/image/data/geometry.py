"""Choose the part of a picture that is kept and its size, and tell what that loses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple

from modalities.image.options import LARGEST, SMALLEST

Size = tuple[int, int]
"""Width and height in pixels."""
Fit = Literal["crop", "pad", "stretch"]
DEFAULT = 32
LARGEST_KEPT = 64
"""Longest side up to which pictures of one size keep it."""


class Placement(NamedTuple):
    """A picture inside its target."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the part that is kept."""
    inner: Size
    """Size that it is resized to; smaller than the target where there are borders."""


def place(size: Size, target: Size, fit: Fit) -> Placement:
    """Return what becomes of a picture of `size`: crop covers the target, pad lies inside it, stretch is distorted."""
    (width, height), (across, down) = size, target
    whole = (0.0, 0.0, float(width), float(height))
    if fit == "stretch":
        return Placement(whole, target)
    if fit == "pad":
        scale = min(across / width, down / height)
        return Placement(whole, (max(1, min(across, round(width * scale))), max(1, min(down, round(height * scale)))))
    if width * down > height * across:  # too wide
        kept = height * across / down
        return Placement(((width - kept) / 2, 0.0, (width + kept) / 2, float(height)), target)
    kept = width * down / across
    return Placement((0.0, (height - kept) / 2, float(width), (height + kept) / 2), target)


def lost_share(size: Size, target: Size, fit: Fit) -> float:
    """Return the share of the picture's area that is cut away."""
    left, top, right, bottom = place(size, target, fit).box
    return 1 - (right - left) * (bottom - top) / (size[0] * size[1])


def scale(size: Size, target: Size, fit: Fit) -> float:
    """Return by how much a side is enlarged; below 1 it is reduced. Stretched: of the area, the square root."""
    (left, top, right, bottom), (width, height) = place(size, target, fit)
    return float((width / (right - left) * height / (bottom - top)) ** 0.5)


def default(sizes: Sequence[Size]) -> Size:
    """Return the size of all pictures where they have one that `size` allows, of at most 64 px a side; else 32."""
    own = common(sizes)
    return own if own is not None and max(own) <= LARGEST_KEPT else (DEFAULT, DEFAULT)


def common(sizes: Sequence[Size]) -> Size | None:
    """Return the size of all pictures where they have one that `size` allows, else None."""
    own = set(sizes)
    if len(own) != 1:
        return None
    (one,) = own
    return one if all(SMALLEST <= side <= LARGEST for side in one) else None


def propose(sizes: Sequence[Size], longest: int = LARGEST_KEPT) -> Size:
    """Return a size of the shape that most pictures have, at most `longest` px a side, multiples of 4.

    None is enlarged beyond half of the pictures' own sizes. Squares where shapes differ by less than a tenth.
    """
    shape = median(width / height for width, height in sizes)
    long = min(longest, max(SMALLEST, 4 * round(median(max(size) for size in sizes) / 4)))
    if 0.9 < shape < 1.1:
        return long, long
    short = max(SMALLEST, 4 * round(long * min(shape, 1 / shape) / 4))
    return (long, short) if shape > 1 else (short, long)


def most_common(sizes: Sequence[Size], shown: int = 3) -> str:
    """Return "64 x 48 (120), 100 x 100 (3), ... 2 more" of sizes."""
    counts = Counter(sizes).most_common()
    text = ", ".join(f"{width} x {height} ({count:,})" for (width, height), count in counts[:shown])
    return text + (f", ... {len(counts) - shown:,} more" if len(counts) > shown else "")
