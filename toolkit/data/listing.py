"""Listing of a folder of files.

Every depth is read; names that begin with a dot are skipped; files with other endings are counted. Labels and splits
are set by `toolkit.data.labels`.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from toolkit.console import printable
from toolkit.data import tree
from toolkit.data.splits import METADATA


@dataclass(frozen=True)
class Entry:
    """One file that has been listed, but not read yet."""

    name: str
    """Path relative to the source, with forward slashes; unique, and all that the split depends on."""
    path: Path
    size: int
    """Bytes."""
    offset: int | None = None
    """First byte inside an archive; None for a file of its own."""
    label: str | None = None
    split: str | None = None


@dataclass
class Listing:
    """Files of a source, and lines about those that are left out."""

    entries: list[Entry] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """Files with other endings, counted by ending."""
    signature: list[str] = field(default_factory=list)
    """One line for each file: name, size and time of change. Equal signatures mean equal contents."""
    notes: list[str] = field(default_factory=list)
    """Lines for the user, though nothing is wrong."""
    label_order: tuple[str, ...] = ()
    """Labels in the order of the source; () = by name."""
    metadata: list[Path] = field(default_factory=list)
    """Files that may say labels and splits, by their usual names."""
    labels_by: str = ""
    """Origin of the labels, or the reason why there are none: "by folders"."""
    splits_by: str = ""
    """Origin of the splits: "folders train/ and val/"."""
    alternatives: list[str] = field(default_factory=list)
    """Other values of the option labels, with the number of labels that each gives: "folders:2 (12)"."""

    def reject(self, name: str, why: str) -> None:
        self.rejected.append(f"{printable(name)}: {why}")


def walk(root: Path, extensions: Collection[str]) -> Listing:
    """List the files under `root` that end in one of `extensions`, sorted by name; nothing is decoded.

    Links are followed once. extensions: ".png", in lower case.
    """
    listing = Listing()
    for item in tree.walk(root):
        ending = item.path.suffix.lower()
        if item.problem and (ending in extensions or item.problem != tree.BROKEN):
            listing.reject(item.name, item.problem)
        elif ending in extensions:
            _add_file(item, listing)
        elif item.info is not None and item.path.name.lower() in METADATA and stat.S_ISREG(item.info.st_mode):
            listing.metadata.append(item.path)
            listing.signature.append(f"{item.name}\t{item.info.st_size}\t{item.info.st_mtime_ns}")
        else:
            listing.ignored[ending] += 1
    listing.entries.sort(key=lambda entry: entry.name)
    listing.signature.sort()
    listing.metadata.sort()
    return listing


def _add_file(item: tree.TreeItem, listing: Listing) -> None:
    assert item.info is not None
    if not stat.S_ISREG(item.info.st_mode):
        listing.reject(item.name, "not a regular file")
        return
    listing.signature.append(f"{item.name}\t{item.info.st_size}\t{item.info.st_mtime_ns}")
    if item.info.st_size == 0:
        listing.reject(item.name, "empty file")
    else:
        listing.entries.append(Entry(item.name, item.path, item.info.st_size))


def label_names(entries: Sequence[Entry], order: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the labels, as in `order` or else naturally (9 before 10); () unless all have one of two or more."""
    names = {entry.label for entry in entries}
    if None in names or len(names) < 2:
        return ()
    present = {name for name in names if name is not None}
    return tuple(name for name in order if name in present) or tuple(sorted(present, key=_natural))


def label_numbers(entries: Sequence[Entry], order: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
    """Return the labels as they can be shown, and the number of each entry's: (N,) int64, 0 where there are none."""
    names = label_names(entries, order)
    number = {name: i for i, name in enumerate(names)}
    return [printable(name) for name in names], np.array(
        [number.get(e.label or "", 0) for e in entries], dtype=np.int64
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts if part]


def what_else(listing: Listing, formats: str) -> str:
    """Return why a listing is empty; formats: those that are read, e.g. "WAV and FLAC"."""
    if not listing.ignored:
        return "it is empty"
    endings = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in listing.ignored.most_common(4))
    return f"only other files ({printable(endings)}); {formats} are read"
