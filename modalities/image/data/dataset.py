"""Decoded pictures of a source, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.image.data import cache, datasets, decode, shards
from modalities.image.data.cache import Corpus
from modalities.image.options import Data
from toolkit.data import store
from toolkit.data.listing import Entry, Listing, scan, thin, what_else
from toolkit.data.locate import locate, report_rejected
from toolkit.errors import DataError
from toolkit.modality import Dataset, Examples

DEFAULT_SIZE = 32
LARGEST_KEPT = 64
LARGEST = 1024
"""Largest `size` that options.Data allows."""
FORMATS = "PNG, JPEG, WEBP, BMP, TIFF and GIF"
_PROBED = 256


class Pictures(Dataset):
    """One split of a corpus."""

    def __init__(self, corpus: Corpus, test: bool) -> None:
        self._pixels = np.asarray(corpus.pixels)  # a plain view: memmap's own indexing is slower
        self._rows = np.flatnonzero(corpus.test == test)
        self._labels = corpus.labels if corpus.names else None

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Tensor) -> Examples:
        """Return raw (B, C, H, W) uint8; cond: label (B,) int64, when the pictures have labels."""
        rows = self._rows[indices.numpy()]
        raw = torch.from_numpy(self._pixels[rows])
        cond = {} if self._labels is None else {"label": torch.from_numpy(self._labels[rows])}
        return Examples(raw, cond)


def read(options: Data, cache_folder: Path, notify: Callable[[str], None]) -> Corpus:
    """Return the pictures of options.source; folders and shards are decoded once and stored in cache_folder/image.

    Raises DataError when there is no such source or no readable training picture in it, StorageError when the
    cache cannot be written.
    """
    if options.source in datasets.NAMES:
        return datasets.load(options, notify)
    source = locate(options.source, datasets.NAMES, archives=(".tar",))
    try:
        tars = shards.find(source)
    except OSError as error:
        raise DataError(f"{source} cannot be listed: {error.strerror or error}") from None
    # of shards, the files' own sizes and times are enough
    listing = None if tars else scan(source, decode.EXTENSIONS, "pictures")
    signature = shards.signature(tars) if listing is None else listing.signature
    settings = {"size": options.size, "channels": options.channels, "limit": options.limit}
    home = cache_folder / "image" / store.key(cache.VERSION, signature, source=str(source), **settings)
    corpus = cache.load(home)
    if corpus is None:
        corpus = _decode(listing or shards.scan(tars), source, options, home, notify)
    report_rejected(corpus.rejected, len(corpus.pixels), notify)
    if corpus.test.all():
        raise DataError(f"no readable training picture in {source}: all {len(corpus.pixels)} belong to the test split")
    return corpus


def _decode(listing: Listing, source: Path, options: Data, home: Path, notify: Callable[[str], None]) -> Corpus:
    for note in listing.notes:
        notify(note)
    if not listing.entries and not listing.rejected:
        raise DataError(f"no picture in {source}: {what_else(listing, FORMATS)}")
    listing.entries = thin(listing.entries, options.limit)
    size = options.size or default_size(listing.entries)
    channels = None if options.channels == "auto" else options.channels
    corpus = cache.build(listing, size, channels, home, notify)
    if corpus is None:
        count, first = len(listing.rejected), sorted(listing.rejected)[0]
        raise DataError(f"no readable picture in {source}: {count} tried, for example {first}")
    return corpus


def default_size(entries: Sequence[Entry]) -> int:
    """Return the pictures' own side when all are equal squares of at most 64 px that `size` would allow, else 32."""
    side = common_side(entries)
    return side if side is not None and side <= LARGEST_KEPT else DEFAULT_SIZE


def own_side(folder: Path) -> int | None:
    """Return the side of the pictures in a folder, or None: see `common_side`."""
    return common_side(scan(folder, decode.EXTENSIONS, "pictures").entries) if folder.is_dir() else None


def common_side(entries: Sequence[Entry]) -> int | None:
    """Return the pictures' side when all (of 256 spread evenly) are equal squares that `size` allows, else None."""
    sizes = set()
    with decode.quiet():
        for i in np.unique(np.linspace(0, len(entries) - 1, min(_PROBED, len(entries))).astype(int)):
            try:
                with cache.open_entry(entries[i]) as stream:
                    sizes.add(decode.dimensions(stream))
            except Exception:  # it is rejected, with the reason, when it is decoded
                continue
    width, height = sizes.pop() if len(sizes) == 1 else (0, 0)
    return width if width == height and 8 <= width <= LARGEST and width % 4 == 0 else None
