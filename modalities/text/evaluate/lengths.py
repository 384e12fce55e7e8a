"""What the length of an item costs: the part of its bits that a model which is told the length does not pay.

A bound on items is given where each ends, by its mask. So P(text) = P(length) P(text | length), and P(length) is a law
learned from the training items, smoothed as the n-grams beside it are (Witten and Bell 1991, method C):

    P(l | g) = (count(g, l) + T(g) P(l)) / (count(g) + T(g))        P(l) = (count(l) + T Q(l)) / (count + T)

l: tokens, with the end; g: tokens that are given (of pairs, the source: who writes it backwards knows the length); T:
how many different l there are, after g or at all; Q: the geometric law on 1, 2, ... whose mean is that of the training
items and 1. Each sums to 1, and no length has probability 0.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import torch
from torch import Tensor


class LengthLaw:
    """The law of the lengths (N,) of training items, given the lengths (N,) of what is told; None: nothing is."""

    def __init__(self, lengths: Tensor, given: Tensor | None = None) -> None:
        """Raises ValueError when there are none, or one is below 1."""
        if not len(lengths) or int(lengths.min()) < 1:
            raise ValueError("the lengths of at least one item, all above 0, expected")
        self._all = Counter(lengths.tolist())
        self._after: dict[int, Counter[int]] = defaultdict(Counter)
        for length, told in zip(lengths.tolist(), [] if given is None else given.tolist(), strict=given is not None):
            self._after[told][length] += 1
        mean = float(lengths.double().mean())
        self._more = mean / (1 + mean)

    def probability(self, length: int, given: int | None = None) -> float:
        """P of a length of at least 1, after `given` told tokens."""
        tail = (1 - self._more) * self._more ** (length - 1)
        p = _blended(self._all, length, tail)
        return p if given is None or given not in self._after else _blended(self._after[given], length, p)

    def nats(self, lengths: Tensor, given: Tensor | None = None) -> Tensor:
        """-log P of each of lengths (N,), float64, given those of what is told, (N,)."""
        told = [None] * len(lengths) if given is None else given.tolist()
        costs = [-math.log(self.probability(length, g)) for length, g in zip(lengths.tolist(), told, strict=True)]
        return torch.tensor(costs, dtype=torch.float64)


def _blended(counts: Counter[int], length: int, otherwise: float) -> float:
    return (counts[length] + len(counts) * otherwise) / (counts.total() + len(counts))
