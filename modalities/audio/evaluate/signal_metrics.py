"""Metrics of the signal itself, by no judge: onsets, tones and levels of samples beside those of real sounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from modalities.audio.codec import rate_of
from modalities.audio.evaluate.levels import levels
from modalities.audio.evaluate.onsets import onsets
from modalities.audio.evaluate.tones import tones
from toolkit.data.dataset import Dataset, Examples, InMemory, Splits, spaced
from toolkit.evaluation.feature_metrics import FEWEST_HELD
from toolkit.evaluation.metrics.interval import bootstrap, wilson
from toolkit.evaluation.table import Metric, omission

CLIPS = 1_000
"""Sounds of each set that are measured, at most."""
PITCHED, PITCHED_SECONDS = 200, 240.0
"""Sounds of each set whose pitch is measured, at most, and their seconds together: pYIN takes 20 ms of a core for a
second at 8 kHz, 40 ms at 48 kHz."""
FEWEST_PITCHED = 16
NOISE = 50
"""Sounds of noise, for the ceiling."""
_AT_ONCE = 50

Statistic = Literal["share", "mean", "median", "spread"]


class _Row(NamedTuple):
    name: str
    statistic: Statistic
    unit: str
    noisy: bool
    """True where noise has a value of its own: its level is by construction that of real sounds."""
    meaning: str


ROWS = (
    _Row("onsets", "mean", "", True, "Onsets in a sound: hits, syllables."),
    _Row("late onsets", "share", "share", True, "Sounds with another onset more than 0.3 s after the first."),
    _Row("voiced", "share", "share", True, "Sounds that have a pitch for 0.1 s or more."),
    _Row("HNR", "mean", "dB", True, "Harmonics-to-noise ratio of voiced sounds: low where tones are rough."),
    _Row("f0 change", "median", "cents", True, "Change of pitch in 10 ms in voiced sounds: high where tones waver."),
    _Row("tail", "mean", "dB", True, "Level of the last 50 ms, relative to the loudest: high for hiss."),
    _Row("end", "mean", "dB", True, "Peak of the last 5 ms, relative to the sound's: high where it is cut off."),
    _Row("RMS", "mean", "dB", False, "Level of a sound, relative to full scale."),
    _Row("RMS spread", "spread", "dB", False, "Standard deviation of that level from sound to sound."),
    _Row("DC", "mean", "share", False, "Constant offset of a sound, relative to its level."),
    _Row("clipping", "mean", "share", False, "Samples in runs of three or more at the peak of their sound."),
)
"""The metrics, in the order of the table. All are the better the nearer they are to those of real sounds."""
MEANINGS = {row.name: row.meaning for row in ROWS}


class Values(NamedTuple):
    """Measurements of a set of sounds."""

    by_name: dict[str, Tensor]
    """For each metric one value a sound, (n,) float64; NaN where it was not measured or does not exist."""
    label: Tensor | None
    """Numbers of the labels, (n,) int64; None where there are none."""


def signal_metrics(samples: Examples, data: Splits, noise: Tensor) -> list[Metric]:
    """Return a metric for each of ROWS.

    samples: raw (B, C, L) float, full scale 1, and cond["label"], if any. noise: (m, C, L). Real sounds are those held
    out; where these are fewer than FEWEST_HELD, all. They count by label as samples do, so that a data set with many
    kicks does not differ from samples with few in what is a matter of kicks.
    """
    rate = rate_of(data.facts)
    beside = [data.test] if len(data.test) >= FEWEST_HELD else [data.train, data.test]
    sets: list[Sequence[Dataset]] = [[InMemory(samples.raw, samples.cond)], beside, [InMemory(noise)]]
    return metrics(*(measure(parts, rate) for parts in sets))


def metrics(own: Values, real: Values, noise: Values) -> list[Metric]:
    """Return a metric for each of ROWS, of samples beside real sounds and noise."""
    return [_metric(row, own, real, noise) for row in ROWS]


def measure(sets: Sequence[Dataset], rate: int) -> Values:
    """Return the measurements of at most CLIPS sounds of the sets together, spread evenly over their labels.

    sets: of sounds (C, L) at `rate` Hz; empty ones are passed over.
    """
    values: dict[str, list[Tensor]] = {row.name: [] for row in ROWS}
    labels: list[Tensor] = []
    total = sum(map(len, sets))
    for data in filter(len, sets):
        share = len(data) / total
        order = _by_label(data)
        numbers = order[spaced(len(order), math.ceil(CLIPS * share))]
        seconds = data.take(numbers[:1]).raw.shape[-1] / rate
        pitched = min(PITCHED, max(FEWEST_PITCHED, int(PITCHED_SECONDS / seconds)))
        with_pitch = torch.zeros(len(numbers), dtype=torch.bool)
        with_pitch[spaced(len(numbers), math.ceil(pitched * share))] = True
        for rows, pitch in zip(numbers.split(_AT_ONCE), with_pitch.split(_AT_ONCE)):
            raw, cond = data.take(rows)
            for name, value in _values(raw, pitch, rate).items():
                values[name].append(value)
            labels += [cond["label"]] if "label" in cond else []
    return Values({name: torch.cat(parts) for name, parts in values.items()}, torch.cat(labels) if labels else None)


def _by_label(data: Dataset) -> Tensor:
    """Return the numbers of a set in the order of its labels: samples, which take labels in turn, would else repeat."""
    labels = data.labels
    return torch.arange(len(data)) if labels is None else labels.argsort(stable=True)


def _values(raw: Tensor, pitch: Tensor, rate: int) -> dict[str, Tensor]:
    """Return the values of sounds (B, C, L), those of pitch where `pitch` (B,) is true."""
    count, late = onsets(raw, rate)
    level = levels(raw, rate)
    values = {
        "onsets": count,
        "late onsets": (late > 0).double(),
        "tail": level.tail,
        "end": level.end,
        "RMS": level.rms,
        "RMS spread": level.rms,
        "DC": level.dc,
        "clipping": level.clipped,
    }
    tone = tones(raw[pitch], rate)
    for name, value in (("voiced", tone.voiced), ("HNR", tone.hnr), ("f0 change", tone.f0_change)):
        values[name] = torch.full((len(raw),), torch.nan, dtype=torch.float64)
        values[name][pitch] = value
    return values


def _metric(row: _Row, own: Values, real: Values, noise: Values) -> Metric:
    x, label = _finite(own, row.name)
    if not len(x):
        return omission(row.name, "no sample is voiced" if row.name in ("HNR", "f0 change") else "no sample has sound")
    if row.statistic == "share":
        low, high = wilson(int(x.sum()), len(x))
    else:
        low, high = bootstrap(x, lambda rows: _statistic(row.statistic, rows, torch.ones_like(rows)))
    beside, theirs = _finite(real, row.name)
    floor = float(_statistic(row.statistic, beside, as_often(theirs, label, len(beside)))) if len(beside) else None
    static, _ = _finite(noise, row.name)
    ceiling = float(_statistic(row.statistic, static, torch.ones_like(static))) if row.noisy and len(static) else None
    value = float(_statistic(row.statistic, x, torch.ones_like(x)))
    return Metric(row.name, value, low, high, len(x), floor, ceiling, "floor", unit=row.unit)


def _finite(values: Values, name: str) -> tuple[Tensor, Tensor | None]:
    """Return the values that exist, and the labels of their sounds."""
    x = values.by_name[name]
    finite = x.isfinite()
    return x[finite], None if values.label is None else values.label[finite]


def as_often(label: Tensor | None, wanted: Tensor | None, n: int) -> Tensor:
    """Return weights (n,) float64 with which `label` (n,) holds each label as often as `wanted` (m,) does.

    All are 1 where there are no labels, or none in common.
    """
    if label is None or wanted is None:
        return torch.ones(n, dtype=torch.float64)
    kinds = int(torch.cat([label, wanted]).max()) + 1
    have, want = label.bincount(minlength=kinds).double(), wanted.bincount(minlength=kinds).double()
    weights = (want / have.clamp(min=1))[label]
    return weights if bool(weights.any()) else torch.ones(n, dtype=torch.float64)


def _statistic(kind: Statistic, x: Tensor, weight: Tensor) -> Tensor:
    """Return a statistic of x (..., n) with weights (..., n): (...)."""
    if kind == "median":
        order = x.argsort(-1)
        sums = weight.gather(-1, order).cumsum(-1)
        middle = torch.searchsorted(sums, sums[..., -1:] / 2)
        return x.gather(-1, order.gather(-1, middle))[..., 0]
    mean = (x * weight).sum(-1) / weight.sum(-1)
    if kind != "spread":
        return mean
    return (((x - mean[..., None]) ** 2 * weight).sum(-1) / weight.sum(-1)).sqrt()
