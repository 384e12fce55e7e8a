"""All metrics of samples under one judge, each beside those of real examples and of noise."""

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
from toolkit.evaluation.table import EvaluationResult, Metric, omission

MAX_REAL = 5_000
"""Real examples of each split that samples are compared with, spread evenly."""
FEWEST_SAMPLES, FEWEST_REAL = 16, 32
HALVINGS, OTHERS = 5, 3
"""Random halves of few real examples; random parts of many training examples, for the floor."""
FEWEST_HELD, ALONE = 50, 500
"""Held-out examples of a control, at least and at most; with fewer, it is ALONE training examples, each compared with
the others. ALONE divides MAX_REAL, so that evenly(train, MAX_REAL) holds those of evenly(train, ALONE)."""

NearestSearch = Callable[[Tensor, "Tensor | None"], tuple[Tensor, Tensor]]
"""Raw examples (n, ...), and their own numbers in the train split (n,) or None, to the distance to the nearest
training example, other than themselves, and its number: (n,), (n,)."""


class Critic(Protocol):
    """Features that `compare` works with: of a `Judge`, or of a network of the user's."""

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
    samples: Examples,
    noise: Callable[[int], Tensor],
    closest: NearestSearch,
    cas: bool = False,
    notify: Callable[[str], None] = print,
) -> EvaluationResult:
    """Return the metrics of samples: raw, and cond["label"], their labels numbered as the data's, if any.

    noise: from n to n raw examples of noise, for the ceiling. cas: add the classification accuracy score.
    """
    control = evenly(test, MAX_REAL)
    own = features(critic, samples.raw)
    real = features(critic, control.raw) if len(test) else own[:0]
    groups, size = group_references(features(critic, evenly(train, MAX_REAL).raw), real, len(own))
    static = noise(size)
    metrics = about(critic)
    if isinstance(critic, Judge) and own.p is not None and real.p is not None:
        labels, right = samples.cond.get("label"), real.p.argmax(1) == control.cond["label"]
        metrics += agreement_figures(labels, own.p.argmax(1), critic.names, control.cond["label"], right, critic.name)
        if cas:
            metrics.append(accuracy_figure(critic, train, test, samples, notify))
    metrics += measure_all(own, features(critic, static), groups, size, critic.name)
    distance, which = closest(samples.raw, None)
    return EvaluationResult(metrics + memorisation_metrics(train, test, distance, static, closest), which, distance)


def check_counts(samples: int, data: Splits) -> None:
    """Raise DataError when there are too few samples or real examples to say much."""
    real = len(data.train) + len(data.test)
    if samples < FEWEST_SAMPLES:
        raise DataError(f"{samples:,} samples are too few to judge; take at least {FEWEST_SAMPLES}, better 1,000")
    if real < FEWEST_REAL:
        raise DataError(f"{real:,} real examples are too few to compare with; at least {FEWEST_REAL} are needed")


def features(critic: Critic, raw: Tensor) -> Features:
    """Return the critic's features of raw examples, with its probabilities of the data's labels, if it has any."""
    values = critic.features(raw)
    p = critic.of_features(values).double() if isinstance(critic, Judge) and not critic.pretext else None
    return Features(values.double(), p)


def group_references(train: Features, test: Features, n: int) -> tuple[list[Group], int]:
    """Return references with other real examples, and how many examples are compared with each.

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
    """Return the accuracy of the judge, or [] where it was not tested."""
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
    """Return how near samples are to training examples, in units of the median distance of other real examples.

    distance: (n,), to the nearest. A copy is nearer than half that unit.
    """
    if len(test) >= FEWEST_HELD:
        control, _ = closest(evenly(test, ALONE).raw, None)
    else:
        own = spaced(len(train), ALONE)
        control, _ = closest(train.take(own).raw, own)
    usual = float(control.median())
    if not usual > 0:
        return [omission(what, "most real examples are in the training set twice") for what in ("nearest", "copies")]
    n, far = len(distance), float(closest(static[:FEWEST_HELD], None)[0].median()) / usual
    ratio, copy = distance / usual, distance < usual / 2
    ends = bootstrap(ratio, lambda rows: rows.median(-1).values)
    floor = float((control < usual / 2).double().mean())
    share, sure = float(copy.double().mean()), wilson(int(copy.sum()), n)
    return [
        Metric("nearest", float(ratio.median()), *ends, n, 1.0, far, "floor"),
        Metric("copies", share, *sure, n, floor, 0.0, "floor", unit="share"),
    ]
