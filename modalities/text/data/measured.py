"""Facts about a source that has been read, and the values of a recipe that fit it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from pydantic import JsonValue

from modalities.text.data.readers import Source
from modalities.text.data.spool import Spool
from modalities.text.data.survey import Survey
from modalities.text.data.text_files import Problems
from modalities.text.data.tokens import MANY_CHARACTERS
from modalities.text.options import Data
from toolkit.data import listing as files

USUAL_SHARE = 0.95
SHORT_LINE = 60
"""Characters. Each line is taken for an item where 95 % of the lines have no more and hardly any is empty."""
FEW_EMPTY = 0.01
FEW_CHARACTERS = 200_000
"""The smallest network is proposed for fewer."""
MIN_SPEECHES = 20
"""Speakers with fewer speeches share a label."""
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_MANY_ITEMS = 20


@dataclass
class Measured:
    """Facts about a source that has been read."""

    source: Source
    options: Data
    problems: Problems
    survey: Survey
    spool: Spool
    form: str
    """Form of characters with accents."""
    names: tuple[str, ...]
    labels: Counter[str]
    """Documents by label."""
    train: int
    """Documents in the training split, or its characters where the text is running."""
    test: int
    paired: bool
    mixed: tuple[int, int] = (0, 0)
    """Characters with accents that are one code point, and several."""
    speakers: Counter[str] = field(default_factory=Counter)
    spoken: float = 0.0
    """Share of the text that is speeches."""

    @property
    def noun(self) -> str:
        return "lines" if self.source.packed or self.options.items == "line" else "items"

    @property
    def characters(self) -> int:
        return int(self.spool.counts.sum())

    @property
    def usual(self) -> int:
        """Characters of a line or item: the 95 % quantile."""
        sizes = np.frombuffer(self.survey.sizes, np.int64)
        return int(np.quantile(sizes, USUAL_SHARE, method="inverted_cdf")) if len(sizes) else 0

    @property
    def tokens(self) -> str:
        """Proposed data.tokens."""
        return "char" if np.count_nonzero(self.spool.counts) <= MANY_CHARACTERS else "byte"

    @property
    def separator(self) -> str:
        """A line that ends items, or ""."""
        name, count = max(self.survey.separators.items(), key=lambda item: item[1], default=("", 0))
        return name if self.source.packed and count >= _MANY_ITEMS else ""

    @property
    def lines_are_items(self) -> bool:
        """True where running text is likely a list of items, one in a line."""
        lines = len(self.survey.sizes)
        few_empty = self.survey.empty <= FEW_EMPTY * lines
        return self.source.packed and few_empty and lines > 1 and self.usual <= SHORT_LINE and not self.separator

    @property
    def is_play(self) -> bool:
        """True where data.labels = "speaker" has several labels, and most of the text is speeches."""
        return sum(count >= MIN_SPEECHES for count in self.speakers.values()) > 1 and self.spoken > 0.5

    @property
    def length(self) -> int:
        """Proposed data.length: 128 for running text, else the least power of two for 95 % of the items with EOS."""
        if self.source.packed and not self.lines_are_items:
            return 128
        each = _bytes(self.spool.counts) / self.characters if self.tokens == "byte" else 1.0
        needed = math.ceil(self.usual * each) + 1 + self.paired
        return next((length for length in LENGTHS if length >= needed), LENGTHS[-1])

    def proposals(self) -> dict[str, JsonValue]:
        """Return values of a recipe that fit, by dotted keys."""
        values: dict[str, JsonValue] = {"data.tokens": self.tokens, "data.length": self.length}
        if self.lines_are_items and self.options.items == "auto":
            values["data.items"] = "line"
        if self.separator:
            values["data.separator"] = self.separator
        if self.options.labels == "none" and files.label_names(self.source.listing.entries):
            values["data.labels"] = "folder"
        return values | {"model.preset": "smoke" if self.characters < FEW_CHARACTERS else "small"}


def _bytes(counts: np.ndarray) -> int:
    """Return the bytes of the counted characters in UTF-8."""
    return int(counts.sum() + counts[0x80:].sum() + counts[0x800:].sum() + counts[0x10000:].sum())
