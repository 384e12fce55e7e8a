"""The first look at all files of a set: how many pictures each holds, their sizes, and the values of deep ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from modalities.image.data import decode, levels
from modalities.image.data.files import open_entry
from modalities.image.data.formats import arrays, strips
from modalities.image.data.geometry import Size
from modalities.image.data.levels import Extent
from toolkit.data import store
from toolkit.data.listing import Entry, Listing
from toolkit.data.selection import score
from toolkit.data.splits import SPLITS

_CHUNK = 32
_BLOCK = 256
"""Pictures of an array that are measured at once."""
FEW_FILES = 20
"""From so many arrays on, all pictures of one belong to one split; of fewer, each has its own."""


class PictureInfo(NamedTuple):
    """One picture that can be read, as far as its header goes."""

    entry: Entry
    """Its file."""
    number: int
    """Place of the picture in its file, from 0."""
    name: str
    size: Size
    extent: Extent


@dataclass
class Survey:
    """All pictures of a set, in the order of their files."""

    pictures: list[PictureInfo] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)
    """Pictures in each file that has several."""
    arrays: int = 0
    """Arrays among these."""


def look(listing: Listing, every_frame: bool, limit: int | None, notify: Callable[[str], None]) -> Survey:
    """Look at all files of a listing, those that cannot be read are rejected there.

    every_frame: all pictures of animations and stacks, not the first alone. limit: largest number of each split.
    """
    survey = Survey()

    def one(entry: Entry) -> tuple[int, bool, list[tuple[int, Size, Extent]]] | str:
        return _look(entry, every_frame)

    count = 0
    for entry, result in store.in_order(one, listing.entries, _CHUNK):
        count += 1
        if isinstance(result, str):
            listing.reject(entry.name, result)
            continue
        held, array, pictures = result
        if held > 1:
            survey.frames[entry.name] = held
            survey.arrays += array
        for number, size, extent in pictures:
            name = f"{entry.name}[{number}]" if held > 1 and len(pictures) > 1 else entry.name
            if not np.isfinite(extent[1:]).all():
                listing.reject(name, levels.NOT_NUMBERS)
            else:
                survey.pictures.append(PictureInfo(entry, number, name, size, extent))
        if count % 20_000 == 0:
            notify(f"looked at {count:,} of {len(listing.entries):,} pictures")
    if limit is not None and survey.frames:
        survey.pictures = _thin(survey.pictures, limit)
    return survey


def split_names(survey: Survey, pictures: Sequence[PictureInfo]) -> list[str]:
    """Return by what the split of each picture is decided: its file, or itself where few arrays hold all."""
    apart = 0 < survey.arrays < FEW_FILES
    return [
        one.name if apart and one.entry.name.lower().endswith(arrays.ENDING) else one.entry.name for one in pictures
    ]


def _look(entry: Entry, every_frame: bool) -> tuple[int, bool, list[tuple[int, Size, Extent]]] | str:
    """Return how many pictures a file holds, whether it is an array, and (number, size, values) of those to read."""
    try:
        with open_entry(entry) as stream:
            if entry.name.lower().endswith(arrays.ENDING):
                array = arrays.open_array(entry, stream)
                count, size = len(array), (array.shape[2], array.shape[1])
                if levels.kind_of(array.dtype) != "bytes" and decode.in_bands(size):
                    del array  # as long as it is mapped, what was read of it counts as memory
                    values = [strips.extent_of(arrays.bands(entry, stream, i)) for i in range(count)]
                else:
                    values = _extents(array)
                return count, True, [(i, size, extent) for i, extent in enumerate(values)]
            size, held, extents = decode.look(stream, every_frame)
            return held, False, [(i, size, extent) for i, extent in enumerate(extents)]
    except Exception as error:  # damaged files make Pillow raise nearly everything
        return decode.reason(error)


def _extents(array: np.ndarray) -> list[Extent]:
    kind = levels.kind_of(array.dtype)
    if kind == "bytes":
        return [Extent()] * len(array)
    extents = []
    axes = tuple(range(1, array.ndim))
    for start in range(0, len(array), _BLOCK):
        block = np.asarray(array[start : start + _BLOCK])
        extents += [Extent(kind, float(a), float(b)) for a, b in zip(block.min(axes), block.max(axes), strict=True)]
    return extents


def _thin(pictures: Sequence[PictureInfo], limit: int) -> list[PictureInfo]:
    """Return at most `limit` pictures of each split, selected by a hash of their name, in their order."""
    chosen: set[str] = set()
    for split in (*SPLITS, None):
        names = [one.name for one in pictures if one.entry.split == split]
        chosen.update(sorted(names, key=lambda name: score("limit/" + name))[:limit])
    return [one for one in pictures if one.name in chosen]
