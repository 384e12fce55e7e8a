"""Rows of examples side by side: for each label and seed a sample of each run, and a real example of that label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from toolkit.data.dataset import Dataset
from toolkit.diffusion import seeded_generator
from toolkit.errors import UsageError
from toolkit.modality import Modality
from toolkit.view import Shown

if TYPE_CHECKING:
    from toolkit.run.generator import Generator

REAL = "real"


class Side(NamedTuple):
    """A column of the page."""

    name: str
    """One of A, B and real."""
    what: str
    """The run, its step and its average; or the source of the real examples."""


class Row(NamedTuple):
    """Examples of one label."""

    label: str
    shown: dict[str, Shown]
    """Examples by the names of the sides; a side without a real example of the label is missing."""


def rows_of(
    generators: Sequence[Generator],
    n: int,
    seed: int,
    label: str | None,
    options: Mapping[str, Any],
    notify: Callable[[str], None],
) -> list[Row]:
    """Return n rows: samples of one or two runs with equal labels and seeds, and real ones where A's data is open.

    `label`, `options`: as for `Generator.sample`. Raises UsageError where the runs have other labels, or are of other
    modalities.
    """
    first = generators[0].modality
    for other in (generator.modality for generator in generators[1:]):
        if other.name != first.name:
            raise UsageError(f"a run of {first.name} cannot stand beside one of {other.name}")
        if other.labels != first.labels:
            raise UsageError(
                f"the runs have other labels: {_some(first.labels)}, and {_some(other.labels)}; compare runs of one "
                "data set, or each with real examples alone"
            )
    sides: dict[str, list[Shown]] = {}
    labels: tuple[str, ...] = ()
    for name, generator in zip("AB", generators):
        notify(f"drawing {n} samples of {name}")
        samples = generator.sample(n, label, seed=seed, **options)
        labels = samples.labels
        sides[name] = generator.modality.view().shown(samples.raw)
    shown = [{name: examples[i] for name, examples in sides.items()} for i in range(n)]
    if first.splits is not None:
        for i, example in _real(first, labels, n, seed).items():
            shown[i][REAL] = example
    return [Row(labels[i] if labels else "", each) for i, each in enumerate(shown)]


def _real(real: Modality, labels: Sequence[str], n: int, seed: int) -> dict[int, Shown]:
    """Return a real example for each row, held-out ones first; none twice, and none where a label has no more."""
    assert real.splits is not None
    left: list[tuple[Dataset, int, str]] = []
    for split, dataset in (("test", real.splits.test), ("train", real.splits.train)):
        names = _labels(real, dataset)
        order = torch.randperm(len(dataset), generator=seeded_generator(seed, "beside", split)).tolist()
        left += [(dataset, k, names[k]) for k in order]
    chosen: dict[int, Shown] = {}
    for row in range(n):
        label = labels[row] if labels and labels[row] in real.labels else None
        place = next((i for i, (_, _, name) in enumerate(left) if label in (None, name)), None)
        if place is not None:
            dataset, k, _ = left.pop(place)
            chosen[row] = real.view().shown(dataset.take(torch.tensor([k])).raw)[0]
    return chosen


def _labels(real: Modality, dataset: Dataset) -> list[str]:
    """Return the label of each example; "" for those without one."""
    names = [*real.labels, ""]
    numbers = dataset.labels
    if numbers is None and len(dataset):
        numbers = dataset.take(torch.arange(len(dataset))).cond.get("label")
    if numbers is None:
        return [""] * len(dataset)
    return [names[min(k, len(names) - 1)] for k in numbers.tolist()]


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:3]) + (" ..." if len(labels) > 3 else "") if labels else "none"
