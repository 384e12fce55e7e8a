"""The end of a run: asked to stop while it draws, by the clock, and with pictures in proportion to its length."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.run.test_prepare import SMALL, finish, hashes, quiet
from tests.training.test_budget import Clock
from toolkit import recipe as recipes
from toolkit.errors import Interrupted, UsageError
from toolkit.recipe import Recipe
from toolkit.run import prepare, previews
from toolkit.run.generator import Generator
from toolkit.run.previews import FEW, FILM, amounts
from toolkit.run.train import TrainingRun
from toolkit.training.batches import Batches

LAST = ["final.png", "noise-to-sample.png", "noise-to-sample.gif"]

LONG = {"train.previews": 2, "train.steps": 40, "train.batch": 32, "sample.guidance": 1.0}
"""Long enough for a picture on the way, at step 14 = 40 * (1/2) ** 1.5."""


def names(out: Path) -> set[str]:
    return {path.name for path in (out / "previews").iterdir()}


def stop_in_sampler(monkeypatch: pytest.MonkeyPatch, trajectory: int) -> list[int]:
    """Send SIGTERM after the first step of the `trajectory`-th sampling; returns the steps that were taken in each."""
    clean, taken = Generator.trajectory, []

    def told(self: Generator, *arguments: Any, **options: Any) -> Iterator[Any]:
        taken.append(0)
        for step in clean(self, *arguments, **options):
            taken[-1] += 1
            if len(taken) == trajectory and taken[-1] == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield step

    monkeypatch.setattr(Generator, "trajectory", told)
    return taken


@pytest.mark.parametrize(("trajectory", "missing"), [(1, "final.png, noise-to-sample.gif"), (2, "noise-to-sample.gif")])
def test_a_stop_while_the_last_pictures_are_drawn_is_heeded_and_the_same_command_draws_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trajectory: int, missing: str
) -> None:
    out, events = tmp_path / "r", []
    plan = prepare.prepare(SMALL, out, "cpu", quiet)
    with monkeypatch.context() as patch:
        taken = stop_in_sampler(patch, trajectory)
        with pytest.raises(Interrupted, match="training is finished, after step 12") as stopped:
            events.extend(plan.run())
    assert taken == [3] * (trajectory - 1) + [1]  # of three steps; none after the signal
    assert stopped.value.exit_code == 143 and f"({missing})" in str(stopped.value)
    assert "same command again draws them" in str(stopped.value)
    assert not any(isinstance(event, prepare.Finished) for event in events)
    assert names(out) == (set() if trajectory == 1 else {"final.png"})
    before = hashes(out)
    again = finish(SMALL, out)
    assert not any(isinstance(event, prepare.Progress | prepare.Saved) for event in again)
    assert isinstance(again[-1], prepare.Finished) and [p.name for p in again[-1].pictures] == LAST
    assert names(out) == set(LAST) and hashes(out) == before


def test_a_stop_while_a_preview_is_drawn_saves_and_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipes.replace(SMALL, LONG)
    whole = tmp_path / "whole"
    finish(recipe, whole)
    assert names(whole) == {*LAST, "step-00000014.png"}
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        taken = stop_in_sampler(patch, 1)
        with pytest.raises(Interrupted, match="after step 14 of 40"):
            list(prepare.prepare(recipe, out, "cpu", quiet).run())
    assert taken == [1] and names(out) == set()
    again = prepare.prepare(recipe, out, "cpu", quiet)
    assert again.state.step == 14
    list(again.run())
    assert hashes(out) == hashes(whole)


@pytest.mark.parametrize(
    ("at", "step", "changes"),
    [("Progress", 5, {}), ("Saved", 5, {"train.checkpoint_minutes": 1e-9}), ("Preview", 14, LONG)],
)
def test_whoever_leaves_the_loop_finds_the_step_saved_and_goes_on_exactly(
    tmp_path: Path, at: str, step: int, changes: dict[str, Any]
) -> None:
    recipe = recipes.replace(SMALL, changes)
    finish(recipe, tmp_path / "whole")
    reached = 0
    for event in prepare.prepare(recipe, tmp_path / "cut", "cpu", quiet):
        reached = event.step if isinstance(event, prepare.Progress) else reached
        if reached == step and type(event).__name__ == at:
            break
    there = sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir())
    assert there == [f"step-{n:08d}" for n in ([4, 5] if at == "Saved" else [step])]  # once each
    again = prepare.prepare(recipe, tmp_path / "cut", "cpu", quiet)
    assert again.resumed and again.state.step == step
    list(again)
    whole, cut = (
        load_file(max((tmp_path / run / "checkpoints").iterdir()) / "ema.safetensors") for run in ("whole", "cut")
    )
    assert {name: [value.hex() for value in tensor.flatten().tolist()] for name, tensor in cut.items()} == {
        name: [value.hex() for value in tensor.flatten().tolist()] for name, tensor in whole.items()
    }
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")


def test_what_is_drawn_of_a_finished_run_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "r"
    finish(SMALL, out)
    times = {path: path.stat().st_mtime_ns for path in (out / "previews").iterdir()}
    taken = stop_in_sampler(monkeypatch, 10**9)
    assert isinstance(finish(SMALL, out)[-1], prepare.Finished)
    assert taken == [] and {path: path.stat().st_mtime_ns for path in (out / "previews").iterdir()} == times


def test_the_picture_of_the_times_of_an_older_run_keeps_its_name(tmp_path: Path) -> None:
    recipe, out = recipes.replace(SMALL, {"diffusion.time": "adaptive", "train.steps": 3}), tmp_path / "r"
    finish(recipe, out)
    assert names(out) == {*LAST, "time-distribution.png"}
    (out / "previews" / "time-distribution.png").rename(out / "previews" / "time-law.png")
    last = finish(recipe, out)[-1]
    assert isinstance(last, prepare.Finished) and [path.name for path in last.pictures] == [*LAST, "time-law.png"]
    assert names(out) == {*LAST, "time-law.png"}


def test_a_picture_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL.Image import Image

    clean = Image.save

    def dying(self: Image, stream: Any, *rest: Any, **options: Any) -> None:
        clean(self, stream, *rest, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Image, "save", dying)
        finish(SMALL, tmp_path / "r")
    assert not (tmp_path / "r" / "previews" / "final.png").exists()


def test_runs_of_their_usual_length_draw_all_that_is_shown_and_short_ones_a_few() -> None:
    drums = recipes.load("audio/drums")
    assert amounts(drums, (24, 48), 2978) == (24, 48, FILM)
    assert amounts(recipes.load("image/digits"), (40, 100), 1150) == (40, 100, FILM)
    assert amounts(recipes.load("text/shakespeare"), (8, 24), 1802) == (8, 24, FILM)
    assert amounts(drums, (24, 48), 4) == (0, FEW, FEW)
    for steps in (300, 600, 1200, 2400):
        n = amounts(drums, (24, 48), steps)
        calls = (2 * n.preview + n.final + n.film) * 20 * 2  # 20 steps of one call, twice for guidance
        assert calls / (3 * drums.train.batch * steps) <= 0.12  # about a tenth: at least four in each
    assert amounts(drums, (2, 3), 4) == (0, 3, FEW)


def timed(recipe: Recipe, minutes: float) -> Recipe:
    return recipes.replace(recipe, {"train.minutes": minutes, "train.steps": None})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Clock of a machine where a training step takes a second, a network call its share, and all else nothing."""
    clock, clean, sampling = Clock(), Batches.__call__, Generator.trajectory

    def slowly(self: Batches, step: int, positions: range) -> Any:
        clock.now += 1.0
        return clean(self, step, positions)

    def drawing(self: Generator, positions: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        for step in sampling(self, positions, *arguments, **options):
            clock.now += 2 * len(positions) / (3 * SMALL.train.batch)  # guided: two calls
            yield step

    monkeypatch.setattr(Batches, "__call__", slowly)
    monkeypatch.setattr(Generator, "trajectory", drawing)
    return clock


def by_the_clock(out: Path, clock: Clock, minutes: float, probed: float = 1.0) -> TrainingRun:
    """A plan for a machine that was measured at `probed` steps a second, and whose time is the clock's."""
    from dataclasses import replace

    plan = prepare.prepare(timed(SMALL, minutes), out, "cpu", quiet)
    plan.probe = replace(plan.probe, steps_per_second=probed, seconds=0.0)
    if not plan.resumed:
        plan.state.course = prepare.Course.of(max(2, int(60 * minutes * probed)))
    plan.clock = clock
    return plan


def test_a_run_by_the_clock_uses_its_time_and_records_what_it_took(tmp_path: Path, clock: Clock) -> None:
    out = tmp_path / "r"
    plan = by_the_clock(out, clock, 1.0, probed=0.1)
    began, rates = clock.now, []
    for event in plan.run():
        if isinstance(event, prepare.Progress):
            rates.append(event.lr)
            if event.step == 10:
                assert "steps" not in (out / "recipe.toml").read_text().split("[train]")[1].split("[sample]")[0]
    assert 57 <= clock.now - began <= 60 and len(rates) > 50
    assert rates[-1] < 0.01 * max(rates) and rates[2:] == sorted(rates[2:], reverse=True)
    done = recipes.load(out / "recipe.toml").train
    assert (done.steps, done.minutes) == (len(rates), 1.0)
    # the same command, a smaller budget, and the run's own recipe: nothing is trained again
    before = hashes(out)
    for recipe in (timed(SMALL, 1.0), timed(SMALL, 0.5), recipes.load(out / "recipe.toml")):
        assert not any(isinstance(event, prepare.Progress | prepare.Saved) for event in finish(recipe, out))
        assert recipes.load(out / "recipe.toml").train.steps == len(rates)
    assert hashes(out) == before


def test_a_run_by_the_clock_is_resumed_on_its_course_with_the_time_that_is_left(tmp_path: Path, clock: Clock) -> None:
    out = tmp_path / "r"
    plan = by_the_clock(out, clock, 1.0)
    began, rates = clock.now, []
    with pytest.raises(Interrupted):
        for event in plan.run():
            if isinstance(event, prepare.Progress):
                rates.append(event.lr)
                if event.step == 25:
                    os.kill(os.getpid(), signal.SIGTERM)
    used = clock.now - began
    assert used == 25
    again = by_the_clock(out, clock, 1.0, probed=100.0)  # the probe's own steps tick too, and do not count
    assert again.resumed and again.state.course == plan.state.course and again.state.spent == 25
    assert again.config.lr_at(25, again.state.course).hex() == plan.config.lr_at(25, plan.state.course).hex()
    began = clock.now
    rates.extend(event.lr for event in again.run() if isinstance(event, prepare.Progress))
    assert 57 <= used + clock.now - began <= 60
    assert rates[2:] == sorted(rates[2:], reverse=True) and rates[-1] < 0.01 * max(rates)


def test_a_finished_run_goes_on_when_more_steps_are_asked(tmp_path: Path) -> None:
    """On the course of the longer run, from where it is: its learning rate; the pictures of before are kept."""
    out, said = tmp_path / "r", []
    finish(SMALL, out)
    ends = {name: (out / "previews" / name).read_bytes() for name in LAST}
    longer = recipes.replace(SMALL, {"train.steps": 20})
    plan = prepare.prepare(longer, out, "cpu", said.append)
    rates = [event.lr for event in plan.run() if isinstance(event, prepare.Progress)]
    assert rates == [plan.config.lr_at(step) for step in range(12, 20)]
    assert any("goes on from step 12 to about 20" in line for line in said)
    assert recipes.load(out / "recipe.toml").train.steps == 20 and names(out) >= set(LAST)
    kept = {name: name.replace("final", "step").replace(".", "-00000012.", 1) for name in LAST}
    assert {name: (out / "previews" / kept[name]).read_bytes() for name in LAST} == ends
    assert (out / "previews" / "final.png").read_bytes() != ends["final.png"]
    # stopped on the way it is the same, bit for bit
    other = tmp_path / "other"
    finish(SMALL, other)
    stopped = prepare.prepare(longer, other, "cpu", quiet)
    with pytest.raises(Interrupted):
        for event in stopped.run():
            if isinstance(event, prepare.Progress) and event.step == 15:
                os.kill(os.getpid(), signal.SIGTERM)
    finish(longer, other)
    assert hashes(other) == hashes(out)
    # fewer are refused, and what is finished says so
    with pytest.raises(UsageError, match=r"differs in train\.steps"):
        prepare.prepare(SMALL, out, "cpu", quiet)
    said.clear()
    prepare.prepare(longer, out, "cpu", said.append)
    assert any("finished, after step 20" in line and "--steps" in line for line in said)


def test_a_picture_that_is_kept_takes_the_place_of_none(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        (tmp_path / "final.png").write_text(text)
        previews.keep(tmp_path / "final.png", 60)
    previews.keep(tmp_path / "final.png", 60)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "step-00000060.png": "first", "step-00000060-2.png": "second", "step-00000060-3.png": "third",
    }  # fmt: skip


def test_a_finished_run_goes_on_when_more_minutes_are_asked(tmp_path: Path, clock: Clock) -> None:
    out = tmp_path / "r"
    list(by_the_clock(out, clock, 1.0).run())
    first = recipes.load(out / "recipe.toml").train.steps
    again = by_the_clock(out, clock, 3.0)
    assert first is not None and again.state.spent > 50 and again.course.steps > first + 60
    began, rates, left = clock.now, [], 180 - again.state.spent
    rates.extend(event.lr for event in again.run() if isinstance(event, prepare.Progress))
    assert 0.95 * left <= clock.now - began <= left
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.01 * rates[0]
    done = recipes.load(out / "recipe.toml").train
    assert done.minutes == 3.0 and done.steps == first + len(rates)
