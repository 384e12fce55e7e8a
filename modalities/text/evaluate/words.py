"""Metrics of samples as text: words, entropies, distances between n-gram distributions, repetitions.

Every metric depends on the number and the lengths of texts, so each stands beside that of as many real texts of the
same lengths (`like`). None is good alone: copies of the training text have valid words, and noise has high entropy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modalities.text.evaluate.ngram import Floats, Ints, places, symbols
from toolkit.evaluation.metrics.interval import bootstrap, half_samples

Real = str | Sequence[str]
"""One long text, of which pieces are compared, or many texts, which are compared whole."""
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_REPEATED = (2, 3, 4)


class Row(NamedTuple):
    """One metric of a set of samples."""

    name: str
    value: float
    low: float
    high: float
    """The 95 % interval for samples drawn anew; nan where there are too few."""
    reference: float
    """The same metric of real text."""
    unit: str = ""
    """"share": 0 to 1."""
    better: Literal["lower", "floor"] = "floor"
    """floor: the nearer to the reference the better."""

    def share(self) -> Row:
        """Return the row with the unit "share"."""
        return self._replace(unit="share")


class Grams(NamedTuple):
    """The n-grams of several texts, numbered alike in all of them."""

    ids: Ints
    """Number of each gram, (G,)."""
    owner: Ints
    """Text of each gram, (G,)."""
    texts: int

    def of(self, rows: Ints) -> Floats:
        """Return how often each number occurs in the texts `rows` (m,): (K,)."""
        weight = np.bincount(rows, minlength=self.texts)
        return np.bincount(self.ids, weight[self.owner], int(self.ids.max(initial=-1)) + 1).astype(np.float64)

    def each(self) -> tuple[Ints, Ints]:
        """Count the n-grams of each text, and the different ones: (texts,) twice."""
        pairs = np.unique(self.owner * (int(self.ids.max(initial=0)) + 1) + self.ids)
        kinds = np.bincount(pairs // (int(self.ids.max(initial=0)) + 1), minlength=self.texts)
        return np.bincount(self.owner, minlength=self.texts), kinds


def words(text: str, inner: bool = False) -> list[str]:
    """Return runs of letters, with apostrophes inside, in lower case. `inner`: without words cut by the text's ends."""
    matches = list(_WORD.finditer(text))
    if inner:
        matches = [word for word in matches if word.start() > 0 and word.end() < len(text)]
    return [word.group().casefold() for word in matches]


