"""The metrics that compare two sets of features, in one form: from a reference to a function of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion.randomness import seeded_generator
from toolkit.evaluation.metrics import inception_score, kernel, manifold, ndb
from toolkit.evaluation.metrics.frechet import frechet_infinity, moments, of_moments
from toolkit.evaluation.metrics.interval import half_samples, wilson
from toolkit.evaluation.table import Metric, omission

PAIRED = 2_000
"""Examples of each set of which all pairs are compared."""
PER_BIN, MOST_BINS = 50, 100
SHRINK = 3.0
"""Factor between the whole and the smallest part that FD-infinity is extrapolated from."""
_Z = 1.959964


@dataclass(frozen=True)
class Features:
    """Features of a set of examples under a judge."""

    values: Tensor
    """(n, d) float64."""
    p: Tensor | None = None
    """(n, K) float64: probabilities of the labels, where they are those of the data."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor | slice) -> Features:
        return Features(self.values[rows], None if self.p is None else self.p[rows])

    def __add__(self, other: Features) -> Features:
        p = torch.cat([self.p, other.p]) if self.p is not None and other.p is not None else None
        return Features(torch.cat([self.values, other.values]), p)


class Group(NamedTuple):
    """One reference, and sets of as many real examples as are judged, none of them in the reference."""

    reference: Features
    others: list[Features]


Statistic = Callable[[Features], float]


@dataclass(frozen=True)
class Measure:
    """One metric of samples beside a reference."""

    what: str
    against: Callable[[Features], Statistic]
    """Function of a reference, which is prepared once, to a function of samples."""
    better: Literal["lower", "higher"] = "lower"
    unit: str = ""
    missing: Callable[[int, int, int], str] = lambda n, m, d: ""
    """Returns why it cannot be computed for n samples and m real examples with d features, or ""."""
    needs_labels: bool = False
    draws: int = 20
    """Random halves for its standard error; 0: the share of independent examples, for which there is a formula."""
    log: bool = False
    """True where the interval is symmetric for the logarithm."""
    most: int | None = None
    """Examples of each set that are used; None: all."""


def measure_all(samples: Features, noise: Features, groups: Sequence[Group], size: int, judge: str) -> list[Metric]:
    """Return all MEASURES: means over the groups, of `size` samples drawn at random for each. Raises ValueError."""
    orders = [torch.randperm(len(samples), generator=seeded_generator(0, "made", i)) for i in range(len(groups))]
    subsets = [samples[order[:size]] for order in orders]
    metrics = []
    for measure in MEASURES:
        n, m = (min(count, measure.most or count) for count in (size, min(len(g.reference) for g in groups)))
        reason = measure.missing(n, m, samples.values.shape[1])
        if measure.needs_labels and samples.p is None:
            reason = "the judge knows no labels of the data"
        metrics.append(
            omission(measure.what, reason, judge) if reason else _metric(measure, subsets, noise, groups, n, judge)
        )
    return metrics


def _metric(
    measure: Measure, subsets: Sequence[Features], noise: Features, groups: Sequence[Group], n: int, judge: str
) -> Metric:
    values, floors, ceilings = [], [], []
    error = 0.0
    for i, (samples, group) in enumerate(zip(subsets, groups)):
        statistic = measure.against(group.reference[: measure.most])
        values.append(statistic(samples[:n]))
        floors += [statistic(other[:n]) for other in group.others]
        ceilings.append(statistic(noise[:n]))
        if i == 0 and measure.draws:
            error = _error(measure, statistic, samples[:n])
    value = sum(values) / len(values)
    low, high = _ends(measure, value, error, n)
    floor, ceiling = sum(floors) / len(floors), sum(ceilings) / len(ceilings)
    return Metric(measure.what, value, low, high, n, floor, ceiling, measure.better, judge, measure.unit)


def _error(measure: Measure, statistic: Statistic, samples: Features) -> float:
    """Return the standard error, from random halves."""

    def of(rows: Tensor) -> float:
        value = statistic(samples[rows])
        return math.log(max(value, 1e-300)) if measure.log else value

    try:
        return half_samples(of, torch.arange(len(samples)), measure.draws)
    except ValueError:  # halves are too small for it, though the whole is not
        return math.nan


