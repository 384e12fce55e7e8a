"""What is in a text file or a folder of them, counted in blocks, and what to train from it."""

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
"""Characters. Where 95 % of the lines have no more, and hardly any is empty, each line is taken for an item."""
FEW_EMPTY = 0.01
FEW_CHARACTERS = 200_000
"""With fewer, the smallest network is proposed."""
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_SHOWN = 3


@dataclass
class Survey:
    """The texts at a path, counted, and what to train from them."""

    path: Path
    source: Source
    problems: Problems
    counts: np.ndarray
    """(CODE_POINTS,) int64: how often each character occurs."""
    sizes: np.ndarray
    """(N,) int64: characters of each line that is not empty; of each row, where there are rows."""
    empty: int
    """Lines."""
    copies: int
    """Lines or rows that are not the first of their kind."""
    paired: bool
    """Whether there is a source and a target."""
    speakers: Counter[str] = field(default_factory=Counter)
    """Speeches of each, as in a play."""
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
        """As the option data.items takes it."""
        if not self.source.packed:
            return "auto"
        few = self.empty <= FEW_EMPTY * len(self.sizes)
        return "line" if few and len(self.sizes) > 1 and self.usual <= SHORT_LINE else "auto"

    @property
    def labels(self) -> str:
        """As the option data.labels takes it."""
        return "folder" if files.label_names(self.source.listing.entries) else "none"

    @property
    def is_play(self) -> bool:
        """Whether data.labels = "speaker" would find several speakers, and most of the text is theirs."""
        often = [name for name, count in self.speakers.items() if count >= MIN_SPEECHES]
        return len(often) > 1 and self.spoken > self.characters / 2

    @property
    def usual(self) -> int:
        """Characters that 95 % of the lines or rows have at most."""
        return int(np.quantile(self.sizes, USUAL_SHARE, method="inverted_cdf")) if len(self.sizes) else 0

    @property
    def length(self) -> int:
        """Tokens: 128 for running text, else the smallest power of two that holds 95 % of the items with EOS."""
        if self.items == "auto" and self.source.packed:
            return 128
        each = _bytes(self.counts) / self.characters if self.tokens == "byte" else 1.0
        needed = math.ceil(self.usual * each) + 1 + self.paired
        return next((length for length in _LENGTHS if length >= needed), _LENGTHS[-1])

    @property
    def preset(self) -> str:
        return "smoke" if self.characters < FEW_CHARACTERS else "small"

    def changes(self) -> dict[str, Any]:
        """The proposals at dotted keys of a recipe."""
        found = {"data.source": _written(self.path), "data.tokens": self.tokens, "data.length": self.length}
        others = {"data.items": (self.items, "auto"), "data.labels": (self.labels, "none")}
        return found | {k: v for k, (v, usual) in others.items() if v != usual} | {"model.preset": self.preset}

    @property
    def command(self) -> str:
        """What to type to train from it."""
        parts = ["toolkit", "train", "--modality", "text", "--data", _written(self.path)]
        for key, value in self.changes().items():
            if key != "data.source":
                parts += [f"--{key.split('.')[1]}", str(value)]
        return shlex.join(parts)

    def rows(self) -> list[tuple[str, str]]:
        """(what, how much), for a table."""
        return [*_what_there_is(self), *_what_is_wrong(self), *_what_to_do(self)]


def inspect(path: Path, notify: Callable[[str], None]) -> Inspection:
    """Return what is in a file or folder of texts, and what to train from it. Raises DataError."""
    counted = survey(path, notify)
    return Inspection(counted.rows(), counted.changes())


def survey(path: Path, notify: Callable[[str], None]) -> Survey:
    """Count what is in the texts at `path`. Raises DataError when there is no readable one."""
    source = open_path(Data(source=_written(path)))
    problems, pace = Problems(), Pace()
    counts = np.zeros(CODE_POINTS, np.int64)
    sizes, seen = array("q"), array("q")
    empty, paired = 0, False
    for document in documents(source, problems):
        counted = _counted(document.blocks, counts)
        texts = (line for line, _ in text_files.lines(counted, text_files.LONGEST_PIECE))
        for text in texts if source.packed else ["".join(counted) + (document.given or "")]:
            if text:
                sizes.append(len(text))
                seen.append(hash(text))
            else:
                empty += 1
        if document.given:
            paired = True
            deque(_counted([document.given], counts), maxlen=0)
        if pace.due():
            notify(f"counted {int(counts.sum()):,} characters")
    if not len(sizes):
        rejected = sorted([*source.listing.rejected, *problems.rejected])
        raise DataError(f"no readable text in {path}: {rejected[0] if rejected else 'all of it is empty'}")
    copies = len(seen) - len(np.unique(np.frombuffer(seen, np.int64)))
    found = Survey(path, source, problems, counts, np.array(sizes), empty, copies, paired)
    for entry in source.listing.entries if source.packed else ():
        for speaker, text in speeches(text_files.blocks(entry.path, entry.name, Problems())):
            found.speakers[speaker] += 1
            found.spoken += len(text)
    return found


