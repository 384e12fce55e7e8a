"""Tokens on disk: each split's documents one after the other, memory-mapped, and the span of each.

    CACHE/text/<key>/train.npy  train-spans.npy  test.npy  test-spans.npy  about.json

A source is read once, into a file of its text; twice where characters with accents come in two forms and become one.
The vocabulary is learned from the training text of that file, and its tokens are written. EOS follows every document,
and both parts of one cut into train and test. What was understood while reading is kept beside them.
The cache depends neither on the length of examples nor on how they are cut.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modalities.text.data import describe, survey, token_writer
from modalities.text.data.forms import normal, normal_blocks
from modalities.text.data.measured import MIN_SPEECHES, Measured
from modalities.text.data.readers import Source, documents
from modalities.text.data.spool import Parts, Spool, add_counts, code_points, pieces
from modalities.text.data.survey import Survey
from modalities.text.data.text_files import Problems
from modalities.text.data.tokens import EOS, SEP, Vocabulary, learn, parse
from modalities.text.options import Data
from toolkit.console import printable
from toolkit.data import selection, store
from toolkit.data.dataset import check_identity, identity_of
from toolkit.data.locate import Pace
from toolkit.data.splits import SPLITS
from toolkit.data.understood import Understood
from toolkit.errors import DataError

VERSION = 2
OTHER = "other"
_NOUN = "tokens"
_LOOKS = 4096
"""Documents between two looks at the clock."""
_POSITIONAL = -1.0
"""Score in place of a hash: the end of the text is held out."""


@dataclass(frozen=True)
class Split:
    """The documents of one split."""

    tokens: np.ndarray
    """(T,) int16 or int32, perhaps memory-mapped."""
    spans: np.ndarray
    """(N, 3) int64: tokens of each document with its EOS, leading given ones (source and SEP), label."""


@dataclass(frozen=True)
class TokenCorpus:
    """All texts of a source as tokens."""

    vocabulary: Vocabulary
    names: tuple[str, ...]
    rejected: tuple[str, ...]
    """One line for each file and kind of thing that was left out."""
    understood: Understood
    form: str
    """Form of characters with accents, "nfc" or "nfd"; "" where they were left as they are."""
    identity: str
    train: Split
    test: Split


@dataclass
class _Plan:
    """Result of the reading: characters of each document (and of its source), how many of them train, its label."""

    given: np.ndarray
    sizes: np.ndarray
    cuts: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def parts(self) -> Parts:
        count = len(self.sizes)
        sizes = np.stack([self.given, self.cuts, self.sizes - self.cuts], 1)
        held = np.stack([self.cuts == 0, np.zeros(count, bool), np.ones(count, bool)], 1)
        then = np.broadcast_to([SEP, EOS, EOS], (count, 3))
        labels = np.broadcast_to(self.labels[:, None], (count, 3))
        some = sizes > 0
        return Parts(sizes[some], held[some], then[some], labels[some])


def load(folder: Path) -> TokenCorpus | None:
    """Return the corpus in `folder`; None when there is none or it is damaged."""
    if not store.whole(folder):
        return None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        vocabulary = Vocabulary.from_text(about["vocabulary"])
        names, rejected = (tuple(map(str, about[name])) for name in ("names", "rejected"))
        understood = Understood.model_validate(about["understood"])
        form, identity = str(about["form"]), check_identity(about["identity"])
        if form not in ("", "nfc", "nfd"):
            raise ValueError(form)
        splits = [_load_split(folder, split, vocabulary, max(1, len(names))) for split in SPLITS]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError):
        return None
    return TokenCorpus(vocabulary, names, rejected, understood, form, identity, *splits)


def _load_split(folder: Path, split: str, vocabulary: Vocabulary, labels: int) -> Split:
    """Return a split. Raises ValueError when it is damaged."""
    tokens = np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
    spans = np.load(folder / f"{split}-spans.npy", allow_pickle=False)
    if tokens.ndim != 1 or tokens.dtype != vocabulary.dtype or spans.dtype != np.int64 or spans.shape[1:] != (3,):
        raise ValueError(split)
    counts, given, label = spans.T
    inside = (counts > given).all() and (given >= 0).all() and (label >= 0).all() and (label < labels).all()
    if not inside or counts.sum() != len(tokens):
        raise ValueError(split)
    if len(tokens) and not (tokens.min() > 0 and tokens.max() < vocabulary.size):
        raise ValueError(split)
    return Split(tokens, spans)


def build(source: Source, options: Data, folder: Path, notify: Callable[[str], None]) -> TokenCorpus | None:
    """Write the tokens of `source` into `folder`, and open them; None when there is no training text in it.

    Raises UsageError, DataError when a file changes meanwhile, StorageError.
    """

    def fill(staging: Path) -> bool:
        text = staging / "text"
        form = {"auto": "", "none": ""}.get(options.normalise, options.normalise)
        plan, it = _read(source, options, form, text, notify)
        one, several = it.spool.forms.single(it.spool.counts), it.spool.forms.several
        if options.normalise == "auto":
            form = it.spool.forms.form(it.spool.counts)
            if several and one:
                plan, it = _read(source, options, form, text, notify)
        it.form, it.mixed = form, (one, several)
        if not plan.cuts.any():
            source.listing.rejected.extend(x for x in it.problems.rejected if x not in source.listing.rejected)
            return False
        parts = plan.parts()
        vocabulary = _learn(it.spool, options.tokens, parts)
        token_writer.write(it.spool, parts, vocabulary, staging, notify)
        if source.packed:
            it.speakers, it.spoken = survey.play(it.spool)
        text.unlink()
        store.save_json(staging / "about.json", _about(it, vocabulary, staging))
        return True

    needed = 4 * sum(entry.size for entry in source.listing.entries)
    return store.build_and_load(folder, load, needed, fill, _NOUN)


def _score(key: str) -> float:
    """Return the number by which an item is held out or not: that of its key in NFC."""
    return selection.score(normal(key, "nfc").encode("utf-8", "surrogatepass"))


def _about(it: Measured, vocabulary: Vocabulary, folder: Path) -> Mapping[str, object]:
    names = [printable(name) for name in it.names]
    arrays = [
        np.load(folder / f"{split}{kind}.npy", mmap_mode="r", allow_pickle=False)
        for split in SPLITS for kind in ("", "-spans")
    ]  # fmt: skip
    written = np.frombuffer(vocabulary.to_text().encode(), np.uint8)
    packed = np.array([it.source.packed, it.source.whole])
    understood = Understood(rows=tuple(describe.rows(it, vocabulary)), proposals=it.proposals())
    return {
        "vocabulary": vocabulary.to_text(),
        "names": names,
        "rejected": sorted([*it.source.listing.rejected, *it.problems.rejected]),
        "understood": understood.model_dump(mode="json"),
        "form": it.form,
        "identity": identity_of(names, *arrays, written, packed),
    }


def _read(
    source: Source, options: Data, form: str, path: Path, notify: Callable[[str], None]
) -> tuple[_Plan, Measured]:
    """Read all documents, write their text to `path`, and return how they are split, and what was measured."""
    problems, seen, spool = Problems(), Survey(), Spool(path)
    given, sizes, raw, scores = array("q"), array("q"), array("q"), array("d")
    ids: dict[str | None, int] = {}
    pace, packed = Pace(), source.packed
    for document in documents(source, problems):
        held = None if document.split is None else document.split == "test"
        start = normal(document.given, form) if document.given else ""
        if start:
            spool.write(start)
        size = key = 0
        for block in normal_blocks(document.blocks, form) if form else document.blocks:
            spool.write(block)
            size += len(block)
            if packed:
                seen.block(block, held)
                if pace.due():
                    notify(f"read {int(spool.counts.sum()):,} characters")
            else:
                key = hash((key, block))
        if packed:
            seen.end(held)
        else:
            seen.item(size + len(start), hash((key, start)), held)
            if not len(sizes) % _LOOKS and pace.due():
                notify(f"read {len(sizes):,} texts")
        given.append(len(start))
        sizes.append(size)
        raw.append(ids.setdefault(document.label, len(ids)))
        if held is not None:
            scores.append(0.0 if held else 2.0)
        else:
            scores.append(_score(document.key) if document.key else _POSITIONAL)
    spool.close()
    numbers, every = np.frombuffer(raw, np.int64), np.frombuffer(sizes, np.int64)
    names, number = _name(ids, np.bincount(numbers, minlength=len(ids)), options.labels)
    cuts = _cuts(every, np.frombuffer(scores, np.float64), source.test)
    plan = _Plan(np.frombuffer(given, np.int64), every, cuts, number[numbers], names)
    counts = np.bincount(plan.labels, minlength=len(names)).tolist()
    split = (cuts.sum(), (every - cuts).sum()) if packed else ((cuts > 0).sum(), (cuts < every).sum())
    return plan, Measured(
        source, options, problems, seen, spool, form, names, Counter(dict(zip(names, counts, strict=False))),
        int(split[0]), int(split[1]), bool(plan.given.any()),
    )  # fmt: skip


def _cuts(sizes: np.ndarray, scores: np.ndarray, test: float) -> np.ndarray:
    """Return how many characters of each text train, (N,) int64; the rest is held out.

    Of two different items or more at least one is held out, and at least one is not.
    """
    positional = scores == _POSITIONAL
    held = (scores < test) & ~positional
    free = ~positional & (scores < 2.0)
    if len(scores) > 1 and free.all() and (held.all() or not held.any()):
        held = scores <= scores.min()
        held &= ~held.all()
    ends = np.maximum(1, ((1 - test) * sizes).astype(np.int64))
    return np.where(positional, np.minimum(ends, sizes), np.where(held, 0, sizes))


def _name(ids: Mapping[str | None, int], counts: np.ndarray, labels: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the labels, and the number of each of `ids` among them; () and zeros when there are not at least two.

    counts: documents of each of `ids`. Speakers with few speeches share a label, under a name that no speaker has.
    """
    candidates = [name for name in ids if name is not None]
    if labels == "speaker":
        candidates = [name for name in candidates if counts[ids[name]] >= MIN_SPEECHES]
    names = sorted(candidates, key=lambda name: (name.casefold(), name))
    if labels == "speaker" and names and len(names) < len(ids):
        names.append(_free(OTHER, ids))
    number = np.zeros(max(1, len(ids)), np.int64)
    if labels == "none" or len(names) < 2 or (None in ids and labels != "speaker"):
        return (), number
    place = {name: i for i, name in enumerate(names)}
    for name, i in ids.items():
        number[i] = place.get(name or "", len(names) - 1)
    return tuple(names), number


def _free(name: str, taken: Mapping[str | None, int]) -> str:
    """Return `name`, or the like of it that is not taken in any capitals."""
    used = {each.casefold() for each in taken if each}
    return next(
        free for free in (name, "others", *(f"{name} {i}" for i in range(2, len(used) + 4))) if free not in used
    )


def _learn(spool: Spool, tokens: str, parts: Parts) -> Vocabulary:
    """Return the vocabulary of the training text."""

    def training() -> Iterator[str]:
        for text, first, sizes, _ in pieces(spool, parts):
            held = parts.held[first : first + len(sizes)]
            if not held.any():
                yield text
            else:
                ends = np.cumsum(sizes)
                own = zip((ends - sizes)[~held].tolist(), ends[~held].tolist(), strict=True)
                yield "".join([text[start:end] for start, end in own])

    counts = np.zeros(128, np.int64)
    if parse(tokens)[0] == "char":
        for text in training():
            counts = add_counts(counts, code_points(text))
    return learn(tokens, counts, training())
