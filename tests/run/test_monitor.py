"""The loss at fixed noise while a run trains: exact on resume, cheap, without effect on it, and right in words."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import toolkit
from tests.conftest import ROOT
from tests.run.test_prepare import finish, hashes, quiet
from tests.training.test_budget import Clock
from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.errors import Interrupted, UsageError
from toolkit.recipe import Recipe
from toolkit.run import monitor, prepare, train
from toolkit.run.generator import Generator
from toolkit.run.monitor import Monitor
from toolkit.training.batches import Batches
from toolkit.training.held_out import Amounts, FixedNoise
from toolkit.training.measurement import Measurement, read
from toolkit.training.storage.checkpoint import CheckpointStore

POINTS = str(ROOT / "tests" / "points.py")


def points(modality: str = POINTS, **train: Any) -> Recipe:
    kind = find(modality)
    assert isinstance(kind.default_recipe, dict)
    length = {"steps": 60, "previews": 0, "checkpoint_minutes": 1e3}
    sections = {"train": {**kind.default_recipe["train"], **length, **train}, "sample": {"steps": 2}}
    return recipes.from_mapping({**kind.default_recipe, **sections, "modality": modality})


def measured(out: Path) -> list[Measurement]:
    return read((out / "metrics.jsonl").read_text().splitlines())


def said(events: list[prepare.Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, prepare.Note)]


def weight(generator: Generator) -> torch.Tensor:
    """One of the network's parameters."""
    return dict(generator.denoiser.net.named_parameters())["last.weight"].detach()


@pytest.fixture(scope="module", autouse=True)
def saves_cost_nothing() -> Iterator[None]:
    """Make each lowest loss so far worth a checkpoint, however slow the disk is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CHEAP", float("inf"))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[prepare.Event]]:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, finish(points(), out)


def test_a_run_is_measured_and_says_how_it_stands(whole: tuple[Path, list[prepare.Event]]) -> None:
    out, events = whole
    found = measured(out)
    assert [m.step for m in found] == [15, 30, 45, 60]
    # 60 steps of 256 are 46,080 calls: 184 for each measurement, at four noise levels
    assert [(len(m.held_out), len(m.trained), m.draws) for m in found] == [(35, 11, 4)] * 4
    losses = [m.loss for m in found]
    assert losses == sorted(losses, reverse=True) and found[-1].floor is not None and found[-1].floor > 0.5
    progress = [event for event in events if isinstance(event, prepare.Progress)]
    assert [p.held_out for p in progress if p.step in (14, 15, 29, 60)] == [None, losses[0], losses[0], losses[3]]
    assert progress[20].floor == found[0].floor
    assert said(events)[0] == found[-1].verdict and found[0].verdict == ""
    assert said(events)[0].startswith(f"held-out loss {losses[3]:.4g} (floor ")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("cut", [15, 57])
def test_stopped_and_gone_on_it_is_measured_the_same(
    whole: tuple[Path, list[prepare.Event]], tmp_path: Path, cut: int
) -> None:
    out = tmp_path / "r"
    with pytest.raises(Interrupted):
        for event in prepare.prepare(points(), out, "cpu", quiet).run():
            if isinstance(event, prepare.Progress) and event.step == cut:
                os.kill(os.getpid(), signal.SIGTERM)
    events = finish(points(), out)
    assert measured(out) == measured(whole[0]) and said(events) == said(whole[1])
    assert hashes(out) == hashes(whole[0])


@pytest.mark.parametrize("step", [30, 60])
def test_a_stop_while_it_is_measured_is_heeded_and_the_measurement_comes_later(
    whole: tuple[Path, list[prepare.Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    out, clean = tmp_path / "r", Monitor.measure

    def stopping(self: Monitor, watch: Callable[[], None] = lambda: None) -> Measurement | None:
        if self.state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return clean(self, watch)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Monitor, "measure", stopping)
        finish(points(), out)
    assert [m.step for m in measured(out)] == [s for s in (15, 30, 45) if s < step]
    events = finish(points(), out)
    assert measured(out) == measured(whole[0]) and said(events) == said(whole[1])
    assert hashes(out) == hashes(whole[0])
    assert said(finish(points(), out)) == []  # a finished run says it once


def test_measuring_changes_nothing_and_costs_its_share(
    whole: tuple[Path, list[prepare.Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, calls = FixedNoise.losses, []

    def counted(self: FixedNoise, *arguments: Any) -> torch.Tensor:
        losses = clean(self, *arguments)
        calls.append(losses.numel())
        return losses

    monkeypatch.setattr(FixedNoise, "losses", counted)
    finish(points(), tmp_path / "with")
    assert len(calls) == 9  # twice each time, and the other average at the end
    assert 0.015 < sum(calls) / (3 * 256 * 60) <= 0.02
    monkeypatch.setattr(monitor.held_out, "amounts", lambda *_: Amounts(0, 0, 0, 4))
    events = finish(points(), tmp_path / "without")
    assert len(calls) == 9 and said(events) == [] and measured(tmp_path / "without") == []
    assert hashes(tmp_path / "without") == hashes(tmp_path / "with") == hashes(whole[0])


FEW = """
from tests.points import Points
from toolkit.modality import InMemory, Splits