def _ends(measure: Measure, value: float, error: float, n: int) -> tuple[float | None, float | None]:
    if measure.draws == 0:
        return wilson(round(value * n), n)
    if not math.isfinite(error):
        return None, None
    if measure.log:
        return value * math.exp(-_Z * error), value * math.exp(_Z * error)
    low, high = value - _Z * error, value + _Z * error
    return (max(low, 0.0), min(high, 1.0)) if measure.unit == "share" else (low, high)


def _fd(reference: Features) -> Statistic:
    real = moments(reference.values)
    return lambda x: of_moments(moments(x.values), real)


def _fd_infinity(reference: Features) -> Statistic:
    return lambda x: frechet_infinity(x.values, reference.values, most=SHRINK)


def _kid(reference: Features) -> Statistic:
    y = reference.values
    within = kernel.cubic(y, y)
    return lambda x: kernel.mmd(kernel.cubic(x.values, x.values), within, kernel.cubic(x.values, y))


def _kad(reference: Features) -> Statistic:
    y = reference.values
    width = kernel.median_distance(y)
    within = kernel.gaussian(y, y, width)

    def of(x: Features) -> float:
        a = x.values
        return kernel.SCALE * kernel.mmd(kernel.gaussian(a, a, width), within, kernel.gaussian(a, y, width))

    return of


def _bins(compare: Callable[[Tensor, Tensor], float]) -> Callable[[Features], Statistic]:
    def against(reference: Features) -> Statistic:
        centres = ndb.k_means(reference.values, min(MOST_BINS, len(reference) // PER_BIN))
        real = ndb.histogram(reference.values, centres)
        return lambda x: compare(ndb.histogram(x.values, centres), real)

    return against


def _near(of: Callable[[Tensor, Tensor], Tensor], within_real: bool) -> Callable[[Features], Statistic]:
    """Return the `against` of a function of the distances within one of the sets and across."""

    def against(reference: Features) -> Statistic:
        y = reference.values
        real = manifold.distances(y, y) if within_real else None

        def statistic(x: Features) -> float:
            within = real if real is not None else manifold.distances(x.values, x.values)
            return float(of(within, manifold.distances(x.values, y)).double().mean())

        return statistic

    return against


def _probabilities(x: Features) -> Tensor:
    assert x.p is not None
    return x.p


def _too_few(least: Callable[[int], int], what: str) -> Callable[[int, int, int], str]:
    def missing(n: int, m: int, d: int) -> str:
        if min(n, m) >= least(d):
            return ""
        return f"{what} at least {least(d):,} samples and real examples; there are {n:,} and {m:,}, so read KID and KAD"

    return missing


_FRECHET = _too_few(lambda d: d + 1, "a Frechet distance of these features needs")
_INFINITE = _too_few(lambda d: math.ceil(SHRINK * (d + 1)), "its extrapolation needs")
_BINNED = _too_few(lambda d: 2 * PER_BIN, "bins need")

MEASURES = (
    Measure("FD", _fd, missing=_FRECHET),
    Measure("FD-infinity", _fd_infinity, missing=_INFINITE, draws=10),
    Measure("KID", _kid, most=PAIRED),
    Measure("KAD", _kad, most=PAIRED),
    Measure("IS", lambda y: lambda x: inception_score.inception_score(_probabilities(x)), "higher", needs_labels=True),
    Measure(
        "mIS", lambda y: lambda x: inception_score.modified_inception_score(_probabilities(x)), "higher",
        needs_labels=True, log=True,
    ),
    Measure(
        "AM", lambda y: lambda x: inception_score.am_score(_probabilities(x), _probabilities(y)), unit="nats",
        needs_labels=True,
    ),
    Measure("NDB", _bins(ndb.different_bins), unit="share", missing=_BINNED),
    Measure("JSD", _bins(ndb.jensen_shannon), unit="nats", missing=_BINNED),
    Measure("precision", _near(manifold.precision, True), "higher", "share", draws=0, most=PAIRED),
    Measure("recall", _near(manifold.recall, False), "higher", "share", most=PAIRED),
    Measure("density", _near(manifold.density, True), "higher", most=PAIRED),
    Measure("coverage", _near(manifold.coverage, True), "higher", "share", most=PAIRED),
)  # fmt: skip
