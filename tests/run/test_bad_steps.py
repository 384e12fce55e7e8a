"""Losses, gradients and weights that are not finite: nothing of them is saved, and a rollback goes back to before."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.run.points_run import finished, notes, plan, quiet
from tests.run.test_prepare import poison
from toolkit.errors import DivergedError, Interrupted
from toolkit.run import prepare
from toolkit.run.train import TrainingRun
from toolkit.training.spikes import LEAST, Spikes
from toolkit.training.storage.checkpoint import CheckpointStore

ALWAYS = {"train__checkpoint_minutes": 1e-9}
"""A checkpoint after every step."""


def saved(events: list[prepare.Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, prepare.Saved)]


def stored(out: Path) -> list[tuple[int, int]]:
    """(step, bad) of the checkpoints, all of whose numbers are finite."""
    store, found = CheckpointStore(out / "checkpoints"), []
    for step in store.steps():
        one = store.load(step=step, notify=quiet)
        assert one is not None
        assert all(bool(t.isfinite().all()) for group in one.groups.values() for t in group.values())
        found.append((step, one.state["bad"]))
    return found


def spoil(run: TrainingRun, value: float = float("nan")) -> None:
    with torch.no_grad():
        next(run.state.denoiser.net.parameters()).view(-1)[0] = value


def test_nothing_is_saved_between_bad_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {5, 6, 11})
    events = finished(tmp_path / "r", **ALWAYS)
    assert saved(events) == [step for step in range(1, 21) if step not in (6, 7, 12)]
    assert len(notes(events)) == 3 and all("left out" in text for text in notes(events))
    assert stored(tmp_path / "r") == [(19, 0), (20, 0)]


def test_a_rollback_goes_to_a_state_before_the_streak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {8, 9, 10}, times=3)
    run = plan(tmp_path / "r", **ALWAYS)
    events = list(run.run())
    assert "steps 9 to 11" in notes(events)[3] and "checkpoint of step 8" in notes(events)[3]
    assert run.state.lr_factor == 0.5 and run.state.updates == run.state.step == 20
    assert saved(events) == [*range(1, 9), *range(9, 21)]


def test_a_checkpoint_between_bad_steps_of_an_earlier_version_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(tmp_path / "r")
    store = CheckpointStore(tmp_path / "r" / "checkpoints")
    poison(monkeypatch, {5, 6, 7}, times=3)
    events = []
    for event in run.run():
        events.append(event)
        if isinstance(event, prepare.Progress) and event.step == 4 and run.state.lr_factor == 1:
            store.save(4, run.state.groups(), run.state.scalars())
        if isinstance(event, prepare.Progress) and event.step == 7 and run.state.lr_factor == 1:
            store.save(7, run.state.groups(), run.state.scalars())
            assert run.state.scalars()["bad"] == 2
    assert any("checkpoint of step 4" in text for text in notes(events))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_when_a_save_is_due_is_rolled_back(tmp_path: Path, value: float) -> None:
    run, events = plan(tmp_path / "r", **ALWAYS), []
    for event in run.run():
        events.append(event)
        if isinstance(event, prepare.Progress) and event.step == 9 and run.state.lr_factor == 1:
            spoil(run, value)
    assert notes(events)[0].startswith(
        "step 9 left weights that are not finite: going on from the checkpoint of step 8"
    )
    assert isinstance(events[-1], prepare.Finished) and run.state.lr_factor == 0.5
    assert stored(tmp_path / "r") == [(19, 0), (20, 0)]


def test_a_weight_that_is_not_finite_after_the_last_step_is_rolled_back(tmp_path: Path) -> None:
    run, events = plan(tmp_path / "r"), []
    for event in run.run():
        events.append(event)
        if isinstance(event, prepare.Progress) and event.step == 12:
            os.kill(os.getpid(), signal.SIGUSR1)
        if isinstance(event, prepare.Progress) and event.step == 20 and run.state.lr_factor == 1:
            spoil(run)
    assert "checkpoint of step 12" in notes(events)[0] and saved(events) == [12, 20]
    assert stored(tmp_path / "r") == [(12, 0), (20, 0)]


def test_weights_that_are_not_finite_before_anything_was_saved(tmp_path: Path) -> None:
    run = plan(tmp_path / "r", **ALWAYS)
    with pytest.raises(DivergedError, match=r"step 1 left weights that are not finite.*nothing had been saved yet"):
        for event in run.run():
            if isinstance(event, prepare.Progress):
                spoil(run)
    assert stored(tmp_path / "r") == []


def test_a_stop_between_bad_steps_saves_what_was_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        poison(patch, {5, 6})
        finished(tmp_path / "whole")
        run = plan(tmp_path / "cut")
        with pytest.raises(Interrupted, match="stopped after step 5 of 20"):
            for event in run.run():
                if isinstance(event, prepare.Progress) and event.step == 7:
                    os.kill(os.getpid(), signal.SIGTERM)
        assert stored(tmp_path / "cut") == [(5, 0)]
        finished(tmp_path / "cut")  # meets both of them again
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def weights(out: Path) -> dict[str, str]:
    found = CheckpointStore(out / "checkpoints").load(notify=quiet)
    assert found is not None
    return {f"{name}/{key}": t.double().sum().item().hex() for name, g in found.groups.items() for key, t in g.items()}


def test_a_spike_is_noted_once() -> None:
    spikes = Spikes()
    ripple = [1.0 + 0.01 * (i % 5) for i in range(300)]
    assert [spikes.observe(loss) for loss in ripple] == [None] * 300
    line = spikes.observe(3.0)
    assert line is not None and "jumped to 3" in line and "last 200" in line
    assert [spikes.observe(3.0) for _ in range(50)] == [None] * 50  # while it lasts
    assert spikes.observe(1.02) is None and spikes.observe(2.0) is not None  # a second one
    # mean 1.02, deviation sqrt(2) / 100: the limit is 1.133
    calm = Spikes()
    for loss in ripple:
        calm.observe(loss)
    assert calm.observe(1.13) is None and calm.observe(1.2) is not None


def test_a_falling_loss_and_a_young_run_have_no_spikes() -> None:
    falling = Spikes()
    assert [falling.observe(5.0 / (1 + i)) for i in range(400)] == [None] * 400
    young = Spikes()
    assert [young.observe(1.0 + 0.01 * (i % 2)) for i in range(LEAST - 1)] == [None] * (LEAST - 1)
    assert young.observe(50.0) is None
    level = Spikes()
    assert [level.observe(1.0) for _ in range(50)] + [level.observe(2.0)] == [None] * 51  # no deviation, no range


def test_a_spike_in_a_run_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.training.batches import Batches

    clean = Batches.__call__

    def spiked(self: Batches, step: int, positions: range):  # type: ignore[no-untyped-def]
        x, cond = clean(self, step, positions)
        return (x * 1e4 if step == 255 else x), cond

    monkeypatch.setattr(Batches, "__call__", spiked)
    events = finished(tmp_path / "r", train__steps=270, train__lr=1e-5)
    spikes = [text for text in notes(events) if "jumped" in text]
    assert len(spikes) == 1 and spikes[0].startswith("step 260: the loss jumped to ")
