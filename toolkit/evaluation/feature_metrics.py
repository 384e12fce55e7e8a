"""All figures of made examples under one judge, each beside what real examples and noise score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from toolkit.data.dataset import Dataset, Examples, Splits, evenly, spaced
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import DataError
from toolkit.evaluation.judge import Judge
from toolkit.evaluation.labels import accuracy_figure, agreement_figures
from toolkit.evaluation.metrics.all import Features, Group, measure_all
from toolkit.evaluation.metrics.interval import bootstrap, wilson
from toolkit.evaluation.table import EvaluationResult, Metric, left_out

MAX_REAL = 5_000
"""Real examples of each split that are compared with, spread evenly."""
FEWEST_MADE, FEWEST_REAL = 16, 32
HALVINGS, OTHERS = 5, 3
"""Random halves of few real examples; random parts of many training examples, for the floor."""
FEWEST_HELD, ALONE = 50, 500
"""Held-out examples that make a control, at least and at most; with fewer, ALONE training examples are, each compared
with the others. ALONE divides MAX_REAL, so that some(train, MAX_REAL) holds those of some(train, ALONE)."""

NearestSearch = Callable[[Tensor, "Tensor | None"], tuple[Tensor, Tensor]]
"""Raw examples (n, ...), and their own numbers in the train split (n,) or None, to the distance to the nearest
training example, other than themselves, and its number: (n,), (n,)."""


class Critic(Protocol):
    """What `compare` judges with: a `Judge`, or a network of the user's."""

    name: str
    accuracy: float
    tested: int
    pretext: bool

    @property
    def names(self) -> Sequence[str]: ...

    def features(self, raw: Tensor) -> Tensor: ...


def compare(
    critic: Critic,
    train: Dataset,
    test: Dataset,
    made: Examples,
    noise: Callable[[int], Tensor],
    closest: NearestSearch,
    cas: bool = False,
    notify: Callable[[str], None] = print,
) -> EvaluationResult:
    """Return the metrics of `made`: raw, and cond["label"], the asked labels numbered as the data's, if any.

    noise: so many raw examples of it, for the ceiling. cas: add the classification accuracy score.
    """
    held = evenly(test, MAX_REAL)
    seen = features(critic, made.raw)
    known = features(critic, held.raw) if len(test) else seen[:0]
    groups, size = grouped(features(critic, evenly(train, MAX_REAL).raw), known, len(seen))
    static = noise(size)
    figures = about(critic)
    if isinstance(critic, Judge) and seen.p is not None and known.p is not None:
        right = known.p.argmax(1) == held.cond["label"]
        asked = made.cond.get("label")
        figures += agreement_figures(asked, seen.p.argmax(1), critic.names, held.cond["label"], right, critic.name)
        if cas:
            figures.append(accuracy_figure(critic, train, test, made, notify))
    figures += measure_all(seen, features(critic, static), groups, size, critic.name)
    distance, which = closest(made.raw, None)
    return EvaluationResult(figures + memorisation_metrics(train, test, distance, static, closest), which, distance)


def check_counts(samples: int, data: Splits) -> None:
    """Raise DataError when there are too few samples or real examples to say much."""
    real = len(data.train) + len(data.test)
    if samples < FEWEST_MADE:
        raise DataError(f"{samples:,} samples are too few to judge; take at least {FEWEST_MADE}, better 1,000")
    if real < FEWEST_REAL:
        raise DataError(f"{real:,} real examples are too few to compare with; at least {FEWEST_REAL} are needed")


def features(critic: Critic, raw: Tensor) -> Features:
    """What the critic sees in raw examples."""
    values = critic.features(raw)
    p = critic.of_features(values).double() if isinstance(critic, Judge) and not critic.pretext else None
    return Features(values.double(), p)


def grouped(train: Features, test: Features, n: int) -> tuple[list[Group], int]:
    """References with other real examples, and how many examples are compared with each.

    Held-out examples are the reference when there are at least twice as many as features. Else several random halves
    of all real examples are, the training examples among them.
    """

    def order(length: int, i: int) -> Tensor:
        return torch.randperm(length, generator=seeded_generator(0, "real", i))

    if len(test) >= 2 * test.values.shape[1]:
        size = min(n, len(train))
        return [Group(test, [train[order(len(train), i)[:size]] for i in range(OTHERS)])], size
    both = train + test
    half = len(both) // 2
    size = min(n, half)
    orders = [order(len(both), i) for i in range(HALVINGS)]
    return [Group(both[rows[half:]], [both[rows[:size]]]) for rows in orders], size


def about(critic: Critic) -> list[Metric]:
    """How far the judge is to be trusted."""
    if not critic.tested:
        return []
    right = round(critic.accuracy * critic.tested)
    note = "on invented labels, because the data has none" if critic.pretext else ""
    ends, chance = wilson(right, critic.tested), 1 / len(critic.names)
    return [
        Metric(
            "judge accuracy", critic.accuracy, *ends, critic.tested, None, chance, "higher", critic.name, "share", note
        )
    ]


def memorisation_metrics(
    train: Dataset, test: Dataset, distance: Tensor, static: Tensor, closest: NearestSearch
) -> list[Metric]:
    """How near made examples are to training examples, in units of how near real ones are that are not among them.

    distance: (n,), to the nearest. A copy is nearer than half as far as real examples usually are.
    """
    if len(test) >= FEWEST_HELD:
        control, _ = closest(evenly(test, ALONE).raw, None)
    else:
        own = spaced(len(train), ALONE)
        control, _ = closest(train.take(own).raw, own)
    usual = float(control.median())
    if not usual > 0:
        return [left_out(what, "most real examples are in the training set twice") for what in ("nearest", "copies")]
    n, far = len(distance), float(closest(static[:FEWEST_HELD], None)[0].median()) / usual
    ratio, copy = distance / usual, distance < usual / 2
    ends = bootstrap(ratio, lambda rows: rows.median(-1).values)
    floor = float((control < usual / 2).double().mean())
    share, sure = float(copy.double().mean()), wilson(int(copy.sum()), n)
    return [
        Metric("nearest", float(ratio.median()), *ends, n, 1.0, far, "floor"),
        Metric("copies", share, *sure, n, floor, 0.0, "floor", unit="share"),
    ]
