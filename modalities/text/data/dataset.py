"""The tokens of a source, and batches of examples cut from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.text.data import cache, datasets, describe, formats, tokens
from modalities.text.data.cache import Split, TokenCorpus
from modalities.text.data.readers import Source, single, source_of
from modalities.text.data.tokens import Vocabulary
from modalities.text.options import Data
from toolkit.data import listing as files
from toolkit.data import store
from toolkit.data.labels import scan
from toolkit.data.locate import locate
from toolkit.data.understood import Row, Understood
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError
from toolkit.modality import Dataset, Examples

QUANTILES = 101


class Texts(Dataset):
    """Examples of one split.

    Running text that trains: example i is the 2 L tokens from i L on (the last one ends with the text), from which
    `crop` cuts L anywhere; texts of fewer tokens are one example. Running text that is held out: L tokens from i L on,
    so that each token is in one example; the last may be shorter. Items: their tokens and EOS, in pieces of L where
    they are longer (a piece that would be EOS alone is left out). All rows are filled up with PAD.
    """

    lengths: Tensor | None
    """Real tokens of each item, (N,) int64; None for running text."""
    labels: Tensor | None
    """(N,) int64; None when texts have no labels."""
    given: Tensor | None
    """Leading given tokens (source and SEP), (N,) int64; None unless items are pairs."""
    skipped: int
    """Items that do not fit into an example and must not be cut."""

    def __init__(
        self, split: Split, length: int, packed: bool, whole: bool = False, crops: bool = True, labelled: bool = False
    ) -> None:
        """length: L. packed: running text. whole: items are not cut. crops: rows of 2 L. labelled: there are labels."""
        self._tokens = np.asarray(split.tokens)  # a plain view: memmap's own indexing is slower
        self.width = 2 * length if packed and crops else length
        counts, given, label = _streams(split.spans) if packed else split.spans.T
        begins = np.cumsum(split.spans[:, 0]) - split.spans[:, 0]
        if packed:
            begins = np.cumsum(counts + 1) - (counts + 1)
        uncut = (given > 0) | whole
        self.skipped = int((uncut & (counts > length)).sum())
        pieces = _stretches(counts, length, self.width) if packed else _pieces(counts, uncut, length)
        starts, sizes, which = _lay_out(begins, counts, pieces, length, self.width)
        self._starts, self._sizes = torch.from_numpy(starts), torch.from_numpy(sizes)
        self.lengths = None if packed else self._sizes
        self.labels = torch.from_numpy(label[which]) if labelled else None
        self.given = torch.from_numpy(given[which]) if given.any() else None

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def stream(self) -> Tensor:
        """All tokens of the split one after another, EOS at the end of each text: (N,) int64."""
        return torch.from_numpy(self._tokens.astype(np.int64))

    @property
    def sizes(self) -> Tensor:
        """Real tokens of each example, (N,) int64."""
        return self._sizes

    def take(self, indices: Tensor) -> Examples:
        """Return raw (B, W) int64, W = 2 L for running text that trains and L otherwise; PAD beyond each text's end.

        cond: length (B,) int64, real tokens, at most W; label (B,) and given (B,) int64 where there are such.
        """
        sizes = self._sizes[indices]
        places = self._starts[indices].numpy()[:, None] + np.arange(self.width)
        rows = self._tokens[np.minimum(places, len(self._tokens) - 1)].astype(np.int64)
        rows[np.arange(self.width) >= sizes.numpy()[:, None]] = tokens.PAD
        cond = {"length": sizes}
        if self.labels is not None:
            cond["label"] = self.labels[indices]
        if self.given is not None:
            cond["given"] = self.given[indices]
        return Examples(torch.from_numpy(rows), cond)


@dataclass(frozen=True)
class Corpus:
    """All texts of a source."""

    vocabulary: Vocabulary
    names: tuple[str, ...]
    """The labels; () when there are none."""
    rejected: tuple[str, ...]
    """One line for each file and kind of thing that was left out."""
    understood: Understood
    """Account of what was read and how, and values that fit it."""
    form: str
    """Form of characters with accents, "nfc" or "nfd"; "" where they were left as they are."""
    identity: str
    """Hash of the tokens, spans, labels and the vocabulary."""
    packed: bool
    """Running text; otherwise items with EOS."""
    length: int
    """Tokens of an example, L."""
    lengths: tuple[float, ...]
    """101 quantiles, 0 to 100 %, of the tokens (with EOS, without given ones) of a training item; () for running text.
    Lengths of samples are drawn from them."""
    train: Texts
    test: Texts


def read(options: Data, cache_folder: Path, notify: Callable[[str], None]) -> Corpus:
    """Return the texts of options.source, whose tokens are kept in cache_folder/text.

    Raises DataError when there is no such source or no training text in it, UsageError for options that do not fit
    it, StorageError when the cache cannot be written.
    """
    tokens.parse(options.tokens)
    source = datasets.find(options) if options.source in datasets.NAMES else open_path(options)
    others = options.model_dump(exclude={"source", "length"})
    key = store.key(cache.VERSION, source.listing.signature, source=str(source.path), name=options.source, **others)
    home = cache_folder / "text" / key
    stored = cache.load(home) or cache.build(source, options, home, notify)
    if stored is None:
        raise DataError(f"no text to train on in {source.path}: {_why(source)}")
    labelled = bool(stored.names)
    train = Texts(stored.train, options.length, source.packed, source.whole, crops=True, labelled=labelled)
    test = Texts(stored.test, options.length, source.packed, source.whole, crops=False, labelled=labelled)
    rejected = list(stored.rejected)
    longer = [] if source.packed else _longer(stored, train.skipped + test.skipped, options.length, source.whole)
    if train.skipped + test.skipped:
        rejected.append(longer[0].value + "; raise data.length to keep them")
    if not len(train):
        raise DataError(f"no text to train on in {source.path}: {rejected[-1]}")
    rows = list(stored.understood.rows)
    place = next((i + 1 for i, row in enumerate(rows) if row.name.startswith("length of")), len(rows))
    rows[place:place] = longer
    lengths = () if source.packed else _quantiles(train)
    understood = Understood(rows=tuple(rows), proposals=stored.understood.proposals)
    return Corpus(
        stored.vocabulary,
        stored.names,
        tuple(rejected),
        understood,
        stored.form,
        stored.identity,
        source.packed,
        options.length,
        lengths,
        train,
        test,
    )


def open_path(options: Data) -> Source:
    """Return the texts of the file or folder options.source. Raises DataError when there is none."""
    path = locate(options.source, datasets.NAMES, formats.AnyEnding())
    labels = "folders" if options.labels == "folder" else "none"
    try:
        known = (*formats.EXTENSIONS, "")
        listing = scan(path, known, "texts", labels, options.splits) if path.is_dir() else single(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    items = options.items in ("line", "file") or bool(options.separator) or options.labels == "speaker"
    rows: list[Row] = []
    if path.is_dir():
        rows = formats.choose(listing, options.formats, items)
        if options.splits == "auto":
            formats.split_files(listing)
    if not listing.entries and not listing.rejected:
        raise DataError(f"no text in {path}: {files.what_else(listing, formats.FORMATS)}")
    return replace(source_of(path, listing, options), rows=tuple(rows))


def _longer(stored: TokenCorpus, skipped: int, length: int, whole: bool) -> list[Row]:
    """Return the row about items that have more tokens than an example."""
    spans = np.concatenate([stored.train.spans, stored.test.spans])
    over = int((spans[:, 0] > length).sum())
    return describe.longer(skipped, over - skipped, spans[:, 0], length)


def crop(rows: Tensor, draws: Draws) -> Tensor:
    """Return a random half of each row, (B, L) of (B, 2 L), that begins anywhere, without PAD if the text allows it.

    Every stretch of L tokens of a running text is equally likely, but for those at multiples of L (twice).
    """
    length = rows.shape[1] // 2
    spare = ((rows != tokens.PAD).sum(dim=1) - length).clamp(min=0)
    offsets = (draws.uniform("crop") * (spare + 1)).long().clamp(max=spare)
    return rows.gather(1, offsets[:, None] + torch.arange(length))


def _why(source: Source) -> str:
    rejected = sorted(source.listing.rejected)
    if rejected:
        return rejected[0] + (f" (and {len(rejected) - 1} more)" if len(rejected) > 1 else "")
    return "all of it is empty, or belongs to the test split"


def _streams(spans: np.ndarray) -> np.ndarray:
    """Return the spans of running text, (3, S): neighbours of one label as one, without the EOS at its end."""
    if not len(spans):
        return spans.T
    first = np.flatnonzero(np.diff(spans[:, 2], prepend=-1))
    counts = np.add.reduceat(spans[:, 0], first) - 1
    return np.stack([counts, np.zeros_like(counts), spans[first, 2]])


def _stretches(counts: np.ndarray, length: int, width: int) -> np.ndarray:
    """Return how many examples of `width` (L or 2 L) tokens each running text makes, a new one every L."""
    return np.maximum(1, -(-(counts - (width - length)) // length))


def _pieces(counts: np.ndarray, uncut: np.ndarray, length: int) -> np.ndarray:
    """Return how many examples each item makes; none when it must not be cut but is longer than L."""
    pieces = -(-counts // length) - ((counts % length == 1) & (counts > 1))
    return np.where(uncut, (counts <= length).astype(np.int64), pieces)


def _lay_out(
    begins: np.ndarray, counts: np.ndarray, pieces: np.ndarray, length: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first token, the number of tokens and the text of each example, each (N,) int64."""
    which = np.repeat(np.arange(len(counts)), pieces)
    place = (np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * length
    if width > length:  # the last one ends with the text
        place = np.minimum(place, np.maximum(counts[which] - width, 0))
    return begins[which] + place, np.minimum(counts[which] - place, width), which


def _quantiles(train: Texts) -> tuple[float, ...]:
    real = train.sizes if train.given is None else train.sizes - train.given
    points = np.quantile(real.numpy(), np.linspace(0, 1, QUANTILES), method="inverted_cdf")
    return tuple(points.astype(float).tolist())
