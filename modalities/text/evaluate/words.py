"""What samples are like as text: words, entropies, distances between n-gram distributions, repetitions.

Every figure depends on how many texts there are and how long they are, so each stands beside that of real text of the
same number and lengths (`like`). None is good alone: copies of the training text have valid words, and noise has high
entropy.
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
    """One figure of a set of samples."""

    name: str
    value: float
    low: float
    high: float
    """The 95 % interval for samples drawn anew; nan where there are too few."""
    reference: float
    """The same figure of real text."""
    unit: str = ""
    """"share": 0 to 1."""
    better: Literal["lower", "floor"] = "floor"
    """floor: the nearer to the reference the better."""

    def share(self) -> Row:
        """Return it as a share."""
        return self._replace(unit="share")


class Grams(NamedTuple):
    """The n-grams of several texts, numbered alike in all of them."""

    ids: Ints
    """(G,)"""
    owner: Ints
    """(G,), the text that each stands in."""
    texts: int

    def of(self, chosen: Ints) -> Floats:
        """How often each number occurs in the texts `chosen` (m,): (K,)."""
        weight = np.bincount(chosen, minlength=self.texts)
        return np.bincount(self.ids, weight[self.owner], int(self.ids.max(initial=-1)) + 1).astype(np.float64)

    def each(self) -> tuple[Ints, Ints]:
        """How many n-grams each text has, and how many different ones: (texts,) twice."""
        pairs = np.unique(self.owner * (int(self.ids.max(initial=0)) + 1) + self.ids)
        kinds = np.bincount(pairs // (int(self.ids.max(initial=0)) + 1), minlength=self.texts)
        return np.bincount(self.owner, minlength=self.texts), kinds


def words(text: str, inner: bool = False) -> list[str]:
    """Letters, with apostrophes between them, in lower case. `inner`: without words cut by the ends of the text."""
    found = list(_WORD.finditer(text))
    if inner:
        found = [word for word in found if word.start() > 0 and word.end() < len(text)]
    return [word.group().casefold() for word in found]


def like(samples: Sequence[str], real: Real) -> list[str]:
    """As many real texts: pieces as long as the samples, spread evenly, or whole texts, spread evenly."""
    n = len(samples)
    if not isinstance(real, str):
        return [real[i * len(real) // n] for i in range(n)]
    starts = [i * max(0, len(real) - len(text)) // max(1, n - 1) for i, text in enumerate(samples)]
    return [real[start : start + len(text)] for start, text in zip(starts, samples)]


def grams(texts: Sequence[Ints], n: int) -> Grams:
    """All runs of `n` symbols of each text."""
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
    """Bits of the distribution of counts (K,); 0 for no counts."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0


def js_distance(a: Floats, b: Floats) -> float:
    """The Jensen-Shannon distance of two distributions given as counts (K,): the square root of the divergence in bits
    (Endres and Schindelin 2003), from 0 to 1. Nan when one is empty."""
    if not (a.sum() and b.sum()):
        return float("nan")
    p, q = a / a.sum(), b / b.sum()
    divergence = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def numbered(texts: Sequence[Sequence[str]]) -> list[Ints]:
    """Words as whole numbers, alike in all texts."""
    table: dict[str, int] = {}
    return [np.array([table.setdefault(word, len(table)) for word in text], dtype=np.int64) for text in texts]


