"""A run in a folder: resume, interruption, faults. On a hundred digits with the smallest network."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import toolkit
from tests.conftest import CHILD_PATH
from toolkit import paths
from toolkit import recipe as recipes
from toolkit.errors import BusyError, DataError, DivergedError, Interrupted, ToolkitError, UsageError
from toolkit.recipe import Recipe
from toolkit.run import prepare
from toolkit.training.batches import Batches
from toolkit.training.storage.lock import RunLock

SMALL = recipes.from_mapping(
    {
        "name": "small",
        "modality": "image",
        "data": {"source": "digits", "limit": 100},
        "model": {"preset": "tiny", "width": 16},
        "train": {
            "steps": 12,
            "batch": 8,
            "warmup": 2,
            "previews": 0,
            "checkpoint_minutes": 1e3,
            "layout": "channels-last",
        },
        "sample": {"steps": 3, "guidance": 2.0},
    }
)


def quiet(text: str) -> None:
    pass


def finish(recipe: Recipe, out: Path) -> list[prepare.Event]:
    return list(prepare.prepare(recipe, out, "cpu", quiet).run())


def hashes(out: Path) -> dict[str, str]:
    newest = max((out / "checkpoints").glob("step-*"))
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in newest.glob("*.safetensors")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    events = finish(SMALL, out)
    assert isinstance(events[-1], prepare.Finished)
    return out


def test_a_run_holds_what_it_promises(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 12] and all(line["loss"] > 0 for line in lines)
    assert recipes.load(whole / "recipe.toml").train.steps == 12
    with Image.open(whole / "previews" / "final.png") as picture:
        assert min(picture.size) > 100 and len(picture.convert("L").getcolors() or [0] * 99) > 50
    with Image.open(whole / "previews" / "noise-to-sample.gif") as film:
        durations = []
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            durations.append(film.info["duration"])
        assert durations == [150, 150, 2000] and film.info["loop"] == 0


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_interrupted_and_resumed_is_uninterrupted(whole: Path, tmp_path: Path, cut: int) -> None:
    out = tmp_path / "cut run ü"
    plan = prepare.prepare(SMALL, out, "cpu", quiet)
    with pytest.raises(Interrupted, match="same command") as stopped:
        for event in plan.run():
            if isinstance(event, prepare.Progress) and event.step == cut:
                os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.exit_code == 143
    again = prepare.prepare(SMALL, out, "cpu", quiet)
    assert again.resumed and again.state.step == cut
    list(again.run())
    assert hashes(out) == hashes(whole)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [10, 12]


def test_usr1_saves_and_goes_on(tmp_path: Path) -> None:
    saved = []
    for event in prepare.prepare(SMALL, tmp_path / "r", "cpu", quiet).run():
        if isinstance(event, prepare.Progress) and event.step == 4:
            os.kill(os.getpid(), signal.SIGUSR1)
        if isinstance(event, prepare.Saved):
            saved.append(event.step)
    assert saved == [4, 12]


def test_samples_come_from_the_ema_and_do_not_depend_on_the_batch(whole: Path) -> None:
    generator = toolkit.load(whole, device="cpu", notify=quiet)
    one = generator.sample(6, seed=5, batch=1)
    all_at_once = generator.sample(6, seed=5, batch=6)
    assert float((one.x - all_at_once.x).abs().max()) < 0.05  # bfloat16 rounds by batch size where it is used
    assert one.labels == ("0", "1", "2", "3", "4", "5")
    assert float((generator.sample(6, seed=6).x - one.x).abs().mean()) > 0.1
    other = toolkit.load(whole, device="cpu", ema=0.05, notify=quiet)
    assert not torch.equal(other.denoiser.net.head.weight, generator.denoiser.net.head.weight)  # type: ignore[union-attr]


def test_labels(whole: Path) -> None:
    generator = toolkit.load(whole, device="cpu", notify=quiet)
    assert generator.sample(3, label="7", steps=1).labels == ("7", "7", "7")
    assert generator.sample(2, label=["1", 2], steps=1).labels == ("1", "2")
    assert generator.sample(1, label="none", steps=1).labels == ("none",)
    with pytest.raises(UsageError, match="unknown label 'x'"):
        generator.sample(1, label="x")
    for several in (["3", "4"], "3,4", "3, 4"):
        assert generator.sample(5, label=several, steps=1).labels == ("3", "4", "3", "4", "3")
    with pytest.raises(UsageError, match="3 labels for 2"):
        generator.sample(2, label=["1", "2", "3"])
    with pytest.raises(UsageError, match="unknown label '10'"):
        generator.sample(2, label="1,10")


def test_a_finished_run_is_not_trained_again(whole: Path) -> None:
    before = hashes(whole)
    events = finish(SMALL, whole)
    assert not any(isinstance(event, prepare.Progress) for event in events)
    assert hashes(whole) == before


def test_another_recipe_in_the_folder_is_refused(whole: Path) -> None:
    with pytest.raises(UsageError, match=r"differs in train\.lr"):
        prepare.prepare(recipes.replace(SMALL, {"train.lr": 0.5}), whole, "cpu", quiet)
    with pytest.raises(UsageError, match="no run folder"):
        prepare.prepare(SMALL, whole / "previews", "cpu", quiet)


def test_a_damaged_checkpoint_falls_back(tmp_path: Path) -> None:
    out = tmp_path / "r"
    for event in prepare.prepare(SMALL, out, "cpu", quiet).run():
        if isinstance(event, prepare.Progress) and event.step == 6:
            os.kill(os.getpid(), signal.SIGUSR1)
    newest = out / "checkpoints" / "step-00000012" / "ema.safetensors"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    said: list[str] = []
    toolkit.load(out, device="cpu", notify=said.append)
    assert len(said) == 1 and "step-00000012" in said[0] and "ema.safetensors" in said[0]
    plan = prepare.prepare(SMALL, out, "cpu", said.append)
    assert plan.state.step == 6


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    plan = prepare.prepare(SMALL, tmp_path / "r", "cpu", quiet)
    (tmp_path / "r").mkdir()
    code = "import sys; from pathlib import Path; from toolkit.training.storage.lock import RunLock\n"
    code += "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "r")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": CHILD_PATH},
    )  # fmt: skip
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=str(other.pid)) as busy:
        next(iter(plan.run()))
    assert busy.value.exit_code == 75
    other.communicate("")
    with RunLock(tmp_path / "r"):
        pass


def poison(monkeypatch: pytest.MonkeyPatch, bad: set[int], times: int = 10**9) -> None:
    """Make the data of some steps not finite, the first `times` times they are asked for."""
    clean = Batches.__call__
    left = [times]

    def dirty(self: Batches, step: int, positions: range):  # type: ignore[no-untyped-def]
        x, cond = clean(self, step, positions)
        if step in bad and left[0] > 0:
            left[0] -= 1
            x = x * float("nan")
        return x, cond

    monkeypatch.setattr(Batches, "__call__", dirty)


def test_three_bad_steps_roll_back_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare.prepare(SMALL, tmp_path / "r", "cpu", quiet)
    poison(monkeypatch, {5, 6, 7}, times=3)
    events: list[prepare.Event] = []
    for event in plan.run():
        events.append(event)
        if isinstance(event, prepare.Progress) and event.step == 4 and plan.state.lr_factor == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
    notes = [event.text for event in events if isinstance(event, prepare.Note)]
    assert len(notes) == 4 and "steps 6 to 8" in notes[3] and "checkpoint of step 4" in notes[3]
    assert plan.state.step == 12 and plan.state.lr_factor == 0.5 and plan.state.updates == 12


def test_training_that_cannot_recover_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare.prepare(SMALL, tmp_path / "r", "cpu", quiet)
    poison(monkeypatch, {5, 6, 7})
    with pytest.raises(DivergedError, match=r"steps 6 to 8 .* learning rate .* examples \[") as failed:
        for event in plan.run():
            if isinstance(event, prepare.Progress) and event.step == 4:
                os.kill(os.getpid(), signal.SIGUSR1)
    assert failed.value.exit_code == 76
    found = prepare.CheckpointStore(tmp_path / "r" / "checkpoints").load(notify=quiet)
    assert found is not None and found.step == 4
    assert all(bool(t.isfinite().all()) for group in found.groups.values() for t in group.values())


def test_a_strange_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        toolkit.load(tmp_path / "nothing")
    (tmp_path / "facts.json").write_text("[" * 100_000)
    (tmp_path / "recipe.toml").write_text(recipes.dump(SMALL))
    with pytest.raises(ToolkitError) as error:
        toolkit.load(tmp_path)
    assert "facts.json" in str(error.value) and "\n" not in str(error.value)


def test_python_api_trains_and_resumes(tmp_path: Path) -> None:
    made = toolkit.train(SMALL, out=tmp_path / "r", notify=quiet, train__steps=3)
    assert made.recipe.train.steps == 3
    files = made.sample(3, label="3").save(tmp_path / "out")
    assert [f.name for f in files] == ["grid.png", "0-3.png", "1-3.png", "2-3.png"]
    assert all(f.stat().st_size for f in files)


def test_on_data_that_is_open_it_samples_the_same_and_other_data_is_refused(whole: Path) -> None:
    generator = toolkit.load(whole, device="cpu", notify=quiet)
    real = prepare.prepare(SMALL, whole, "cpu", quiet).modality
    with pytest.raises(RuntimeError):  # of a run alone no data is open
        generator.modality.dataset("train")
    on = generator.on(real)
    assert len(on.modality.dataset("train")) == 100
    assert torch.equal(on.sample(2, steps=1).x, generator.sample(2, steps=1).x)
    smaller = recipes.replace(SMALL, {"data.size": 16})
    kind = type(real)
    other = kind(*recipes.validate_for(smaller, kind))
    other.open(paths.cache(), quiet)
    with pytest.raises(DataError, match="run 'small' has changed since it was trained"):
        generator.on(other)


def test_autoguidance_with_itself_changes_nothing_and_with_another_does(whole: Path) -> None:
    strong = toolkit.load(whole, device="cpu", notify=quiet)
    plain = strong.sample(2, guidance=1, steps=2).x
    assert float((strong.sample(2, guidance=3, steps=2, weak=strong).x - plain).abs().max()) < 0.05
    weak = toolkit.load(whole, device="cpu", ema=0.05, notify=quiet)
    with torch.no_grad():
        weak.denoiser.net.head.bias.add_(0.5)  # type: ignore[union-attr, operator]
    assert float((strong.sample(2, guidance=3, steps=2, weak=weak).x - plain).abs().max()) > 0.1


@pytest.mark.parametrize("key", ["data.size", "model.width", "diffusion.schedule"])
def test_a_strange_recipe_cannot_ask_for_all_the_memory(whole: Path, tmp_path: Path, key: str) -> None:
    wrong = {"data.size": 10**9, "model.width": 10**6, "diffusion.schedule": {"name": "linear-beta", "T": 10**12}}
    (tmp_path / "facts.json").write_text((whole / "facts.json").read_text())
    (tmp_path / "recipe.toml").write_text(recipes.dump(recipes.replace(SMALL, {key: wrong[key]})))
    with pytest.raises(UsageError) as error:
        toolkit.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("schedule", ["karras", "sqrt"])
def test_schedules_that_end_with_noise_give_clean_samples(whole: Path, schedule: str) -> None:
    generator = toolkit.load(whole, device="cpu", notify=quiet)
    generator.denoiser.schedule = prepare.build.schedule(recipes.Diffusion(schedule=schedule))
    steps = list(generator.trajectory([0, 1], [1, 2]))
    assert torch.equal(steps[-1].x, steps[-1].x_hat) and len(steps) == 4
    low, high = generator.modality.facts.bounds or (0, 0)
    assert low - 1e-5 < float(steps[-1].x.min()) and float(steps[-1].x.max()) < high + 1e-5


def test_diverging_before_anything_was_saved_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare.prepare(SMALL, tmp_path / "r", "cpu", quiet)
    poison(monkeypatch, {0, 1, 2})
    with pytest.raises(DivergedError, match=r"steps 1 to 3 .* nothing had been saved yet"):
        list(plan.run())
    assert not list((tmp_path / "r" / "checkpoints").glob("step-*"))
