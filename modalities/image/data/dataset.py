"""Decoded pictures of a source, and batches of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.image.data import cache, datasets, decode, geometry, levels, shards, survey
from modalities.image.data.cache import Corpus
from modalities.image.data.canvas import Plan
from modalities.image.data.levels import Kind, Range
from modalities.image.options import Data
from toolkit.data import store
from toolkit.data.labels import scan
from toolkit.data.listing import Listing, walk, what_else
from toolkit.data.locate import locate
from toolkit.data.selection import thin
from toolkit.errors import DataError
from toolkit.modality import Dataset, Examples


class Pictures(Dataset):
    """One split of a corpus."""

    def __init__(self, corpus: Corpus, test: bool) -> None:
        self._pixels = np.asarray(corpus.pixels)  # a plain view: memmap's own indexing is slower
        self._rows = np.flatnonzero(corpus.test == test)
        self.labels = torch.from_numpy(corpus.labels[self._rows]) if corpus.names else None

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Tensor) -> Examples:
        """Return raw (B, C, H, W) uint8; cond: label (B,) int64, when the pictures have labels."""
        raw = torch.from_numpy(self._pixels[self._rows[indices.numpy()]])
        return Examples(raw, {} if self.labels is None else {"label": self.labels[indices]})


def read(options: Data, cache_folder: Path, notify: Callable[[str], None]) -> Corpus:
    """Return the pictures of options.source; folders and shards are decoded once and stored in cache_folder/image.

    Raises DataError when there is no such source, no readable training picture in it, or values of no usual range,
    UsageError for labels that this source cannot have, StorageError when the cache cannot be written.
    """
    if options.source in datasets.NAMES:
        return datasets.load(options, notify)
    source = locate(options.source, datasets.NAMES, archives=(".tar",))
    try:
        tars = shards.find(source)
    except OSError as error:
        raise DataError(f"{source} cannot be listed: {error.strerror or error}") from None
    # of shards, the files' own sizes and times are enough
    listing = None if tars else scan(source, decode.readable(), "pictures", options.labels, options.splits)
    signature = shards.signature(tars) if listing is None else [*listing.signature, _hash_labels(listing)]
    settings = {name: getattr(options, name) for name in Data.model_fields if name not in ("flip", "crop", "shift")}
    settings |= {"source": str(source), "parsers": decode.formats()}
    home = cache_folder / "image" / store.key(cache.VERSION, signature, **settings)
    corpus = cache.load(home)
    if corpus is None:
        corpus = _decode(listing or shards.scan(tars, options.labels, options.splits), source, options, home, notify)
    if corpus.test.all():
        raise DataError(f"no readable training picture in {source}: all {len(corpus.pixels)} belong to the test split")
    return corpus


def plan_of(options: Data, size: geometry.Size, channels: int, ranges: Mapping[Kind, Range]) -> Plan:
    """Return what becomes of a picture with these options."""
    return Plan(size, channels, options.fit, 255 if options.background == "white" else 0, dict(ranges))


def _decode(listing: Listing, source: Path, options: Data, home: Path, notify: Callable[[str], None]) -> Corpus:
    if not listing.entries and not listing.rejected:
        heic = sum(listing.ignored[ending] for ending in decode.HEIC)
        if heic and heic == sum(listing.ignored.values()):
            raise DataError(f"{source} holds HEIC files only; pip install 'diffusion-toolkit[heic]' reads them")
        raise DataError(f"no picture in {source}: {what_else(listing, decode.names())}")
    listing.entries = thin(listing.entries, options.limit)
    with decode.quiet():
        overview = survey.look(listing, options.frames == "all", options.limit, notify)
    if not overview.pictures:
        raise _unreadable(listing, source)
    extents, names = [one.extent for one in overview.pictures], [one.name for one in overview.pictures]
    ranges = levels.over_all(extents, names, options.range)
    size = options.sides or geometry.default([one.size for one in overview.pictures])
    plan = plan_of(options, size, 3 if options.channels == "auto" else options.channels, ranges)
    corpus = cache.build(listing, overview, plan, options, home, notify)
    if corpus is None:
        raise _unreadable(listing, source)
    return corpus


def _unreadable(listing: Listing, source: Path) -> DataError:
    count, first = len(listing.rejected), sorted(listing.rejected)[0]
    return DataError(f"no readable picture in {source}: {count} tried, for example {first}")


def _hash_labels(listing: Listing) -> str:
    """Return a hash of the labels and splits that a listing gives its files."""
    rows = [(entry.name, entry.label, entry.split) for entry in listing.entries]
    return hashlib.blake2b(json.dumps([rows, listing.label_order]).encode(), digest_size=16).hexdigest()


def own_size(folder: Path) -> geometry.Size | None:
    """Return the size of the pictures in a folder where all have one that `size` allows, else None."""
    if not folder.is_dir():
        return None
    listing = walk(folder, decode.readable())
    with decode.quiet():
        overview = survey.look(listing, False, None, lambda _: None)
    return geometry.common([one.size for one in overview.pictures])
