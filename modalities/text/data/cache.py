"""Tokens on disk: each split's documents one after the other, memory-mapped, and the span of each.

    CACHE/text/<key>/train.npy  train-spans.npy  test.npy  test-spans.npy  about.json

A source is read three times in small blocks: to count its characters, to learn the vocabulary from its
training text, and to write its tokens. EOS follows every document, and both parts of one cut into train and test.
The cache depends neither on the length of examples nor on how they are cut.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from modalities.text.data.readers import Document, Source, documents
from modalities.text.data.text_files import Problems
from modalities.text.data.token_writer import GATHERED, TokenWriter
from modalities.text.data.tokens import SEP, Vocabulary, learn, parse
from toolkit.data import listing as files
from toolkit.data import store
from toolkit.data.locate import Pace
from toolkit.errors import DataError

VERSION = 1
MIN_SPEECHES = 20
"""Speakers with fewer speeches share the label OTHER."""
OTHER = "other"
_NOUN = "tokens"
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
    notes: tuple[str, ...]
    train: Split
    test: Split


@dataclass
class _Plan:
    """Result of the first reading: characters of each document, how many of them train, and its label."""

    sizes: array[int]
    cuts: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


def load(folder: Path) -> TokenCorpus | None:
    """Return the corpus in `folder`; None when there is none or it is damaged."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        vocabulary = Vocabulary.from_text(about["vocabulary"])
        names, rejected, notes = (tuple(map(str, about[name])) for name in ("names", "rejected", "notes"))
        splits = [_load_split(folder, split, vocabulary, max(1, len(names))) for split in files.SPLITS]
    except (OSError, EOFError, ValueError, KeyError, TypeError, DataError):
        return None
    return TokenCorpus(vocabulary, names, rejected, notes, *splits)


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


def build(source: Source, tokens: str, labels: str, folder: Path, notify: Callable[[str], None]) -> TokenCorpus | None:
    """Write the tokens of `source` into `folder`, and open them; None when there is no training text in it.

    tokens, labels: as in options.Data. Raises UsageError, DataError when a file changes meanwhile, StorageError.
    """
    problems = Problems()
    plan = _look(source, labels, problems, notify)
    if not plan.cuts.any():
        _report(source, problems)
        return None

    def fill(staging: Path) -> bool:
        vocabulary = _learn(source, tokens, plan)
        _write(source, vocabulary, plan, staging, notify)
        _report(source, problems)
        about = {
            "vocabulary": vocabulary.to_text(),
            "names": [files.printable(name) for name in plan.names],
            "rejected": sorted(source.listing.rejected),
            "notes": [*source.listing.notes, *problems.notes],
        }
        store.save_json(staging / "about.json", about)
        return True

    needed = 2 * sum(entry.size for entry in source.listing.entries)
    return store.opened(folder, load, needed, fill, _NOUN)


def score(text: str) -> float:
    """Return a number in [0, 1) that depends on nothing but `text`."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") / 2**64


def _report(source: Source, problems: Problems) -> None:
    source.listing.rejected.extend(line for line in problems.rejected if line not in source.listing.rejected)


def _look(source: Source, labels: str, problems: Problems, notify: Callable[[str], None]) -> _Plan:
    sizes, scores, raw = array("q"), array("d"), array("q")
    ids: dict[str | None, int] = {}
    pace = Pace()
    for document in documents(source, problems):
        sizes.append(sum(len(block) for block in document.blocks))
        if document.split:
            scores.append(0.0 if document.split == "test" else 2.0)
        else:
            scores.append(score(document.key) if document.key else _POSITIONAL)
        raw.append(ids.setdefault(document.label, len(ids)))
        if pace.due():
            notify(f"read {len(sizes):,} texts")
    names, number = _name(ids, np.frombuffer(raw, np.int64), labels, problems)
    cuts = _cuts(np.frombuffer(sizes, np.int64), np.frombuffer(scores, np.float64), source.test)
    return _Plan(sizes, cuts, number[np.frombuffer(raw, np.int64)], names)


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


def _name(
    ids: dict[str | None, int], raw: np.ndarray, labels: str, problems: Problems
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the labels, and the number of each of `ids` among them; () and zeros when there are not at least two."""
    counts = np.bincount(raw, minlength=len(ids))
    candidates = [name for name in ids if name is not None]
    if labels == "speaker":
        candidates = [name for name in candidates if counts[ids[name]] >= MIN_SPEECHES]
    names = sorted(candidates, key=lambda name: (name.casefold(), name))
    if labels == "speaker" and names and len(names) < len(ids):
        names = [name for name in names if name != OTHER] + [OTHER]
    number = np.zeros(max(1, len(ids)), np.int64)
    if labels == "none" or len(names) < 2 or (None in ids and labels != "speaker"):
        if labels != "none":
            problems.note(f"no labels: data.labels '{labels}' does not tell all texts apart")
        return (), number
    place = {name: i for i, name in enumerate(names)}
    for name, i in ids.items():
        number[i] = place.get(name or "", len(names) - 1)
    return tuple(names), number


def _replay(source: Source, plan: _Plan) -> Iterator[tuple[Document, int, int]]:
    """Yield each document again, with its cut and its label. Raises DataError when there are others than before."""
    number = 0
    for number, document in enumerate(documents(source, Problems()), start=1):
        if number > len(plan.cuts):
            break
        yield document, int(plan.cuts[number - 1]), int(plan.labels[number - 1])
    if number != len(plan.cuts):
        raise DataError(f"the files in {source.path} changed while they were read; start again")


def _learn(source: Source, tokens: str, plan: _Plan) -> Vocabulary:
    def training() -> Iterator[str]:
        for document, cut, _ in _replay(source, plan):
            if document.given and cut:
                yield document.given
            left = cut
            for block in document.blocks:
                if left > 0:
                    yield block[:left]
                left -= len(block)

    counts = np.zeros(128, np.int64)
    if parse(tokens)[0] == "char":
        for text in _gathered(training()):
            new = np.bincount(np.frombuffer(text.encode("utf-32-le"), "<u4"))
            counts = np.pad(counts, (0, max(0, len(new) - len(counts))))
            counts[: len(new)] += new
    return learn(tokens, counts, training())


def _gathered(texts: Iterator[str]) -> Iterator[str]:
    """Yield the same characters in fewer, longer texts."""
    buffer: list[str] = []
    total = 0
    for text in texts:
        buffer.append(text)
        total += len(text)
        if total >= GATHERED:
            yield "".join(buffer)
            buffer, total = [], 0
    yield "".join(buffer)


def _write(source: Source, vocabulary: Vocabulary, plan: _Plan, staging: Path, notify: Callable[[str], None]) -> None:
    train, test = (TokenWriter(staging, split, vocabulary) for split in files.SPLITS)
    pace = Pace()
    for number, (document, cut, label) in enumerate(_replay(source, plan), start=1):
        if document.given is not None:
            (train if cut else test).text(document.given, SEP)
        left = cut
        for block in document.blocks:
            if left > 0:
                train.text(block[:left])
            if left < len(block):
                test.text(block[max(left, 0) :])
            left -= len(block)
            if pace.due():
                notify(f"wrote the tokens of {number:,} of {len(plan.cuts):,} texts")
        if cut:
            train.end(label)
        if left < 0:
            test.end(label)
    train.close()
    test.close()
