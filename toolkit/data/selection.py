"""The choice of files by hashes of their names: those that are held out, and those that a limit leaves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from toolkit.data.listing import Entry
from toolkit.data.splits import SPLITS

TEST_SHARE = 0.05
LARGEST_GROUP = 0.25
"""Share of all files above which files that are alike are no group: to hold it out would leave too little."""


def score(name: str | bytes) -> float:
    """Return a number in [0, 1) that depends on nothing but `name`, a file's or any bytes."""
    content = name if isinstance(name, bytes) else os.fsencode(name)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") / 2**64


def thin(entries: Sequence[Entry], limit: int | None) -> list[Entry]:
    """Return at most `limit` entries of each split, selected by a hash of their name, in their order."""
    if limit is None:
        return list(entries)
    selection: set[str] = set()
    for split in SPLITS:
        names = [e.name for e in entries if (e.split or _split_of(e.name)) == split]
        selection.update(sorted(names, key=lambda name: score("limit/" + name))[:limit])
    return [entry for entry in entries if entry.name in selection]


def test_mask(entries: Sequence[Entry], groups: np.ndarray | None = None) -> np.ndarray:
    """Return which entries are for testing, (N,) bool.

    Those of the source's own test split, or else the 5 % whose name hashes lowest, so that adding files moves none
    from one split to the other. Of two files or more at least one is for testing, if its label has another one;
    the last file of a label always stays in training. groups: (N,), equal numbers for files that are alike: they are
    in one split, which the name of one of them decides.
    """
    if has_splits(entries):
        return np.array([entry.split == "test" for entry in entries], dtype=bool)
    scores = np.array([score(entry.name) for entry in entries])
    if groups is not None:
        scores = _together(entries, groups, scores)
    mask = scores < TEST_SHARE
    labels = np.unique([entry.label or "" for entry in entries], return_inverse=True)[1]
    if len(entries) > 1 and not mask.any():
        shared = np.bincount(labels)[labels] > 1
        if shared.any():
            mask = scores == scores[np.argmin(np.where(shared, scores, 2.0))]
    for label in range(labels.max() + 1 if len(labels) else 0):
        members = np.flatnonzero(labels == label)
        if mask[members].all():
            mask[scores == scores[members].max()] = False
    return mask


def has_splits(entries: Sequence[Entry]) -> bool:
    """Return True where the source has splits of its own."""
    return any(entry.split for entry in entries)


def _together(entries: Sequence[Entry], groups: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the scores (N,) with one score for each group: that of the member whose name another hash selects."""
    together = scores.copy()
    order = np.argsort(groups, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if 1 < len(members) <= max(1, LARGEST_GROUP * len(entries)):
            together[members] = scores[min(members, key=lambda i: score("alike/" + entries[i].name))]
    return together


def _split_of(name: str) -> str:
    return "test" if score(name) < TEST_SHARE else "train"