def valid_words(texts: Sequence[Sequence[str]], known: set[str]) -> tuple[float, float]:
    """The share of the words of `texts` that are `known`: of all words, and of the different words. Nan for none."""
    tokens = [word for text in texts for word in text]
    kinds = set(tokens)
    return _share(sum(word in known for word in tokens), len(tokens)), _share(len(kinds & known), len(kinds))


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams of words over all n-grams of words, all texts together (Li et al. 2016, "distinct-n")."""
    found = grams(numbered(texts), n)
    return _share(int(found.ids.max(initial=-1)) + 1, len(found.ids))


def repetition(texts: Sequence[Sequence[str]], n: int) -> float:
    """rep-n (Welleck et al. 2020): the share of n-grams of words that stood in the same text before, mean over texts.

    Texts of fewer than n words are not counted.
    """
    total, kinds = grams(numbered(texts), n).each()
    return float((1 - kinds / np.maximum(total, 1))[total > 0].mean()) if total.any() else float("nan")


def diversity(texts: Sequence[Sequence[str]]) -> float:
    """prod over n = 2, 3, 4 of (1 - rep-n) (Su et al. 2022, section 5.1): 1 when nothing is repeated."""
    return float(np.prod([1 - repetition(texts, n) for n in _REPEATED]))


def describe(samples: Sequence[str], train: Real, held_out: Real) -> list[Row]:
    """All figures of `samples` with 95 % intervals, each beside that of as much held-out text.

    Distances are from all of `held_out`, and their reference is the distance of as much training text from it. Where
    the held-out text is one, pieces begin anywhere, and words at the very ends of a piece are left out as cut.
    Raises ValueError when there are no samples or no held-out text.
    """
    if not samples or not held_out or not train:
        raise ValueError("samples, training text and held-out text expected")
    inner = isinstance(held_out, str)
    control, floor, all_held = like(samples, held_out), like(samples, train), _many(held_out)
    sets = [[words(text, inner) for text in texts] for texts in (samples, control, floor)]
    known = {word for text in _many(train) for word in words(text)}
    rows = _word_rows(sets[0], sets[1], known)

    letters = [[symbols(text) for text in texts] for texts in (samples, control, floor, all_held)]
    rows += _entropy_rows(letters[0], letters[1])
    every_letter = [text for group in letters for text in group]
    every_word = numbered([text for group in (*sets, [words(text) for text in all_held]) for text in group])
    for unit, sequences, longest in (("characters", every_letter, 4), ("words", every_word, 2)):
        for n in range(1, longest + 1):
            rows.append(_distance_row(f"distance of {n}-grams of {unit}", grams(sequences, n), len(samples)))
    return rows + _repetition_rows(sets[0], sets[1])


def averaged(name: str, totals: Floats | Ints, sizes: Floats | Ints, reference: float) -> Row:
    """sum(totals) / sum(sizes), both (n,), with its bootstrap interval over texts."""
    top, bottom = torch.from_numpy(np.asarray(totals, np.float64)), torch.from_numpy(np.asarray(sizes, np.float64))
    if not float(bottom.sum()):
        return Row(name, float("nan"), float("nan"), float("nan"), reference)
    # texts without a word count for nothing; drop them, so that no draw consists of them alone
    top, bottom = top[bottom > 0], bottom[bottom > 0]

    def statistic(drawn: Tensor) -> Tensor:
        return top[drawn.long()].sum(-1) / bottom[drawn.long()].sum(-1)

    low, high = bootstrap(torch.arange(len(top)), statistic)
    return Row(name, float(top.sum() / bottom.sum()), low, high, reference)


def _pooled(name: str, statistic: Callable[[Ints], float], n: int, reference: float, most: float = 1.0) -> Row:
    """A figure of all texts together, with 1.96 standard errors from random halves of them.

    No bootstrap: drawn twice, a text would be a repetition.
    """
    value = statistic(np.arange(n))
    if n < 4:
        return Row(name, value, float("nan"), float("nan"), reference)
    error = 1.96 * half_samples(lambda part: statistic(part.numpy()), torch.arange(n))
    return Row(name, value, max(0.0, value - error), min(most, value + error), reference)


def _word_rows(texts: Sequence[Sequence[str]], control: Sequence[Sequence[str]], known: set[str]) -> list[Row]:
    counts = np.array([len(text) for text in texts])
    right = np.array([sum(word in known for word in text) for text in texts])
    tokens, kinds = valid_words(control, known)
    return [
        averaged("valid words", right, counts, tokens).share(),
        _pooled(
            "valid words, each once", lambda own: valid_words([texts[i] for i in own], known)[1], len(texts), kinds
        ).share(),
    ]


def _entropy_rows(texts: Sequence[Ints], control: Sequence[Ints]) -> list[Row]:
    own, real = grams(texts, 1), grams(control, 1)

    def single(found: Grams) -> Floats:
        return np.array([entropy(found.of(np.array([i]))) for i in range(found.texts)])

    whole = entropy(real.of(np.arange(real.texts)))
    return [
        _pooled("entropy of characters, bits", lambda chosen: entropy(own.of(chosen)), len(texts), whole, np.inf),
        averaged("the same in each text, mean", single(own), np.ones(len(texts)), float(single(real).mean())),
    ]


def _distance_row(name: str, found: Grams, n: int) -> Row:
    """Of texts 0 ... n - 1 from those after 3 n; the reference is that of texts 2 n ... 3 n - 1."""
    held = found.of(np.arange(3 * n, found.texts))
    floor = js_distance(found.of(np.arange(2 * n, 3 * n)), held)
    return _pooled(name, lambda chosen: js_distance(found.of(chosen), held), n, floor)._replace(better="lower")


def _repetition_rows(texts: Sequence[Sequence[str]], control: Sequence[Sequence[str]]) -> list[Row]:
    rows = []
    for n in range(1, 5):
        found = grams(numbered(texts), n)

        def share(chosen: Ints, found: Grams = found) -> float:
            counts = found.of(chosen)
            return _share(int(np.count_nonzero(counts)), float(counts.sum()))

        rows.append(_pooled(f"distinct-{n}", share, len(texts), distinct(control, n)).share())
    repeated, counted = np.zeros((2, len(texts), len(_REPEATED)))
    for column, n in enumerate(_REPEATED):
        total, kinds = grams(numbered(texts), n).each()
        repeated[:, column], counted[:, column] = 1 - kinds / np.maximum(total, 1), total > 0
        repeated[total == 0, column] = 0
        rows.append(averaged(f"rep-{n}", repeated[:, column], counted[:, column], repetition(control, n)).share())
    top, bottom = torch.from_numpy(repeated), torch.from_numpy(counted)

    def product(drawn: Tensor) -> Tensor:
        return (1 - top[drawn.long()].sum(-2) / bottom[drawn.long()].sum(-2)).prod(-1)

    low, high = bootstrap(torch.arange(len(texts)), product)
    return [*rows, Row("diversity", diversity(texts), low, high, diversity(control)).share()]


def _many(real: Real) -> Sequence[str]:
    return [real] if isinstance(real, str) else real


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
