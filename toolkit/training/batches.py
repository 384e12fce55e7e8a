"""Training batches as functions of (seed, step, position in the global batch)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from toolkit.diffusion.randomness import generator, uniform
from toolkit.modality import Dataset, Modality

POOL = 16
"""Batches that are sorted together."""


class Batches:
    """Encoded, augmented examples with their conditions, for any step, in any order of asking.

    Each epoch is a permutation of the data that depends on (seed, epoch); position p of step k is number
    k * total + p in the endless row of permutations. Where examples differ in length, those of a batch are of like
    length: `POOL` batches at a time are sorted by it, and the batches are then shuffled.
    """

    def __init__(self, modality: Modality, dataset: Dataset, total: int, seed: int, label_drop: float) -> None:
        """`total`: examples of a global batch, over all ranks and accumulated parts."""
        self.modality = modality
        self.dataset = dataset
        self.total = total
        self.seed = seed
        self.label_drop = label_drop
        self._order = lru_cache(maxsize=2)(self._permutation)

    def __call__(self, step: int, positions: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, *) in model space and its conditions, at `step` (0-based) for `positions` in [0, total)."""
        indices = self.indices(step, positions)
        examples = self.dataset.take(indices)
        # one generator for a batch, not for each example: augmentation is vectorised
        raw, cond = self.modality.prepare(examples, generator(self.seed, "augment", step, positions[0]))
        cond = dict(cond)
        if "label" in cond and self.label_drop > 0:
            dropped = uniform(self.seed, "label drop", positions, step) < self.label_drop
            cond["label"] = torch.where(dropped, len(self.modality.labels), cond["label"])
        return self.modality.encode(raw), cond

    def indices(self, step: int, positions: Sequence[int]) -> Tensor:
        """Which examples of the data set: (B,) int64."""
        size = len(self.dataset)
        places = torch.tensor([step * self.total + p for p in positions])
        epochs = places // size
        found = torch.empty_like(places)
        for epoch in epochs.unique().tolist():
            here = epochs == epoch
            found[here] = self._order(epoch)[places[here] % size]
        return found

    def _permutation(self, epoch: int) -> Tensor:
        draw = generator(self.seed, "order", epoch)
        order = torch.randperm(len(self.dataset), generator=draw)
        if self.dataset.lengths is None:
            return order
        # by about the length, or the few examples of a small data set would meet the same ones in every epoch
        about = self.dataset.lengths * (0.8 + 0.4 * torch.rand(len(order), generator=draw))
        pools = order.split(POOL * self.total)
        groups = [group for pool in pools for group in pool[about[pool].argsort(stable=True)].split(self.total)]
        return torch.cat([groups[i] for i in torch.randperm(len(groups), generator=draw).tolist()])
