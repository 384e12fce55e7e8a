"""The text of a source on disk while it becomes tokens: written once as it is read, replayed in blocks.

What follows each document (EOS, or SEP behind a source) and which split it is in is known in parts of characters, so
that tokens are made of whole blocks, however short the documents are.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from modalities.text.data.forms import Forms

_BLOCK = 1 << 17
"""Characters that are written, and bytes that are read, together."""


class Spool:
    """Text that was read, and counts of its characters."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._texts: list[str] = []
        self._waiting = 0
        self.counts = np.zeros(128, np.int64)
        """Occurrences of each code point, as far as any occurs."""
        self.forms = Forms()

    def write(self, text: str) -> None:
        """Add text. It is gathered, as writing short texts one by one takes all the time."""
        self._texts.append(text)
        self._waiting += len(text)
        if self._waiting >= _BLOCK:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        text = "".join(self._texts)
        self._texts, self._waiting = [], 0
        if not text.isascii():
            self.forms.see(text)
        self.counts = add_counts(self.counts, code_points(text))
        self._file.write(text.encode("utf-8", "replace"))

    def blocks(self) -> Iterator[str]:
        """Yield all text again."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.path.open("rb") as file:
            while data := file.read(_BLOCK):
                yield decoder.decode(data)


class Parts(NamedTuple):
    """Stretches of the spooled text, one after the other: sources, and what of a document trains or is held out."""

    sizes: np.ndarray
    """(P,) int64: characters of each."""
    held: np.ndarray
    """(P,) bool: those of the test split."""
    then: np.ndarray
    """(P,) int64: SEP after a source, EOS at the end of a document."""
    labels: np.ndarray
    """(P,) int64"""


class Piece(NamedTuple):
    """A block of text, and the parts that it touches."""

    text: str
    first: int
    """Number of the first of these parts."""
    sizes: np.ndarray
    """Characters of each of them that are in this block."""
    ended: np.ndarray
    """True for each of them that ends in this block."""


def pieces(spool: Spool, parts: Parts) -> Iterator[Piece]:
    """Yield the text with the parts it is made of."""
    ends = np.cumsum(parts.sizes)
    begin = 0
    for text in spool.blocks():
        end = begin + len(text)
        first, last = np.searchsorted(ends, begin, "right"), np.searchsorted(ends, end, "left")
        touched = slice(int(first), min(int(last) + 1, len(ends)))
        until = np.minimum(ends[touched], end)
        sizes = np.diff(until, prepend=begin)
        yield Piece(text, int(first), sizes, ends[touched] <= end)
        begin = end


def code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def add_counts(counts: np.ndarray, points: np.ndarray) -> np.ndarray:
    new = np.bincount(points)
    counts = np.pad(counts, (0, max(0, len(new) - len(counts))))
    counts[: len(new)] += new
    return counts