def like(samples: Sequence[str], real: Real) -> list[str]:
    """Return as many real texts, spread evenly: pieces as long as the samples, or whole texts."""
    n = len(samples)
    if not isinstance(real, str):
        return [real[i * len(real) // n] for i in range(n)]
    starts = [i * max(0, len(real) - len(text)) // max(1, n - 1) for i, text in enumerate(samples)]
    return [real[start : start + len(text)] for start, text in zip(starts, samples)]


def grams(texts: Sequence[Ints], n: int) -> Grams:
    """Return all runs of `n` symbols of each text."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    x = np.concatenate([np.zeros(0, dtype=np.int64), *texts])
    place, owner = places(lengths), np.repeat(np.arange(len(texts)), lengths)
    single = np.unique(x, return_inverse=True)[1].astype(np.int64)
    size, ids = int(single.max(initial=0)) + 1, single
    for length in range(2, n + 1):
        # numbers of the runs that end at each place; those that begin in the text before are left out below
        ids = np.unique(np.append(0, ids[:-1])[: len(ids)] * size + single, return_inverse=True)[1].astype(np.int64)
        ids[place < length - 1] = 0
    whole = place >= n - 1
    return Grams(np.unique(ids[whole], return_inverse=True)[1].astype(np.int64), owner[whole], len(texts))


def entropy(counts: Floats) -> float:
    """Return the entropy in bits of the distribution of counts (K,); 0 for no counts."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0


def js_distance(a: Floats, b: Floats) -> float:
    """Return the Jensen-Shannon distance of two distributions given as counts (K,): the square root of the divergence
    in bits (Endres and Schindelin 2003), from 0 to 1. Nan when one is empty."""
    if not (a.sum() and b.sum()):
        return float("nan")
    p, q = a / a.sum(), b / b.sum()
    divergence = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def number_words(texts: Sequence[Sequence[str]]) -> list[Ints]:
    """Return words as whole numbers, alike in all texts."""
    table: dict[str, int] = {}
    return [np.array([table.setdefault(word, len(table)) for word in text], dtype=np.int64) for text in texts]


def valid_words(texts: Sequence[Sequence[str]], dictionary: set[str]) -> tuple[float, float]:
    """Return the share of words in `dictionary`: of all words of `texts`, and of the different ones. Nan for none."""
    tokens = [word for text in texts for word in text]
    kinds = set(tokens)
    return _share(sum(word in dictionary for word in tokens), len(tokens)), _share(len(kinds & dictionary), len(kinds))


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return different n-grams of words over all of them, all texts together (Li et al. 2016, "distinct-n")."""
    ids = grams(number_words(texts), n).ids
    return _share(int(ids.max(initial=-1)) + 1, len(ids))


def repetition(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return rep-n (Welleck et al. 2020): the share of n-grams of words seen in the same text before, mean over texts.

    Texts of fewer than n words are not counted.
    """
    total, kinds = grams(number_words(texts), n).each()
    return float((1 - kinds / np.maximum(total, 1))[total > 0].mean()) if total.any() else float("nan")


def diversity(texts: Sequence[Sequence[str]]) -> float:
    """Return prod over n = 2, 3, 4 of (1 - rep-n) (Su et al. 2022, section 5.1): 1 when nothing is repeated."""
    return float(np.prod([1 - repetition(texts, n) for n in _REPEATED]))


def describe(samples: Sequence[str], train: Real, held_out: Real) -> list[Row]:
    """Return all metrics of `samples` with 95 % intervals, each beside that of as much held-out text.

    Distances are from all of `held_out`, and their reference is the distance of as much training text from it. Where
    the held-out text is one, pieces begin anywhere, and words at the very ends of a piece are left out as cut.
    Raises ValueError when there are no samples or no held-out text.
    """
    if not samples or not held_out or not train:
        raise ValueError("samples, training text and held-out text expected")
    inner = isinstance(held_out, str)
    control, floor, all_held = like(samples, held_out), like(samples, train), _many(held_out)
    sets = [[words(text, inner) for text in texts] for texts in (samples, control, floor)]
    rows = _word_rows(sets[0], sets[1], {word for text in _many(train) for word in words(text)})

    letters = [[symbols(text) for text in texts] for texts in (samples, control, floor, all_held)]
    rows += _entropy_rows(letters[0], letters[1])
    every_letter = [text for group in letters for text in group]
    every_word = number_words([text for group in (*sets, [words(text) for text in all_held]) for text in group])
    for unit, sequences, longest in (("characters", every_letter, 4), ("words", every_word, 2)):
        for n in range(1, longest + 1):
            rows.append(_distance_row(f"distance of {n}-grams of {unit}", grams(sequences, n), len(samples)))
    return rows + _repetition_rows(sets[0], sets[1])


def average(name: str, totals: Floats | Ints, sizes: Floats | Ints, reference: float) -> Row:
    """Return sum(totals) / sum(sizes), both (n,), with its bootstrap interval over texts."""
    top, bottom = torch.from_numpy(np.asarray(totals, np.float64)), torch.from_numpy(np.asarray(sizes, np.float64))
    if not float(bottom.sum()):
        return Row(name, float("nan"), float("nan"), float("nan"), reference)
    # texts without a word count for nothing; drop them, so that no draw consists of them alone
    top, bottom = top[bottom > 0], bottom[bottom > 0]

    def statistic(rows: Tensor) -> Tensor:
        return top[rows.long()].sum(-1) / bottom[rows.long()].sum(-1)

    low, high = bootstrap(torch.arange(len(top)), statistic)
    return Row(name, float(top.sum() / bottom.sum()), low, high, reference)


def _pool(name: str, statistic: Callable[[Ints], float], n: int, reference: float, most: float = 1.0) -> Row:
    """Return a metric of all texts together, with 1.96 standard errors from random halves of them.

    No bootstrap: a text drawn twice would be a repetition.
    """
    value = statistic(np.arange(n))
    if n < 4:
        return Row(name, value, float("nan"), float("nan"), reference)
    error = 1.96 * half_samples(lambda part: statistic(part.numpy()), torch.arange(n))
    return Row(name, value, max(0.0, value - error), min(most, value + error), reference)


def _word_rows(texts: Sequence[Sequence[str]], control: Sequence[Sequence[str]], dictionary: set[str]) -> list[Row]:
    counts = np.array([len(text) for text in texts])
    right = np.array([sum(word in dictionary for word in text) for text in texts])
    tokens, kinds = valid_words(control, dictionary)
    return [
        average("valid words", right, counts, tokens).share(),
        _pool(
            "valid words, each once", lambda own: valid_words([texts[i] for i in own], dictionary)[1], len(texts), kinds
        ).share(),
    ]


def _entropy_rows(texts: Sequence[Ints], control: Sequence[Ints]) -> list[Row]:
    own, real = grams(texts, 1), grams(control, 1)

    def single(letters: Grams) -> Floats:
        return np.array([entropy(letters.of(np.array([i]))) for i in range(letters.texts)])

    whole = entropy(real.of(np.arange(real.texts)))
    return [
        _pool("entropy of characters, bits", lambda rows: entropy(own.of(rows)), len(texts), whole, np.inf),
        average("the same in each text, mean", single(own), np.ones(len(texts)), float(single(real).mean())),
    ]


def _distance_row(name: str, every: Grams, n: int) -> Row:
    """Return the distance of texts 0 ... n - 1 from those after 3 n; the reference is that of texts 2 n ... 3 n - 1."""
    held_out = every.of(np.arange(3 * n, every.texts))
    floor = js_distance(every.of(np.arange(2 * n, 3 * n)), held_out)
    return _pool(name, lambda rows: js_distance(every.of(rows), held_out), n, floor)._replace(better="lower")


def _repetition_rows(texts: Sequence[Sequence[str]], control: Sequence[Sequence[str]]) -> list[Row]:
    rows = []
    for n in range(1, 5):
        own = grams(number_words(texts), n)

        def share(rows: Ints, own: Grams = own) -> float:
            counts = own.of(rows)
            return _share(int(np.count_nonzero(counts)), float(counts.sum()))

        rows.append(_pool(f"distinct-{n}", share, len(texts), distinct(control, n)).share())
    repeated, counted = np.zeros((2, len(texts), len(_REPEATED)))
    for column, n in enumerate(_REPEATED):
        total, kinds = grams(number_words(texts), n).each()
        repeated[:, column], counted[:, column] = 1 - kinds / np.maximum(total, 1), total > 0
        repeated[total == 0, column] = 0
        rows.append(average(f"rep-{n}", repeated[:, column], counted[:, column], repetition(control, n)).share())
    top, bottom = torch.from_numpy(repeated), torch.from_numpy(counted)

    def product(draws: Tensor) -> Tensor:
        return (1 - top[draws.long()].sum(-2) / bottom[draws.long()].sum(-2)).prod(-1)

    low, high = bootstrap(torch.arange(len(texts)), product)
    return [*rows, Row("diversity", diversity(texts), low, high, diversity(control)).share()]


def _many(real: Real) -> Sequence[str]:
    return [real] if isinstance(real, str) else real


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
