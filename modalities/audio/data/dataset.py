"""Decoded sounds of a source, and batches of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.audio.data import cache, datasets, decode
from modalities.audio.data.cache import Corpus
from modalities.audio.data.container.sniff import FORMATS
from modalities.audio.data.datasets import Source
from modalities.audio.data.decode import About
from modalities.audio.data.reader import Reader
from modalities.audio.options import Data
from toolkit.data import labels, selection, store
from toolkit.data import listing as files
from toolkit.data.listing import Entry
from toolkit.data.locate import locate
from toolkit.errors import DataError
from toolkit.modality import Dataset, Examples

LOWEST_RATE, HIGHEST_RATE = 2_000, 16_000
"""Range of the default rate, in Hz."""
_PROBED = 1_000
_SCALE = np.float32(1 / 32768)


class Clips(Dataset):
    """One split of a corpus."""

    lengths: Tensor
    """(N,) int64: samples of each clip, without padding."""

    def __init__(self, corpus: Corpus, test: bool) -> None:
        self._audio = np.asarray(corpus.audio)  # a plain view: memmap's own indexing is slower
        rows = np.flatnonzero(corpus.test == test)
        self._clips = corpus.clips[rows]
        self.labels = torch.from_numpy(corpus.labels[rows]) if corpus.names else None
        self._length = corpus.length
        self.lengths = torch.from_numpy(self._clips[:, 1].copy())

    def __len__(self) -> int:
        return len(self._clips)

    def take(self, indices: Tensor) -> Examples:
        """Return raw (B, C, L) float32 in [-1, 1), zero beyond each clip's end.

        cond: length (B,) int64, samples without padding; label (B,) int64, when the sounds have labels.
        """
        raw = np.zeros((len(indices), self._audio.shape[1], self._length), np.float32)
        for row, (start, frames) in zip(raw, self._clips[indices.numpy()].tolist()):
            np.multiply(self._audio[start : start + frames].T, _SCALE, out=row[:, :frames])
        cond = {"length": self.lengths[indices]}
        if self.labels is not None:
            cond["label"] = self.labels[indices]
        return Examples(torch.from_numpy(raw), cond)


def read(options: Data, cache_folder: Path, notify: Callable[[str], None], clips: str = "auto") -> Corpus:
    """Return the sounds of options.source, which are decoded once and stored in cache_folder/audio.

    clips: value of options.clips where it is auto and the source has no own one. Raises DataError when there is no such
    source or no readable training sound in it, UsageError when options.labels
    is not a pattern, StorageError when the cache cannot be written.
    """
    if options.source in datasets.NAMES:
        source = datasets.find(options.source, options.labels, options.splits, notify)
    else:
        path = locate(options.source, datasets.NAMES)
        source = Source(path, labels.scan(path, decode.EXTENSIONS, "sounds", options.labels, options.splits))
    if options.clips == "auto":
        options = options.model_copy(update={"clips": source.clips if source.clips != "auto" else clips})
    settings = options.model_dump(exclude={"source", "gain", "polarity", "shift", "speed"})
    key = store.key(cache.VERSION, source.listing.signature, source=str(source.path), **settings)
    home = cache_folder / "audio" / key
    corpus = cache.load(home) or _decode(source, options, home, notify)
    if corpus.test.all():
        raise DataError(f"no usable training sound in {source.path}: all {corpus.files} files belong to the test split")
    return corpus


def _decode(source: Source, options: Data, home: Path, notify: Callable[[str], None]) -> Corpus:
    listing = source.listing
    if not listing.entries and not listing.rejected:
        raise DataError(f"no sound in {source.path}: {files.what_else(listing, FORMATS)}")
    listing.entries = selection.thin(listing.entries, options.limit)
    with Reader(listing.entries) as reader:
        headers = probe(listing.entries, reader)
        rate = options.rate or source.rate or default_rate(headers)
        seconds = options.seconds or source.seconds
        each = sum(header.frames / header.rate for header in headers) / max(len(headers), 1)
        needed = int(each * len(listing.entries) * rate) * options.channels * 2
        corpus = cache.build(listing, options, rate, home, reader, notify, seconds, needed)
    if corpus is None:
        count, first = len(listing.rejected), sorted(listing.rejected)[0]
        raise DataError(f"no usable sound in {source.path}: {count} tried, for example {first}")
    return corpus


def probe(entries: Sequence[Entry], reader: Reader) -> list[About]:
    """Return the headers of at most 1,000 readable files, spread evenly."""
    some = np.unique(np.linspace(0, len(entries) - 1, min(_PROBED, len(entries))).astype(int))
    # what is not readable is rejected, with the reason, when it is decoded
    return [header for _, header in reader.headers([entries[i] for i in some]) if header is not None]


def default_rate(headers: Iterable[About]) -> int:
    """Return the commonest rate in Hz, the higher of two that are equally common, within 2,000 to 16,000."""
    rates = Counter(header.rate for header in headers)
    rate = max(rates, key=lambda rate: (rates[rate], rate), default=HIGHEST_RATE)
    return min(max(rate, LOWEST_RATE), HIGHEST_RATE)
