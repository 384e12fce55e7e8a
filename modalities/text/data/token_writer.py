"""Writing the tokens of both splits, and the span of each document, from the spooled text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from modalities.text.data.spool import Parts, Spool, pieces
from modalities.text.data.tokens import EOS, SEP, Vocabulary
from toolkit.data import store
from toolkit.data.locate import Pace
from toolkit.data.splits import SPLITS


def write(spool: Spool, parts: Parts, vocabulary: Vocabulary, folder: Path, notify: Callable[[str], None]) -> None:
    """Write SPLIT.npy and SPLIT-spans.npy of both splits into `folder`."""
    files = [_TokenFile(folder / f"{split}.npy", vocabulary) for split in SPLITS]
    counts = np.zeros(len(parts.sizes), np.int64)
    pace = Pace()
    for text, first, sizes, ended in pieces(spool, parts):
        ends = np.cumsum(sizes)
        starts = ends - sizes
        texts = [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        ids, until = vocabulary.encode_all(texts)
        touched = slice(first, first + len(sizes))
        counts[touched] += np.diff(until, prepend=0)
        ids = np.insert(ids, until[ended], parts.then[touched][ended])
        held = np.repeat(parts.held[touched], np.diff(until, prepend=0) + ended)
        for file, mine in zip(files, (~held, held), strict=True):
            file.write(ids if mine.all() else ids[mine])
        if pace.due():
            notify(f"wrote the tokens of {first:,} of {len(counts):,} texts")
    for file in files:
        file.close()
    for held_out, split in enumerate(SPLITS):
        store.save_array(folder / f"{split}-spans.npy", _spans(parts, counts, bool(held_out)))


def _spans(parts: Parts, counts: np.ndarray, held: bool) -> np.ndarray:
    """Return tokens with EOS and what is given, given ones with SEP, and the label of each document: (N, 3) int64."""
    own = np.flatnonzero((parts.held == held) & (parts.then == EOS))
    before = np.maximum(own - 1, 0)
    given = np.where((parts.then[before] == SEP) & (own > 0), counts[before] + 1, 0)
    return np.stack([counts[own] + 1 + given, given, parts.labels[own]], 1)


class _TokenFile:
    """An .npy file of tokens that grows."""

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self._file = path.open("wb")
        self._type = "<i2" if vocabulary.dtype is np.int16 else "<i4"
        self._total = 0
        store.header(self._file, (0,), self._type)

    def write(self, ids: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(ids.astype(self._type)).data)
        self._total += len(ids)

    def close(self) -> None:
        """Write the number of tokens into the header."""
        self._file.seek(0)
        store.header(self._file, (self._total,), self._type)
        store.sync(self._file)
        self._file.close()