def first(data, n):
    return InMemory(data.raw[:n], {{"label": data.cond["label"][:n]}})

class Few(Points):
    def load(self, cache, notify):
        whole, n = super().load(cache, notify), {n}
        train, test = first(whole.train, n["train"]), first(whole.test, n["test"])
        return Splits.in_memory(whole.source, train, test, whole.facts.labels)
"""


def few(folder: Path, train: int, test: int) -> str:
    """A modality of so many points."""
    path = folder / f"few{train}_{test}.py"
    path.write_text(FEW.format(n={"train": train, "test": test}))
    return str(path)


@pytest.fixture(scope="module")
def recited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[prepare.Event]]:
    """Eight points, trained on until they are known by heart."""
    folder = tmp_path_factory.mktemp("few")
    modality = few(folder, 8, 400)
    recipe = points(modality, steps=200, decay="constant", keep=1)
    return folder / "r", modality, finish(recipe, folder / "r")


def test_what_is_learnt_by_heart_is_called_overfitting_and_its_best_snapshot_is_kept(
    recited: tuple[Path, str, list[prepare.Event]],
) -> None:
    out, modality, events = recited
    found = measured(out)
    best = min(found, key=lambda m: m.loss)
    (sentence,) = [text for text in said(events) if "overfitting" in text]
    assert sentence.startswith(f"overfitting since step {best.step}: the held-out loss rose by ")
    assert "while that of training examples fell by" in sentence
    assert f"(toolkit sample {out} --step {best.step})" in sentence
    # it stays beside the newest, and "best" is it
    steps = CheckpointStore(out / "checkpoints").steps()
    assert steps == [best.step, 200] and best.step < 100
    newest, kept = (toolkit.load(out, "cpu", step=step, notify=quiet, modality=modality) for step in (None, "best"))
    direct = toolkit.load(out, "cpu", step=best.step, notify=quiet, modality=modality)
    for name, tensor in kept.denoiser.net.state_dict().items():
        assert torch.equal(tensor, direct.denoiser.net.state_dict()[name])
    assert not torch.allclose(weight(kept), weight(newest), atol=1e-3)


def test_a_run_that_gets_better_keeps_the_newest_only(whole: tuple[Path, list[prepare.Event]]) -> None:
    assert CheckpointStore(whole[0] / "checkpoints").steps() == [45, 60]
    best, newest = (toolkit.load(whole[0], "cpu", step=s, notify=quiet, modality=POINTS) for s in ("best", None))
    assert torch.equal(weight(best), weight(newest))


def test_a_run_that_was_not_measured_has_no_best_step(tmp_path: Path) -> None:
    events = finish(points(steps=8), tmp_path / "r")
    assert said(events) == [] and measured(tmp_path / "r") == []
    with pytest.raises(UsageError, match="name the step: 8"):
        toolkit.load(tmp_path / "r", "cpu", step="best", notify=quiet, modality=POINTS)


@pytest.mark.parametrize("test", [0, 4])
def test_where_nothing_is_held_back_nothing_is_said_of_it(tmp_path: Path, test: int) -> None:
    modality = few(tmp_path, 200, test)
    events = finish(points(modality), tmp_path / "r")
    found = measured(tmp_path / "r")
    assert [m.step for m in found] == [15, 30, 45, 60] and not any(m.held_out for m in found)
    assert all(event.held_out is None for event in events if isinstance(event, prepare.Progress))
    (sentence,) = said(events)
    assert sentence.startswith("too few examples are held out; the loss of training examples is ")
    assert "overfitting" not in sentence and json.loads((tmp_path / "r" / "facts.json").read_text())["count"] == 200


def test_a_run_by_the_clock_is_measured_within_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where a step takes a second, and a call of the network its share of one."""
    from dataclasses import replace

    clock, batch, losses = Clock(), Batches.__call__, FixedNoise.losses

    def slowly(self: Batches, step: int, positions: range) -> Any:
        clock.now += 1.0
        return batch(self, step, positions)

    def slow(self: FixedNoise, *arguments: Any) -> torch.Tensor:
        clock.now += 5 * len(self) * self.draws / (3 * 256)  # five times as slow as planned
        return losses(self, *arguments)

    monkeypatch.setattr(Batches, "__call__", slowly)
    monkeypatch.setattr(FixedNoise, "losses", slow)
    recipe = recipes.replace(points(), {"train.minutes": 2.0, "train.steps": None})
    plan = prepare.prepare(recipe, tmp_path / "r", "cpu", quiet)
    plan.probe = replace(plan.probe, steps_per_second=1.0, seconds=0.0)
    plan.state.course = prepare.Course.of(100)
    plan.clock = clock
    began = clock.now
    events = list(plan.run())
    found, last = measured(tmp_path / "r"), max(e.step for e in events if isinstance(e, prepare.Progress))
    assert found[-1].step == last and len(found) == 4 and found[-1].verdict in said(events)
    assert 112 <= clock.now - began <= 123  # the last one, and the other average, come after the last step


