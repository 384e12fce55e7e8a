"""Values of pictures of more than 8 bits, and the range of a set of them that becomes 0..255.

A file says how many bits a value may take, not how many it takes: cameras and scanners store 12 bits in 16, programs
8 bits in 32. So the range follows from all files together, integers and fractions each by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from toolkit.errors import DataError

Kind = Literal["bytes", "integers", "fractions"]
"""bytes: 8-bit values, which are levels already."""
DEEP: tuple[Kind, Kind] = ("integers", "fractions")
BITS = (8, 10, 12, 14, 16)
NOT_NUMBERS = "32-bit pixels that are not numbers (NaN or infinite)"
_TOPS = (1.0, 255.0, 65535.0)


class Range(NamedTuple):
    """The values that become black and white."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.low)} to {number(self.high)}"


class Extent(NamedTuple):
    """The values of one picture."""

    kind: Kind = "bytes"
    low: float = 0.0
    high: float = 255.0


Ranges = Mapping[Kind, Range]


def kind_of(dtype: np.dtype) -> Kind:
    """Return what values of a numpy type are; 8 bits without a sign, and truth values, are levels."""
    if dtype.kind == "b" or dtype == np.uint8:
        return "bytes"
    return "fractions" if dtype.kind == "f" else "integers"


def extent(values: np.ndarray) -> Extent:
    """Return kind, smallest and largest of some values; nan where one is no number."""
    return Extent(kind_of(values.dtype), float(values.min()), float(values.max()))


def common(low: float, high: float, kind: Kind) -> Range | None:
    """Return the usual range that holds values from `low` to `high`, or None.

    Integers: 8, 10, 12, 14 or 16 bits. Fractions: -1 to 1 where some are negative, else 0 to 1, 255 or 65535.
    """
    if kind == "integers":
        bits = next((bits for bits in BITS if high < 2**bits), None)
        return Range(0, 2**bits - 1) if bits and low >= 0 else None
    if low < 0:
        return Range(-1, 1) if low >= -1 and high <= 1 else None
    return next((Range(0, top) for top in _TOPS if high <= top), None)


def over_all(extents: Sequence[Extent], names: Sequence[str], asked: tuple[float, float] | None) -> dict[Kind, Range]:
    """Return the range of each kind of more than 8 bits among the pictures; `asked` is that of the user, if any.

    Raises DataError where no usual range holds the values.
    """
    ranges: dict[Kind, Range] = {}
    for kind in DEEP:
        places = [i for i, one in enumerate(extents) if one.kind == kind]
        if not places:
            continue
        lowest = min(places, key=lambda i: extents[i].low)
        highest = max(places, key=lambda i: extents[i].high)
        low, high = extents[lowest].low, extents[highest].high
        usual = Range(*asked) if asked else common(low, high, kind)
        if usual is None:
            where = names[lowest] if low < 0 else names[highest]
            raise DataError(
                f"pictures hold values from {number(low)} to {number(high)} (as {where} does), which is no usual "
                f"range; say which become black and white: --levels {number(low)}:{number(high)}"
            )
        ranges[kind] = usual
    return ranges


def to_bytes(values: np.ndarray, range: Range) -> np.ndarray:
    """Return round(255 (v - low) / (high - low)) as uint8; values outside become black or white."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2 and values.size > 1 << 16:
        return _table(range)[values]  # of the 65,536 values there are, the same results
    scaled = (values.astype(np.float64) - range.low) * (255 / (range.high - range.low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _table(range: Range) -> np.ndarray:
    return to_bytes(np.arange(1 << 16, dtype=np.uint32), range)


def as_bytes(values: np.ndarray, ranges: Ranges) -> np.ndarray:
    """Return values of any kind as uint8, by the range of their kind, or else the usual one that holds them.

    Raises DataError where there is none.
    """
    one = extent(values)
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if one.kind == "bytes":
        return values
    range = ranges.get(one.kind) or over_all([one], ["it"], None)[one.kind]
    return to_bytes(values, range)


def number(value: float) -> str:
    """Return a number as short as it can be typed: 4095, 0.25, -1."""
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"
