"""Copies from the training text: the longest passage of each sample that stands there, character for character.

A copy is exact and may begin anywhere. Real text repeats itself too, so these metrics mean something only beside those
of held-out text of the same lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modalities.text.evaluate.ngram import Ints, Text, symbols
from modalities.text.evaluate.words import Real, Row, average, like, words
from toolkit.evaluation.metrics.interval import wilson

RUN = 50
"""Characters from which a passage counts as copied: so long a repetition is no accident in real text."""
_TRAIN_ENDS, _SAMPLE_ENDS = 0, 1


class LongestCopies(NamedTuple):
    """Longest passage of each sample that occurs in the training text."""

    length: Ints
    """Symbols, (n,)."""
    start: Ints
    """Position in the sample, (n,); that of the first of equally long ones."""
    source: Ints
    """Position in the training text, (n,); one of perhaps several."""

    def share(self, run: int = RUN) -> float:
        """Return the share of samples in which at least `run` symbols on end are copied."""
        return float((self.length >= run).mean())


def longest(samples: Sequence[Text], train: Text) -> LongestCopies:
    """Find the longest exact copy from `train` in each of `samples`.

    Training text and samples are sorted together by what follows each place, as in a suffix array made by prefix
    doubling (Manber and Myers 1993). The training place that shares most with a place of a sample is then one of its
    two nearest in that order. Takes about 1 s for 1,000 samples of 128 characters and 1 MB; the time grows with the
    logarithm of the longest sample. Raises ValueError when there is no sample.
    """
    parts = [symbols(text) for text in samples]
    if not parts:
        raise ValueError("no samples to look for in the training text")
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    body = symbols(train)
    # two different marks, so that no copy runs over the end of either text
    x = np.concatenate([body + 2, [_TRAIN_ENDS], *(piece for part in parts for piece in (part + 2, [_SAMPLE_ENDS]))])
    names = _names(x, int(lengths.max()))
    order = np.argsort(names[-1], kind="stable")
    in_train = order < len(body)
    # the training places nearest before and after each place of the order; there may be none
    at = np.arange(len(order))
    before = np.maximum.accumulate(np.where(in_train, at, -1))
    after = np.minimum.accumulate(np.where(in_train, at, len(order))[::-1])[::-1]
    of_samples = ~in_train & (order > len(body))
    own = order[of_samples]
    best, source = np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=np.int64)
    for near in (before[of_samples], after[of_samples]):
        other = np.where((near >= 0) & (near < len(order)), order[np.clip(near, 0, len(order) - 1)], len(body))
        shared = _common_length(names, own, other)
        better = shared > best[own]
        best[own[better]], source[own[better]] = shared[better], other[better]
    begins = len(body) + 1 + np.cumsum(lengths + 1) - (lengths + 1)
    start = np.array([int(best[a : a + n + 1].argmax()) for a, n in zip(begins, lengths)], dtype=np.int64)
    return LongestCopies(best[begins + start], start, source[begins + start])


def known_grams(samples: Sequence[Sequence[str]], train: Sequence[str], n: int = 4) -> tuple[Ints, Ints]:
    """Count the n-grams of words in each sample, and those of them that occur in `train`: (m,) twice.

    Texts are lists of words. The share that occurs, for n = 4, is the overlap of Lovelace et al. (2023, LD4LG).
    """
    train_grams = set(zip(*(train[i:] for i in range(n))))
    grams = [list(zip(*(sample[i:] for i in range(n)))) for sample in samples]
    return (
        np.array([len(of_one) for of_one in grams], dtype=np.int64),
        np.array([sum(gram in train_grams for gram in of_one) for of_one in grams], dtype=np.int64),
    )


def describe(samples: Sequence[str], train: Real, held_out: Real) -> list[Row]:
    """Return how much of `samples` is copied from `train`, with 95 % intervals, each metric beside held-out text's.

    Raises ValueError when there are no samples.
    """
    inner = isinstance(held_out, str)
    control, n = like(samples, held_out), len(samples)
    # a mark between the texts, so that no copy runs over the end of one
    body = train if isinstance(train, str) else "\0".join(train)
    lengths = longest([*samples, *control], body).length
    own, real = lengths[:n], lengths[n:]
    low, high = wilson(int((own >= RUN).sum()), n)
    train_words = words(body)
    total, overlap = known_grams([words(text, inner) for text in samples], train_words)
    reference = [sum(counts) for counts in known_grams([words(text, inner) for text in control], train_words)]
    ones = np.ones(n)
    return [
        Row(
            f"texts with {RUN} characters copied", float((own >= RUN).mean()), low, high, float((real >= RUN).mean())
        ).share(),
        average("longest copy in a text, mean", own, ones, float(real.mean())),
        Row("longest copy of all", float(own.max()), float("nan"), float("nan"), float(real.max())),
        average(
            "4-grams of words known", overlap, total, reference[1] / reference[0] if reference[0] else math.nan
        ).share(),
    ]


def _names(x: Ints, longest: int) -> list[Ints]:
    """Return names[j][i], the alphabetical rank of the 2^j symbols from place i on, up to 2^j >= `longest`."""
    names = [np.unique(x, return_inverse=True)[1]]
    while 1 << (len(names) - 1) < longest:
        half, last = 1 << (len(names) - 1), names[-1]
        # nothing, beyond the end of x, comes before everything
        second = np.concatenate([last[half:] + 1, np.zeros(min(half, len(x)), dtype=np.int64)])
        names.append(np.unique(last * (len(x) + 2) + second, return_inverse=True)[1])
    return names


def _common_length(names: list[Ints], a: Ints, b: Ints) -> Ints:
    """Return how many symbols from places a and b on are the same, (n,), if fewer than 2^len(names)."""
    a, b, total = a.copy(), b.copy(), np.zeros(len(a), dtype=np.int64)
    size = len(names[0])
    for j in reversed(range(len(names))):
        same = (a < size) & (b < size) & (names[j][np.minimum(a, size - 1)] == names[j][np.minimum(b, size - 1)])
        step = np.where(same, 1 << j, 0)
        total, a, b = total + step, a + step, b + step
    return total
