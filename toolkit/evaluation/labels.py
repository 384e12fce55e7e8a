"""Metrics of labels: agreement, overall and for each, and the score of a classifier trained on samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toolkit.data.dataset import Dataset, Examples, InMemory, evenly
from toolkit.evaluation.agreement import agreement, parts
from toolkit.evaluation.judge import Judge, recognises, train_on
from toolkit.evaluation.metrics.interval import wilson
from toolkit.evaluation.table import Metric, omission


def agreement_figures(
    targets: Tensor | None, predictions: Tensor, names: Sequence[str], real: Tensor, real_right: Tensor, judge: str
) -> list[Metric]:
    """Return shares of samples whose predicted label is the target, beside how often the judge is right on real ones.

    targets, predictions: (n,) int64 numbers in `names`; a target of len(names) or more is no label. real, real_right:
    the labels (m,) of real test examples and whether the judge predicts them.
    """
    labelled = targets < len(names) if targets is not None else None
    if targets is None or labelled is None or not bool(labelled.any()):
        return [omission("agreement", "the samples have no labels of the data", judge)]
    targets, predictions = targets[labelled], predictions[labelled]
    right, chance = targets == predictions, 1 / len(names)
    metrics = [_share("agreement", right, real_right, chance, judge)]
    for part in range(parts(names) if parts(names) > 1 else 0):
        a, b = ([names[i] for i in numbers.tolist()] for numbers in (targets, predictions))
        kinds = len({name.split("-")[part] for name in names})
        metrics.append(_share(f"agreement part {part + 1}", agreement(a, b, part), None, 1 / kinds, judge))
    for number, name in enumerate(names):
        mine, theirs = targets == number, real == number
        if bool(mine.any()):
            floor = real_right[theirs] if bool(theirs.any()) else None
            metrics.append(_share(f"agreement/{name}", right[mine], floor, chance, judge))
    return metrics


def accuracy_figure(
    judge: Judge, train: Dataset, test: Dataset, samples: Examples, notify: Callable[[str], None]
) -> Metric:
    """Return the CAS: how often a judge trained on samples is right on real examples (Ravuri and Vinyals 2019).

    Floor: one trained on as many real examples. Takes two trainings.
    """
    label = samples.cond.get("label")
    labelled = label < len(judge.names) if label is not None else torch.zeros(0, dtype=torch.bool)
    if label is None or not bool(labelled.any()):
        return omission("CAS", "the samples have no labels of the data", judge.name)
    n = min(int(labelled.sum()), len(train))
    notify(f"training two judges on {n:,} samples and {n:,} real examples, for CAS")
    right, floor = (
        recognises(train_on(judge, data), test)
        for data in (InMemory(samples.raw[labelled][:n], {"label": label[labelled][:n]}), InMemory(*evenly(train, n)))
    )
    return _share("CAS", right, floor, 1 / len(judge.names), judge.name)


def _share(name: str, right: Tensor, floor: Tensor | None, chance: float, judge: str) -> Metric:
    count, n = int(right.sum()), len(right)
    real = None if floor is None or not len(floor) else float(floor.double().mean())
    return Metric(name, count / n, *wilson(count, n), n, real, chance, "higher", judge, "share")
