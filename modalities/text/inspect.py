"""Survey of a text file or a folder of them, counted in blocks, and a recipe to train from it."""

from __future__ import annotations

import math
import shlex
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modalities.text.data import text_files
from modalities.text.data.cache import MIN_SPEECHES
from modalities.text.data.dataset import open_path
from modalities.text.data.readers import Source, documents, speeches
from modalities.text.data.text_files import Problems
from modalities.text.data.tokens import CODE_POINTS, MANY_CHARACTERS, RARE
from modalities.text.options import Data
from toolkit.data import listing as files
from toolkit.data.locate import Pace
from toolkit.errors import DataError
from toolkit.modality import Inspection

USUAL_SHARE = 0.95
SHORT_LINE = 60
"""Characters. Each line is taken for an item where 95 % of the lines have no more and hardly any is empty."""
FEW_EMPTY = 0.01
FEW_CHARACTERS = 200_000
"""The smallest network is proposed for fewer."""
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_SHOWN = 3


@dataclass
class Survey:
    """Counts of the texts at a path, and proposed options for a training from them."""

    path: Path
    source: Source
    problems: Problems
    counts: np.ndarray
    """Occurrences of each character, (CODE_POINTS,) int64."""
    sizes: np.ndarray
    """Characters of each line that is not empty, or of each row of a table, (N,) int64."""
    empty: int
    """Empty lines."""
    copies: int
    """Lines or rows that have occurred before."""
    paired: bool
    """True where rows are a source and a target."""
    speakers: Counter[str] = field(default_factory=Counter)
    """Speeches of each speaker, as in a play."""
    spoken: int = 0
    """Characters of all speeches."""

    @property
    def characters(self) -> int:
        return int(self.counts.sum())

    @property
    def tokens(self) -> str:
        return "char" if np.count_nonzero(self.counts) <= MANY_CHARACTERS else "byte"

    @property
    def items(self) -> str:
        """Proposed data.items."""
        if not self.source.packed:
            return "auto"
        few = self.empty <= FEW_EMPTY * len(self.sizes)
        return "line" if few and len(self.sizes) > 1 and self.usual <= SHORT_LINE else "auto"

    @property
    def labels(self) -> str:
        """Proposed data.labels."""
        return "folder" if files.label_names(self.source.listing.entries) else "none"

    @property
    def is_play(self) -> bool:
        """True where data.labels = "speaker" has several labels, and most of the text is speeches."""
        often = [name for name, count in self.speakers.items() if count >= MIN_SPEECHES]
        return len(often) > 1 and self.spoken > self.characters / 2

    @property
    def usual(self) -> int:
        """Characters of a line or row: the 95 % quantile."""
        return int(np.quantile(self.sizes, USUAL_SHARE, method="inverted_cdf")) if len(self.sizes) else 0

    @property
    def length(self) -> int:
        """Proposed data.length: 128 for running text, else the least power of two for 95 % of the items with EOS."""
        if self.items == "auto" and self.source.packed:
            return 128
        each = _bytes(self.counts) / self.characters if self.tokens == "byte" else 1.0
        needed = math.ceil(self.usual * each) + 1 + self.paired
        return next((length for length in _LENGTHS if length >= needed), _LENGTHS[-1])

    @property
    def preset(self) -> str:
        return "smoke" if self.characters < FEW_CHARACTERS else "small"

    def changes(self) -> dict[str, Any]:
        """Return the proposals by dotted keys of a recipe."""
        always = {"data.source": _as_option(self.path), "data.tokens": self.tokens, "data.length": self.length}
        others = {"data.items": (self.items, "auto"), "data.labels": (self.labels, "none")}
        return always | {k: v for k, (v, default) in others.items() if v != default} | {"model.preset": self.preset}

    @property
    def command(self) -> str:
        """Shell command that trains from these texts."""
        parts = ["toolkit", "train", "--modality", "text", "--data", _as_option(self.path)]
        for key, value in self.changes().items():
            if key != "data.source":
                parts += [f"--{key.split('.')[1]}", str(value)]
        return shlex.join(parts)

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value) pairs for a table."""
        return [*_contents(self), *_problems(self), *_proposals(self)]


def inspect(path: Path, notify: Callable[[str], None]) -> Inspection:
    """Return counts of a file or folder of texts, and a proposed recipe. Raises DataError."""
    result = survey(path, notify)
    return Inspection(result.rows(), result.changes())


def survey(path: Path, notify: Callable[[str], None]) -> Survey:
    """Count characters, lines and speeches of the texts at `path`. Raises DataError when none is readable."""
    source = open_path(Data(source=_as_option(path)))
    problems, pace = Problems(), Pace()
    counts = np.zeros(CODE_POINTS, np.int64)
    sizes, hashes = array("q"), array("q")
    empty, paired = 0, False
    for document in documents(source, problems):
        blocks = _add_to(counts, document.blocks)
        texts = (line for line, _ in text_files.lines(blocks, text_files.LONGEST_PIECE))
        for text in texts if source.packed else ["".join(blocks) + (document.given or "")]:
            if text:
                sizes.append(len(text))
                hashes.append(hash(text))
            else:
                empty += 1
        if document.given:
            paired = True
            deque(_add_to(counts, [document.given]), maxlen=0)
        if pace.due():
            notify(f"counted {int(counts.sum()):,} characters")
    if not len(sizes):
        rejected = sorted([*source.listing.rejected, *problems.rejected])
        raise DataError(f"no readable text in {path}: {rejected[0] if rejected else 'all of it is empty'}")
    copies = len(hashes) - len(np.unique(np.frombuffer(hashes, np.int64)))
    result = Survey(path, source, problems, counts, np.array(sizes), empty, copies, paired)
    for entry in source.listing.entries if source.packed else ():
        for speaker, text in speeches(text_files.blocks(entry.path, entry.name, Problems())):
            result.speakers[speaker] += 1
            result.spoken += len(text)
    return result


def _add_to(counts: np.ndarray, blocks: Iterable[str]) -> Iterator[str]:
    """Yield the same blocks, and add their characters to `counts`."""
    for block in blocks:
        new = np.bincount(np.frombuffer(block.encode("utf-32-le"), "<u4"))
        counts[: len(new)] += new
        yield block


def _bytes(counts: np.ndarray) -> int:
    """Return the bytes of the counted characters in UTF-8."""
    return int(counts.sum() + counts[0x80:].sum() + counts[0x800:].sum() + counts[0x10000:].sum())


def _as_option(path: Path) -> str:
    """Return `path` in a form that is not taken for a data set of that name."""
    return str(path) if path.is_absolute() or str(path).startswith(".") else f"./{path}"


def _contents(texts: Survey) -> list[tuple[str, str]]:
    entries = texts.source.listing.entries
    endings = Counter(Path(entry.name).suffix.lower() for entry in entries)
    kinds = ", ".join(f"{ending} ({count:,})" for ending, count in endings.most_common())
    share = texts.counts[texts.counts > 0] / texts.characters
    low, median, usual, high = np.quantile(texts.sizes, [0, 0.5, USUAL_SHARE, 1], method="inverted_cdf").astype(int)
    noun = "lines" if texts.source.packed else "rows"
    names = files.label_names(entries)
    speeches = f"; {len(texts.speakers):,} speakers with {texts.speakers.total():,} speeches" if texts.speakers else ""
    return [
        ("files", f"{len(entries):,}: {kinds}; {sum(entry.size for entry in entries):,} bytes"),
        (
            "characters",
            f"{texts.characters:,}, {len(share):,} distinct, {int((texts.counts == 1).sum()):,} of them seen once",
        ),
        ("entropy of characters", f"{-float(share @ np.log2(share)):.2f} bits each, by their frequencies alone"),
        (noun, f"{len(texts.sizes):,}" + (f", and {texts.empty:,} empty ones" if texts.source.packed else "")),
        (
            f"length of {noun}",
            f"{low:,} to {high:,} characters, half up to {median:,}, {USUAL_SHARE:.0%} up to {usual:,}",
        ),
        (f"{noun} that occur again", f"{texts.copies:,} ({texts.copies / len(texts.sizes):.1%})"),
        ("labels", (f"{len(names):,} folders" if names else "none by folders") + speeches),
    ]


def _problems(texts: Survey) -> list[tuple[str, str]]:
    rejected = sorted([*texts.source.listing.rejected, *texts.problems.rejected])
    problems = [("left out", rejected), ("mended", texts.problems.notes)]
    rows = [
        (what, "; ".join(lines[:_SHOWN]) + (" ..." if len(lines) > _SHOWN else "")) for what, lines in problems if lines
    ]
    return rows + [("note", note) for note in texts.source.listing.notes]


def _proposals(texts: Survey) -> list[tuple[str, str]]:
    rare, distinct = int(((texts.counts > 0) & (texts.counts < RARE)).sum()), np.count_nonzero(texts.counts)
    tokens = "characters" if texts.tokens == "char" else f"bytes: {distinct:,} characters are many"
    if texts.items == "line":
        items = "each line is an item"
    elif not texts.source.packed:
        items = "each row is an item" + (", the first column is given" if texts.paired else "")
    else:
        items = "none: running text"
    return [
        ("proposed tokens", f"{texts.tokens} ({tokens})" + (f"; {rare:,} characters are rare" if rare else "")),
        ("proposed items", items),
        ("proposed length", f"{texts.length:,} tokens"),
        ("proposed labels", texts.labels + ("; or speaker, and each speech is an item" if texts.is_play else "")),
        ("proposed preset", texts.preset),
        ("to train", texts.command),
    ]
