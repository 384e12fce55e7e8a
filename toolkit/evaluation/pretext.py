"""Tasks for a judge of data without labels: invented labels, so that its features become worth comparing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toolkit.data.dataset import Dataset, Examples, Splits, spaced
from toolkit.diffusion.randomness import seeded_generator
from toolkit.evaluation.judge import Task


class Views(Dataset):
    """Each example once in each of `count` views, which are the labels: quarter turns (Gidaris et al. 2018)."""

    def __init__(self, base: Dataset, view: Callable[[Tensor, int], Tensor], count: int) -> None:
        self.base, self.view, self.count = base, view, count

    def __len__(self) -> int:
        return self.count * len(self.base)

    def take(self, indices: Tensor) -> Examples:
        raw, label = self.base.take(indices // self.count).raw.clone(), indices % self.count
        for which in range(self.count):
            rows = label == which
            raw[rows] = self.view(raw[rows], which)
        return Examples(raw, {"label": label})


class Exemplars(Dataset):
    """Examples `rows` (K,) of a data set, each its own label, to be recognised when varied (Dosovitskiy et al. 2014).

    vary: from raw examples and a generator to variations, or None where the judge's own augmentation is enough.
    """

    def __init__(
        self, base: Dataset, rows: Tensor, vary: Callable[[Tensor, torch.Generator], Tensor] | None = None
    ) -> None:
        self.base, self.rows, self.vary = base, rows, vary

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Tensor) -> Examples:
        raw = self.base.take(self.rows[indices]).raw
        if self.vary is not None and len(raw):
            raw = self.vary(raw, seeded_generator(0, "exemplars", *indices[:1].tolist()))
        return Examples(raw, {"label": indices})


def views(data: Splits, view: Callable[[Tensor, int], Tensor], names: tuple[str, ...]) -> Task:
    """Return the task to tell views apart, tested on the test split, or on training examples when that is empty."""
    facts = data.facts.model_copy(update={"labels": names})
    test = data.test if len(data.test) else data.train
    return Task(data.source, facts, Views(data.train, view, len(names)), Views(test, view, len(names)), pretext=True)


def exemplars(data: Splits, vary: Callable[[Tensor, torch.Generator], Tensor], most: int) -> Task:
    """Return the task to tell up to `most` training examples apart, spread evenly, tested on variations of the same."""
    rows = spaced(len(data.train), most)
    facts = data.facts.model_copy(update={"labels": tuple(f"example {i}" for i in rows.tolist())})
    return Task(data.source, facts, Exemplars(data.train, rows), Exemplars(data.train, rows, vary), pretext=True)
