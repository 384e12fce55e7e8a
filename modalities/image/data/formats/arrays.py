"""Pictures in .npy files: one, or many of one size. Headers are checked before anything is read; no pickles.

(H, W), (H, W, C) and (C, H, W) are one picture, C at most 4; (N, H, W), (N, H, W, C) and (N, C, H, W) are N pictures.
2 channels are grey and transparency, 4 RGB and transparency.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from modalities.image.data.formats.bands import rows_at_once
from toolkit.data.listing import Entry
from toolkit.errors import ToolkitError

ENDING = ".npy"
MAX_PIXELS = 64_000_000
"""Most pixels of one picture."""
_MAX_HEADER_BYTES = 10_000
_MAX_CHANNELS = 4
_SHORTEST = 16


class Unreadable(ToolkitError):
    """Reason why a file cannot be used."""


class Layout(NamedTuple):
    """Meaning of the axes of an array."""

    pictures: int | None
    """Pictures along the first axis; None: the array is one picture."""
    height: int
    width: int
    channels: int
    first: bool
    """True where the channels stand before height and width."""


def layout(shape: tuple[int, ...]) -> Layout:
    """Return how an array of this shape is read. Raises Unreadable where it is no picture."""
    few = [1 <= side <= _MAX_CHANNELS for side in shape]
    if 0 in shape or not 2 <= len(shape) <= 4:
        raise Unreadable(f"an array of shape {shape}; (H, W), (H, W, C), (C, H, W) or N of these are read")
    if len(shape) == 2:
        return _check(Layout(None, shape[0], shape[1], 1, False))
    if len(shape) == 3 and few[2]:
        return _check(Layout(None, shape[0], shape[1], shape[2], False))
    if len(shape) == 3 and few[0]:
        return _check(Layout(None, shape[1], shape[2], shape[0], True))
    if len(shape) == 3:
        return _check(Layout(shape[0], shape[1], shape[2], 1, False))
    if few[3]:
        return _check(Layout(shape[0], shape[1], shape[2], shape[3], False))
    if few[1]:
        return _check(Layout(shape[0], shape[2], shape[3], shape[1], True))
    raise Unreadable(f"an array of shape {shape}, with more than {_MAX_CHANNELS} channels")


def look(stream: BinaryIO, size: int) -> Layout:
    """Return how the array in a file of `size` bytes is read, by its header. Raises Unreadable, ValueError."""
    if size <= _SHORTEST:
        raise Unreadable("truncated: shorter than the header of an array")
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER_BYTES)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream, max_header_size=_MAX_HEADER_BYTES)
    else:
        raise Unreadable(f"version {version[0]} of the .npy format; 1 and 2 are read")
    shape, _, dtype = header
    if dtype.kind not in "biuf":
        raise Unreadable(f"an array of {dtype.str}; truth values, integers and fractions are read")
    if math.prod(shape) * dtype.itemsize > size - stream.tell():
        raise Unreadable("truncated: the array is shorter than its header says")
    return layout(shape)


def open_array(entry: Entry, stream: BinaryIO) -> np.ndarray:
    """Return the array of a file, mapped where it is a file of its own: (N, H, W, C) or (N, H, W)."""
    header = look(stream, entry.size)
    if entry.offset is None:
        array = np.load(entry.path, mmap_mode="r", allow_pickle=False)
    else:
        stream.seek(0)
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if header.pictures is None:
        array = array[None]
    if header.first:
        array = np.moveaxis(array, 1, -1)
    return array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array


def bands(entry: Entry, stream: BinaryIO, number: int) -> Iterator[np.ndarray]:
    """Yield the rows of one picture of a file. Raises Unreadable, ValueError.

    The file is mapped anew for each band: what was read of a mapping counts as memory until it is closed.
    """
    top, height = 0, 1
    array: np.ndarray | None = None
    while top < height:
        if array is None or entry.offset is None:
            stream.seek(0)
            array = open_array(entry, stream)
        step, height = rows_at_once(array.shape[2], array[0, 0, :1].nbytes), array.shape[1]
        yield np.array(array[number, top : top + step], order="C")
        top += step


def _check(layout: Layout) -> Layout:
    if layout.height * layout.width > MAX_PIXELS:
        raise Unreadable(
            f"{layout.width} x {layout.height} pixels, more than the {MAX_PIXELS // 10**6} million allowed"
        )
    return layout
