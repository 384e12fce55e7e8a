"""Measure a source while it is read: its lines or items, and whether it looks like a play or a list."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

import numpy as np

from modalities.text.data.readers import speeches
from modalities.text.data.spool import Spool
from modalities.text.data.text_files import LONGEST_PIECE

MOST = 1 << 22
"""Lines or items of which lengths and copies are measured: the first of them."""
SEPARATORS = ("%", "%%", "---", "***", "* * *", "===", "###", "$$$$", "<|endoftext|>")
"""Lines that often end an item."""
_PLAY = 1 << 23
"""Characters in which speeches are looked for."""


class Survey:
    """Sizes and hashes of the lines of running text, or of items."""

    def __init__(self) -> None:
        self.sizes = array("q")
        self._hashes = array("q")
        self._held = array("b")
        self.empty = 0
        self.separators: Counter[str] = Counter()
        self._carry, self._long = "", 0

    def item(self, size: int, key: int, held: bool | None) -> None:
        """Count an item, or a source and its target. key: a hash of it. held: in a test split; None: not known."""
        if len(self.sizes) < MOST:
            self.sizes.append(size)
            self._hashes.append(key)
            self._held.append(2 if held is None else held)

    def block(self, text: str, held: bool | None) -> None:
        """Count the lines of a block of running text; the last one goes on in the next block."""
        for separator in SEPARATORS:
            if separator in text:
                self.separators[separator] += text.count(f"\n{separator}\n")
        if len(self.sizes) >= MOST:
            return
        *ended, rest = (self._carry + text).split("\n")
        if ended and self._long:
            self.item(self._long + len(ended[0]), hash((self._long, ended[0])), held)
            ended, self._long = ended[1:], 0
        lines = [line for line in ended if line]
        self.empty += len(ended) - len(lines)
        self.sizes.extend(map(len, lines))
        self._hashes.extend(map(hash, lines))
        self._held.extend([2 if held is None else held] * len(lines))
        if len(rest) > LONGEST_PIECE:
            self._long += len(rest)
            rest = ""
        self._carry = rest

    def end(self, held: bool | None) -> None:
        """End a running text, and its last line."""
        if self._carry or self._long:
            self.item(
                self._long + len(self._carry),
                hash((self._long, self._carry)) if self._long else hash(self._carry),
                held,
            )
        self._carry, self._long = "", 0

    @property
    def names_splits(self) -> bool:
        """True where the source names splits."""
        return 0 in self._held or 1 in self._held

    @property
    def copies(self) -> int:
        """Lines or items that have occurred before."""
        return len(self._hashes) - len(np.unique(np.frombuffer(self._hashes, np.int64)))

    @property
    def shared_items(self) -> tuple[int, int]:
        """Items of the test split that are in the training split too, and all of it; 0, 0 without named splits."""
        hashes, held = np.frombuffer(self._hashes, np.int64), np.frombuffer(self._held, np.int8)
        if not len(hashes) or not (held == 1).any():
            return 0, 0
        return int(np.isin(hashes[held == 1], hashes[held == 0]).sum()), int((held == 1).sum())


def play(spool: Spool) -> tuple[Counter[str], float]:
    """Return the speeches of each speaker in the beginning of the text, and the share of it that is spoken."""
    size, spoken = 0, 0

    def beginning() -> Iterator[str]:
        nonlocal size
        for block in spool.blocks():
            size += len(block)
            yield block
            if size > _PLAY:
                return

    speakers: Counter[str] = Counter()
    for speaker, text in speeches(beginning()):
        speakers[speaker] += 1
        spoken += len(text)
    return speakers, spoken / max(1, size)
