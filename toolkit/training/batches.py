"""Training batches as functions of (seed, step, position in the global batch)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from toolkit.diffusion.randomness import Draws, seeded_generator, uniform
from toolkit.modality import Dataset, Examples, Modality

POOL = 16
"""Batches that are sorted together."""


class Batches:
    """Encoded, augmented examples with their conditions, for any step, in any order of asking.

    Each epoch is a permutation of the data that depends on (seed, epoch), or with `balance` a draw of as many examples
    in which rare labels are more frequent (`shares`); position p of step k is number
    k * total + p in the endless row of permutations. Where examples differ in length, those of a batch are of like
    length: `POOL` batches at a time are sorted by it, and the batches are then shuffled.

    What an example comes to does not depend on which others are asked for with it. Examples of unequal length are
    padded alike in a whole batch, so of those a step is prepared as a whole, whatever part of it is asked for.
    """

    def __init__(
        self, modality: Modality, dataset: Dataset, total: int, seed: int, label_drop: float, balance: float = 0.0
    ) -> None:
        """`total`: examples of a global batch, over all ranks and accumulated parts. `balance`: 0 takes labels as often
        as the data has them, 1 all equally often; it changes nothing where there are none.
        """
        self._shares = shares(dataset.labels, balance) if balance and dataset.labels is not None else None
        self.modality = modality
        self.conditioning = modality.conditioning()
        self.dataset = dataset
        self.total = total
        self.seed = seed
        self.label_drop = label_drop
        self._order = lru_cache(maxsize=2)(self._permutation)
        self._whole = lru_cache(maxsize=1)(self._step)

    def __call__(self, step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, *) in model space and its conditions, at `step` (0-based) for `positions` in [0, total)."""
        if self.dataset.lengths is None:
            raw, cond = self._prepare(step, positions)
        elif list(positions) == list(range(self.total)):
            raw, cond = self._step(step)
        else:
            whole, rows = self._whole(step), list(positions)
            raw, cond = whole.raw[rows], {name: value[rows] for name, value in whole.cond.items()}
        return self.modality.encode(raw), cond

    def indices(self, step: int, positions: Sequence[int]) -> Tensor:
        """Return the numbers of the examples in the data set: (B,) int64."""
        size = len(self.dataset)
        places = torch.tensor([step * self.total + p for p in positions])
        epochs = places // size
        rows = torch.empty_like(places)
        for epoch in epochs.unique().tolist():
            here = epochs == epoch
            rows[here] = self._order(epoch)[places[here] % size]
        return rows

    def _step(self, step: int) -> Examples:
        return self._prepare(step, range(self.total))

    def _prepare(self, step: int, positions: Sequence[int]) -> Examples:
        """Augmented examples, some of their labels hidden; not encoded."""
        examples = self.dataset.take(self.indices(step, positions))
        raw, cond = self.conditioning.batch(examples, Draws(self.seed, positions, ("augment", step)))
        cond = dict(cond)
        if "label" in cond and self.label_drop > 0:
            dropped = uniform(self.seed, "label drop", positions, step) < self.label_drop
            cond["label"] = torch.where(dropped, len(self.modality.labels), cond["label"])
        return Examples(raw, cond)

    def _permutation(self, epoch: int) -> Tensor:
        draw = seeded_generator(self.seed, "order", epoch)
        size = len(self.dataset)
        order = torch.randperm(size, generator=draw)
        if self._shares is not None:
            order = self._balance(epoch, self._shares)[order]
        # steps do not begin with epochs: these many examples belong to the batches shared with the epochs beside it
        head = -epoch * size % self.total
        tail = (size - head) % self.total
        if self.dataset.lengths is None or head + tail + self.total > size:
            return order
        # by about the length, or the few examples of a small data set would meet the same ones in every epoch
        about = self.dataset.lengths * (0.8 + 0.4 * torch.rand(size, generator=draw))
        first, order = _run(order, about, head, self._meeting(epoch))
        last, order = _run(order, about, tail, self._meeting(epoch + 1))
        pools = order.split(POOL * self.total)
        groups = [group for pool in pools for group in pool[about[pool].argsort(stable=True)].split(self.total)]
        return torch.cat([first, *(groups[i] for i in torch.randperm(len(groups), generator=draw).tolist()), last])

    def _balance(self, epoch: int, quota: Sequence[int]) -> Tensor:
        """Return the examples of an epoch, `quota` of each label: the next ones of its own row of permutations."""
        assert self.dataset.labels is not None
        parts = []
        for label, count in enumerate(quota):
            members = torch.nonzero(self.dataset.labels == label)[:, 0]
            first, last = epoch * count, (epoch + 1) * count
            for turn in range(first // max(1, len(members)), -(-last // max(1, len(members)))):
                shuffled = torch.randperm(len(members), generator=seeded_generator(self.seed, f"turn of {label}", turn))
                start = turn * len(members)
                parts.append(members[shuffled[max(0, first - start) : last - start]])
        return torch.cat(parts)

    def _meeting(self, epoch: int) -> float:
        """Return the quantile of the length of the batch that `epoch` shares with the one before."""
        return float(uniform(self.seed, "meeting", [epoch]))


def shares(labels: Tensor, balance: float) -> list[int]:
    """Return how many of as many examples as there are have each label: in proportion to its count ** (1 - balance).

    labels: (N,) int64. Rounded by largest remainders, so that they sum to N.
    """
    counts = torch.bincount(labels).double()
    weights = torch.where(counts > 0, counts ** (1 - balance), 0.0)
    exact = len(labels) * weights / weights.sum()
    quota = exact.floor().long()
    missing = len(labels) - int(quota.sum())
    quota[(exact - quota).argsort(descending=True, stable=True)[:missing]] += 1
    numbers: list[int] = quota.tolist()
    return numbers


def _run(order: Tensor, about: Tensor, count: int, quantile: float) -> tuple[Tensor, Tensor]:
    """`count` examples of like length, about the `quantile` of all, and the others in their order."""
    ranked = about[order].argsort(stable=True)
    start = round(quantile * (len(order) - count))
    chosen = torch.zeros(len(order), dtype=torch.bool)
    chosen[ranked[start : start + count]] = True
    return order[ranked[start : start + count]], order[~chosen]
