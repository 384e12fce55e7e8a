"""Rows about pictures that are there more than once, and about sets that show one thing only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modalities.image.data import copies
from toolkit.console import printable
from toolkit.data import understood
from toolkit.data.selection import LARGEST_GROUP
from toolkit.data.understood import Row


class Alike(NamedTuple):
    """Pictures that are there more than once."""

    first: np.ndarray
    """(N,): of `copies.exact`."""
    groups: np.ndarray | None
    """(N,): of `copies.groups`; None where the source has splits of its own."""


def rows(pixels: np.ndarray, test: np.ndarray, alike: Alike, names: Sequence[str]) -> list[Row]:
    """Return rows about pictures that are there twice, and about a set that shows one thing only."""
    first = alike.first
    again = np.flatnonzero(first != np.arange(len(first))).tolist()
    result = []
    if len(first) > 1 and len(again) == len(first) - 1:
        value = f"all {len(first):,} pictures are equal, pixel by pixel: there is nothing to learn but this one"
        return [Row(name="variety", value=value, data={"different": 1}, warning=True)]
    if flat := _flat(pixels):
        result.append(Row(name="variety", value=flat, data={"different": len(first) - len(again)}, warning=True))
    if len(again):
        pairs = [f"{names[i]} = {names[first[i]]}" for i in again]
        value = f"{len(again):,} of {len(first):,} pictures equal another one, pixel by pixel: {_list(pairs)}"
        result.append(Row(name="copies", value=value, data=pairs[:1000], warning=2 * len(again) > len(first)))
    result += _together(alike)
    near = copies.near(pixels, test, first)
    if near.pairs:
        pairs = [f"{names[i]} like {names[j]}" for i, j in near.pairs]
        value = (
            f"{len(near.pairs):,} of {near.searched:,} held-out pictures are like one that is trained on: "
            f"{_list(pairs)}. What is measured on them looks better than it is: remove copies and other sizes of one "
            "picture, or hold out others, in folders called train and test"
        )
        result.append(Row(name="likenesses", value=value, data=pairs[:1000], warning=True))
    return result


def _together(alike: Alike) -> list[Row]:
    """Return a row about groups of pictures that are alike, each of which is in one split."""
    if alike.groups is None:
        return []
    sizes = np.bincount(alike.groups)
    held = sizes[(sizes > 1) & (sizes <= max(1, LARGEST_GROUP * len(alike.groups)))]
    if not len(held):
        return []
    several, count, largest = len(held), int(held.sum()), int(held.max())
    value = f"{count:,} pictures are copies, or other sizes, of one another: {several:,} groups of up to {largest:,}"
    value += "; each is in one split, so that what is held out is new"
    return [Row(name="alike", value=value, data={"pictures": count, "groups": several, "largest": largest})]


def _flat(pixels: np.ndarray) -> str:
    """Return a sentence where no picture has more than one colour."""
    for start in range(0, len(pixels), 1024):
        part = pixels[start : start + 1024]
        if (part.max((2, 3)) != part.min((2, 3))).any():
            return ""
    return f"each of {len(pixels):,} pictures is of one flat colour: there are no shapes to learn"


def _list(pairs: Sequence[str]) -> str:
    return "; ".join(printable(pair) for pair in pairs[: understood.SHOWN]) + (" ..." if len(pairs) > 3 else "")
