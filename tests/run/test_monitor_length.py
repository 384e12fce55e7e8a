"""Measuring of a run whose length is corrected on the way."""

from __future__ import annotations

from pathlib import Path

from tests.run.test_monitor import points
from tests.run.test_prepare import quiet
from toolkit.run import prepare
from toolkit.run.monitor import Monitor
from toolkit.training.course import Course


def test_what_is_measured_follows_a_length_that_is_corrected(tmp_path: Path) -> None:
    """A run that was planned far too long does not spend its time on measuring; its first ones still compare."""
    plan = prepare.prepare(points(), tmp_path / "r", "cpu", quiet)
    kept = Monitor(plan.recipe, plan.modality, plan.state, plan.config, Course.of(1000), tmp_path / "none")
    long = kept.amounts
    plan.state.step = 100
    assert kept.due(Course.of(1000)) and kept.measure() is not None
    shorter = Course.of(1000).corrected(110, 140)
    plan.state.step = 140
    assert kept.due(shorter) and kept.measure() is not None
    assert kept.amounts.calls < 0.2 * long.calls
    first, second = (m.held_out for m in kept.series)
    assert len(second) < len(first) and second == first[: len(second)]  # nothing was learnt in between
    assert kept.verdict(shorter) is not None