def _counted(blocks: Iterable[str], counts: np.ndarray) -> Iterator[str]:
    """The same blocks, whose characters are added to `counts`."""
    for block in blocks:
        found = np.bincount(np.frombuffer(block.encode("utf-32-le"), "<u4"))
        counts[: len(found)] += found
        yield block


def _bytes(counts: np.ndarray) -> int:
    """How many bytes the counted characters take in UTF-8."""
    return int(counts.sum() + counts[0x80:].sum() + counts[0x800:].sum() + counts[0x10000:].sum())


def _written(path: Path) -> str:
    """`path` so that it is not taken for a data set of that name."""
    return str(path) if path.is_absolute() or str(path).startswith(".") else f"./{path}"


def _what_there_is(of: Survey) -> list[tuple[str, str]]:
    entries = of.source.listing.entries
    endings = Counter(Path(entry.name).suffix.lower() for entry in entries)
    shown = ", ".join(f"{ending} ({count:,})" for ending, count in endings.most_common())
    share = of.counts[of.counts > 0] / of.characters
    low, median, usual, high = np.quantile(of.sizes, [0, 0.5, USUAL_SHARE, 1], method="inverted_cdf").astype(int)
    noun = "lines" if of.source.packed else "rows"
    names = files.label_names(entries)
    speeches = f"; {len(of.speakers):,} speakers with {of.speakers.total():,} speeches" if of.speakers else ""
    return [
        ("files", f"{len(entries):,}: {shown}; {sum(entry.size for entry in entries):,} bytes"),
        (
            "characters",
            f"{of.characters:,}, {len(share):,} distinct, {int((of.counts == 1).sum()):,} of them seen once",
        ),
        ("entropy of characters", f"{-float(share @ np.log2(share)):.2f} bits each, by their frequencies alone"),
        (noun, f"{len(of.sizes):,}" + (f", and {of.empty:,} empty ones" if of.source.packed else "")),
        (
            f"length of {noun}",
            f"{low:,} to {high:,} characters, half up to {median:,}, {USUAL_SHARE:.0%} up to {usual:,}",
        ),
        (f"{noun} that occur again", f"{of.copies:,} ({of.copies / len(of.sizes):.1%})"),
        ("labels", (f"{len(names):,} folders" if names else "none by folders") + speeches),
    ]


def _what_is_wrong(of: Survey) -> list[tuple[str, str]]:
    rejected = sorted([*of.source.listing.rejected, *of.problems.rejected])
    found = [("left out", rejected), ("mended", of.problems.notes)]
    rows = [
        (what, "; ".join(lines[:_SHOWN]) + (" ..." if len(lines) > _SHOWN else "")) for what, lines in found if lines
    ]
    return rows + [("note", note) for note in of.source.listing.notes]


def _what_to_do(of: Survey) -> list[tuple[str, str]]:
    rare = int(((of.counts > 0) & (of.counts < RARE)).sum())
    tokens = "characters" if of.tokens == "char" else f"bytes: {np.count_nonzero(of.counts):,} characters are many"
    if of.items == "line":
        items = "each line is an item"
    elif not of.source.packed:
        items = "each row is an item" + (", the first column is given" if of.paired else "")
    else:
        items = "none: running text"
    return [
        ("proposed tokens", f"{of.tokens} ({tokens})" + (f"; {rare:,} characters are rare" if rare else "")),
        ("proposed items", items),
        ("proposed length", f"{of.length:,} tokens"),
        ("proposed labels", of.labels + ("; or speaker, and each speech is an item" if of.is_play else "")),
        ("proposed preset", of.preset),
        ("to train", of.command),
    ]
