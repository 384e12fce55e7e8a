"""Writing one split of a corpus: its tokens, and the span of each document."""

from __future__ import annotations

from array import array
from collections import deque
from pathlib import Path

import numpy as np

from modalities.text.data.tokens import EOS, PAD, SEP, Vocabulary
from toolkit.data import store

GATHERED = 1 << 17
"""Characters that are encoded together."""


class TokenWriter:
    """Writer of SPLIT.npy and SPLIT-spans.npy. Texts are gathered, as encoding them one by one takes all the time."""

    def __init__(self, folder: Path, split: str, vocabulary: Vocabulary) -> None:
        self._spans_path = folder / f"{split}-spans.npy"
        self._file = (folder / f"{split}.npy").open("wb")
        self._type = "<i2" if vocabulary.dtype is np.int16 else "<i4"
        self._vocabulary = vocabulary
        self._spans = array("q")
        self._texts: list[str] = []
        self._then: list[int] = []
        self._labels: deque[int] = deque()
        self._waiting = self._total = self._open = self._given = 0
        store.header(self._file, (0,), self._type)

    def text(self, text: str, then: int = PAD) -> None:
        """Add text, and after it SEP or EOS, which ends the document; PAD: nothing."""
        self._texts.append(text)
        self._then.append(then)
        self._waiting += len(text) + 1
        if self._waiting >= GATHERED:
            self._flush()

    def end(self, label: int) -> None:
        """End the document and label it."""
        self._labels.append(label)
        self.text("", EOS)

    def _flush(self) -> None:
        ids, ends = self._vocabulary.encode_all(self._texts)
        then = np.array(self._then, np.int64)
        ids = np.insert(ids, ends[then != PAD], then[then != PAD]).astype(self._type)
        self._file.write(ids.data)
        self._total += len(ids)
        sizes = np.diff(ends, prepend=0) + (then != PAD)
        for size, mark in zip(sizes.tolist(), self._then):
            self._open += size
            if mark == SEP:
                self._given = self._open
            elif mark == EOS:
                self._spans.extend((self._open, self._given, self._labels.popleft()))
                self._open = self._given = 0
        self._texts, self._then, self._waiting = [], [], 0

    def close(self) -> None:
        """Write the waiting texts, the number of tokens in the header, and the spans."""
        self._flush()
        self._file.seek(0)
        store.header(self._file, (self._total,), self._type)
        store.sync(self._file)
        self._file.close()
        store.save_array(self._spans_path, np.array(self._spans, np.int64).reshape(-1, 3))
