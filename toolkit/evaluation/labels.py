"""Figures of asked labels: agreement, overall and for each, and the score of a classifier trained on samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toolkit.data.dataset import Dataset, Examples, InMemory, evenly
from toolkit.evaluation.agreement import agreement, parts
from toolkit.evaluation.judge import Judge, recognised, trained_on
from toolkit.evaluation.metrics.interval import wilson
from toolkit.evaluation.table import Metric, left_out


def agreement_figures(
    asked: Tensor | None, seen: Tensor, names: Sequence[str], real: Tensor, real_right: Tensor, judge: str
) -> list[Metric]:
    """Shares of examples in which the judge sees the asked label, beside how often it is right on real ones.

    asked, seen: (n,) int64 numbers in `names`; len(names) or more asks for no label. real, real_right: the labels
    (m,) of real test examples and whether the judge saw them.
    """
    known = asked < len(names) if asked is not None else None
    if asked is None or known is None or not bool(known.any()):
        return [left_out("agreement", "the samples have no labels of the data", judge)]
    asked, seen = asked[known], seen[known]
    right, chance = asked == seen, 1 / len(names)
    figures = [_share("agreement", right, real_right, chance, judge)]
    for part in range(parts(names) if parts(names) > 1 else 0):
        wanted, found = ([names[i] for i in numbers.tolist()] for numbers in (asked, seen))
        kinds = len({name.split("-")[part] for name in names})
        figures.append(_share(f"agreement part {part + 1}", agreement(wanted, found, part), None, 1 / kinds, judge))
    for number, name in enumerate(names):
        mine, theirs = asked == number, real == number
        if bool(mine.any()):
            floor = real_right[theirs] if bool(theirs.any()) else None
            figures.append(_share(f"agreement/{name}", right[mine], floor, chance, judge))
    return figures


def accuracy_figure(
    judge: Judge, train: Dataset, test: Dataset, made: Examples, notify: Callable[[str], None]
) -> Metric:
    """CAS: how often a judge trained on made examples is right on real ones (Ravuri and Vinyals 2019).

    Floor: one trained on as many real ones. Takes two trainings.
    """
    label = made.cond.get("label")
    known = label < len(judge.names) if label is not None else torch.zeros(0, dtype=torch.bool)
    if label is None or not bool(known.any()):
        return left_out("CAS", "the samples have no labels of the data", judge.name)
    n = min(int(known.sum()), len(train))
    notify(f"training two judges on {n:,} made and {n:,} real examples, for CAS")
    right, floor = (
        recognised(trained_on(judge, data), test)
        for data in (InMemory(made.raw[known][:n], {"label": label[known][:n]}), InMemory(*evenly(train, n)))
    )
    return _share("CAS", right, floor, 1 / len(judge.names), judge.name)


def _share(what: str, right: Tensor, floor: Tensor | None, chance: float, judge: str) -> Metric:
    count, n = int(right.sum()), len(right)
    real = None if floor is None or not len(floor) else float(floor.double().mean())
    return Metric(what, count / n, *wilson(count, n), n, real, chance, "higher", judge, "share")
