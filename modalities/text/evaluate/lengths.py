"""The cost of an item's length: the part of its bits that a model conditioned on the length does not pay.

The bound on items is conditioned on their ends, by the mask. So P(text) = P(length) P(text | length), and P(length) is
a law learned from the training items, smoothed as the n-grams beside it are (Witten and Bell 1991, method C):

    P(l | g) = (count(g, l) + T(g) P(l)) / (count(g) + T(g))        P(l) = (count(l) + T Q(l)) / (count + T)

l: tokens, with the end; g: given tokens (of pairs, the source: its length decides that of the same backwards); T: the
number of different l, after g or at all; Q: the geometric law on 1, 2, ... whose mean is that of the training items
and 1. Each sums to 1, and no length has probability 0.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import torch
from torch import Tensor


class LengthLaw:
    """Law of the lengths (N,) of training items, conditioned on how many tokens are given (N,); None: on nothing."""

    def __init__(self, lengths: Tensor, given: Tensor | None = None) -> None:
        """Count the lengths. Raises ValueError when there are none, or one is below 1."""
        if not len(lengths) or int(lengths.min()) < 1:
            raise ValueError("the lengths of at least one item, all above 0, expected")
        self._all = Counter(lengths.tolist())
        self._after: dict[int, Counter[int]] = defaultdict(Counter)
        for length, g in zip(lengths.tolist(), [] if given is None else given.tolist(), strict=given is not None):
            self._after[g][length] += 1
        mean = float(lengths.double().mean())
        self._more = mean / (1 + mean)

    def probability(self, length: int, given: int | None = None) -> float:
        """Return P of a length of at least 1, after `given` given tokens."""
        tail = (1 - self._more) * self._more ** (length - 1)
        p = _blended(self._all, length, tail)
        return p if given is None or given not in self._after else _blended(self._after[given], length, p)

    def nats(self, lengths: Tensor, given: Tensor | None = None) -> Tensor:
        """Return -log P of each of lengths (N,), float64, after so many given tokens (N,)."""
        counts = [None] * len(lengths) if given is None else given.tolist()
        costs = [-math.log(self.probability(length, g)) for length, g in zip(lengths.tolist(), counts, strict=True)]
        return torch.tensor(costs, dtype=torch.float64)


def _blended(counts: Counter[int], length: int, otherwise: float) -> float:
    return (counts[length] + len(counts) * otherwise) / (counts.total() + len(counts))
