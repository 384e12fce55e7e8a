"""What is shown beside what: for each label and seed a sample of each run, and a real example of that label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

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
    """"A", "B" or "real"."""
    what: str
    """The run, its step and its average; or where real examples come from."""


class Row(NamedTuple):
    """Examples of one label."""

    label: str
    shown: dict[str, Shown]
    """By the names of the sides; one without a real example of the label lacks it."""


def rows_of(
    generators: Sequence[Generator],
    n: int,
    seed: int,
    label: str | None,
    real: Modality | None,
    options: dict[str, object],
    notify: Callable[[str], None],
) -> list[Row]:
    """Return n rows: samples of one or two runs with equal labels and seeds, and real ones of the first run's data.

    `real`: a modality whose data is open, or None. `label`, `options`: as for `Generator.sample`. Raises UsageError
    where the runs have other labels, or are of other modalities.
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
        samples = generator.sample(n, label, seed=seed, **options)  # type: ignore[arg-type]
        labels = samples.labels
        sides[name] = generator.modality.view().shown(samples.raw)
    found: list[dict[str, Shown]] = [{name: shown[i] for name, shown in sides.items()} for i in range(n)]
    if real is not None:
        for i, shown in _real(real, labels, n, seed).items():
            found[i][REAL] = shown
    return [Row(labels[i] if labels else "", shown) for i, shown in enumerate(found)]


def _real(real: Modality, labels: Sequence[str], n: int, seed: int) -> dict[int, Shown]:
    """Return a real example for each row, held-out ones first; none twice, and none where a label has no more."""
    assert real.splits is not None
    pools: list[tuple[Dataset, list[int], list[str]]] = []
    for split, dataset in (("test", real.splits.test), ("train", real.splits.train)):
        order = torch.randperm(len(dataset), generator=seeded_generator(seed, "beside", split)).tolist()
        pools.append((dataset, order, _labels(real, dataset) if labels else []))
    chosen: dict[int, Tensor] = {}
    used: set[tuple[int, int]] = set()
    for i in range(n):
        wanted = labels[i] if labels and labels[i] in real.labels else None
        for pool, (dataset, order, names) in enumerate(pools):
            free = (k for k in order if (pool, k) not in used and (wanted is None or names[k] == wanted))
            if (k := next(free, None)) is not None:
                used.add((pool, k))
                chosen[i] = dataset.take(torch.tensor([k])).raw
                break
    return {i: real.view().shown(raw)[0] for i, raw in chosen.items()}


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
