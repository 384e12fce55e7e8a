"""Verdict on a training from its loss at fixed noise (held_out.py), in words: converged, still learning or overfitting.

All differences are paired: the same examples at the same noise, earlier and later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from toolkit.training.course import Course
from toolkit.training.difference import Z95, Difference, student
from toolkit.training.loop import Config
from toolkit.training.measurement import Measurement, change

CONVERGED = 0.02
"""Share of the loss; a training from which less can be gained by twice the steps has converged."""
SURE = 3.0
"""Standard errors by which the loss must have risen: the lowest of many measurements is low by chance too."""
LEAST_RISE = 0.005
"""Share of the loss; a smaller rise is not worth a word."""
Kind = Literal["converged", "falling", "level", "unclear", "overfitting", "rising", "short"]


class Verdict(NamedTuple):
    """The state of a training after its last measurement."""

    kind: Kind
    sentence: str
    best: Measurement
    """Lowest loss; it is the last measurement unless kind is overfitting or rising."""


def halfway(config: Config, course: Course) -> int:
    """The step by which half of a run's learning was done: half of the sum of its learning rates."""
    places = [round(course.steps * (i + 0.5) / 1000) for i in range(1000)]
    rates = torch.tensor([config.lr_at(step, course) for step in places], dtype=torch.float64).cumsum(0)
    return places[int((rates < rates[-1] / 2).sum())]


def verdict(series: Sequence[Measurement], halfway: int) -> Verdict | None:
    """One sentence on a run that ends with the last of `series`, or None where nothing was measured.

    `halfway`: the step by which half of the learning was done. What was gained since is more than twice the steps would
    gain: a run of half the length had done as much by its end, and gains shrink.
    """
    if not series:
        return None
    last = series[-1]
    lowest = min(series, key=lambda m: m.loss)
    rise = change(lowest, last)
    if rise.mean > SURE * student(rise.n - 1) / Z95 * rise.error and rise.share > LEAST_RISE:
        return _rise_verdict(lowest, last, rise)
    head = _head(last)
    if (near := _above_floor(last)) < CONVERGED:
        text = f"{head}: converged to within {_percent(near)} of the floor, the least that any network can lose here"
        return Verdict("converged", text, last)
    earlier = [m for m in series if m.step <= halfway]
    middle = min(series, key=lambda m: abs(m.step - last.step / 2))
    if not earlier or abs(middle.step - last.step / 2) > 0.15 * last.step:
        return Verdict("short", head, last)
    since = change(earlier[-1], last)
    most = max(0.0, -since.share) + since.share_reach
    if most < CONVERGED:
        text = f"{head}: converged to within {_percent(most)} of what twice the steps would reach"
        return Verdict("converged", text, last)
    gain = change(middle, last)
    if gain.high < 0:
        return Verdict("falling", f"{head}: {_falling(series, gain)}", last)
    observation = f"the second half of the run changed it by {_percent(gain.share)} (+- {_percent(gain.share_reach)})"
    if gain.share_reach < CONVERGED / 2:
        text = f"{head}: it has levelled off, {observation}; whether a longer run would gain, this one cannot tell"
        return Verdict("level", text, last)
    text = f"{head}: {observation}, which {gain.n} examples cannot tell from nothing"
    return Verdict("unclear", text, last)


def _above_floor(last: Measurement) -> float:
    """Return by how much training examples may lose more than the floor; infinite where held-out ones clearly do."""
    if last.floor is None or not last.floor_each or len(last.floor_each) != len(last.trained):
        return math.inf
    each = last.each
    error = float(each.std()) / math.sqrt(len(each))
    if last.loss - 2 * error > (1 + CONVERGED) * last.floor:
        return math.inf
    above = Difference.between(*(torch.tensor(row, dtype=torch.float64) for row in (last.floor_each, last.trained)))
    return max(0.0, above.share) + above.share_reach


def _head(last: Measurement) -> str:
    what = "held-out loss" if last.held_out else "too few examples are held out; the loss of training examples is"
    floor = "" if last.floor is None else f" (floor {last.floor:.3g})"
    return f"{what} {last.loss:.4g}{floor}"


def _falling(series: Sequence[Measurement], gain: Difference) -> str:
    last = series[-1]
    near = min(series[:-1], key=lambda m: abs(m.step - 0.9 * last.step))
    half = f"{_percent(-gain.share)} (+- {_percent(gain.share_reach)}) in its second half"
    if near.step <= 0.6 * last.step:
        return f"still falling, by {half}: more steps would help"
    lately, tenths = change(near, last), (last.step - near.step) / last.step / 0.1
    rate = f"{_percent(-lately.share / tenths)} (+- {_percent(lately.share_reach / tenths)})"
    return f"still falling, by {rate} per tenth of the run at its end and by {half}: more steps would help"


def _rise_verdict(lowest: Measurement, last: Measurement, rise: Difference) -> Verdict:
    rose = f"rose by {_percent(rise.share)} (+- {_percent(rise.share_reach)})"
    ends = f"the best snapshot is step {lowest.step:,}"
    slower = f"to {last.loss:.4g}; {ends}; try a lower train.lr"
    if not last.held_out:
        return Verdict("rising", f"the loss of training examples {rose} since step {lowest.step:,}, {slower}", lowest)
    fell = ""
    if last.trained and lowest.trained:
        known = change(lowest, last, "trained")
        if known.low > 0:
            text = f"the held-out loss {rose} since step {lowest.step:,}, that of training examples too, {slower}"
            return Verdict("rising", text, lowest)
        fell = f", while that of training examples fell by {_percent(-known.share)}" if known.high < 0 else ""
    text = f"overfitting since step {lowest.step:,}: the held-out loss {rose}, to {last.loss:.4g}{fell}; {ends}"
    return Verdict("overfitting", text, lowest)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) < 0.095 else f"{100 * share:,.0f} %"