def test_a_rollback_forgets_what_lay_ahead(tmp_path: Path) -> None:
    plan = prepare.prepare(points(), tmp_path / "r", "cpu", quiet)
    kept = Monitor(plan.recipe, plan.modality, plan.state, plan.config, plan.course, tmp_path / "none")
    for step in (15, 30):
        plan.state.step = step
        assert kept.due(plan.course) and kept.measure() is not None and not kept.due(plan.course)
    plan.state.step = 15
    assert not kept.due(plan.course) and [m.step for m in kept.series] == [15]
    plan.state.step = 30
    assert kept.due(plan.course)


def test_a_loss_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    plan = prepare.prepare(points(), tmp_path / "r", "cpu", quiet)
    kept = Monitor(plan.recipe, plan.modality, plan.state, plan.config, plan.course, tmp_path / "none")
    plan.state.step = 15
    next(iter(plan.state.ema.state_dict().values())).fill_(1e30)
    plan.state.ema.weights(0.1)["last.weight"].fill_(1e38)
    assert kept.measure() is None and kept.series == []


def test_what_is_measured_follows_a_length_that_is_corrected(tmp_path: Path) -> None:
    """A run that was planned far too long does not spend its time on measuring; its first ones still compare."""
    plan = prepare.prepare(points(), tmp_path / "r", "cpu", quiet)
    kept = Monitor(plan.recipe, plan.modality, plan.state, plan.config, prepare.Course.of(1000), tmp_path / "none")
    long = kept.amounts
    plan.state.step = 100
    assert kept.due(prepare.Course.of(1000)) and kept.measure() is not None
    shorter = prepare.Course.of(1000).correct(110, 140)
    plan.state.step = 140
    assert kept.due(shorter) and kept.measure() is not None
    assert kept.amounts.calls < 0.2 * long.calls
    first, second = (m.held_out for m in kept.series)
    assert len(second) < len(first) and second == first[: len(second)]  # nothing was learnt in between
    assert kept.verdict(shorter) is not None
