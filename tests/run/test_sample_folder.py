"""Nothing that was sampled is overwritten: the same request has one folder, and any other has its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import one_error
from tests.conftest import ROOT, Command
from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.errors import StorageError, UsageError
from toolkit.run import sample_folder
from toolkit.run.generator import Generator, load
from toolkit.run.prepare import train

POINTS = str(ROOT / "tests" / "points.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples") / "run"
    default = find(POINTS).default_recipe
    assert not isinstance(default, str)
    recipe = recipes.from_mapping({**default, "modality": POINTS})
    train(recipe, out=folder, notify=lambda line: None, train__steps=3, train__previews=0, sample__steps=2)
    return folder


@pytest.fixture(scope="module")
def generator(run: Path) -> Generator:
    return load(run, modality=POINTS)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_request_is_all_that_samples_follow_from(generator: Generator, run: Path, tmp_path: Path) -> None:
    asked = sample_folder.request(generator, 4, 0, {"label": "upper"})
    assert asked == sample_folder.request(load(run, modality=POINTS), 4, 0, {"label": "upper"})
    other = [
        sample_folder.request(generator, 5, 0, {"label": "upper"}),
        sample_folder.request(generator, 4, 1, {"label": "upper"}),
        sample_folder.request(generator, 4, 0, {"label": "lower"}),
        sample_folder.request(generator, 4, 0, {}),
        sample_folder.request(load(run, modality=POINTS, ema=0.05), 4, 0, {"label": "upper"}),
    ]
    assert all(one != asked for one in other)
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"1")
    before = sample_folder.request(generator, 1, 0, {"mel": str(sound)})
    sound.write_bytes(b"12")
    assert sample_folder.request(generator, 1, 0, {"mel": str(sound)}) != before


def test_a_place_is_new_empty_or_of_the_same_request(tmp_path: Path) -> None:
    first, second = {"n": 1}, {"n": 2}
    folder = tmp_path / "deep" / "seed-0"
    assert sample_folder.place(folder, first, exact=False) == folder and not (tmp_path / "deep").exists()
    sample_folder.record(folder, first)
    assert sample_folder.place(folder, first, exact=True) == folder
    other = sample_folder.place(folder, second, exact=False)
    assert other == tmp_path / "deep" / "seed-0-2"
    sample_folder.record(other, second)
    assert sample_folder.place(folder, second, exact=False) == other
    assert sample_folder.place(folder, {"n": 3}, exact=False).name == "seed-0-3"
    with pytest.raises(UsageError, match="holds other files, which stay"):
        sample_folder.place(folder, second, exact=True)
    for content in ("[", "[]", "7"):
        (folder / sample_folder.RECORD).write_text(content)
        assert sample_folder.place(folder, first, exact=False).name == "seed-0-3"
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is no folder"):
        sample_folder.place(tmp_path / "file", first, exact=False)
    (tmp_path / "empty").mkdir()
    assert sample_folder.place(tmp_path / "empty", first, exact=True) == tmp_path / "empty"


def test_from_the_command_line(run: Path, toolkit_command: Command, tmp_path: Path) -> None:
    sample = ("sample", str(run), "--modality", POINTS)
    home = run / "samples"
    done = toolkit_command(*sample, "-n", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"grid: {home}/seed-0/grid.png", f"single files: {home}/seed-0"]
    first = contents(home / "seed-0")
    assert set(first) == {sample_folder.RECORD, "grid.png", "0-upper.csv", "1-lower.csv"}
    # again, the same; another number of them, another folder
    assert toolkit_command(*sample, "-n", "2", "--batch", "1").returncode == 0
    again = contents(home / "seed-0")  # other batches may differ in their last bits
    assert again.keys() == first.keys() and len(list(home.iterdir())) == 1
    assert f"single files: {home}/seed-0-2" in toolkit_command(*sample, "-n", "11").stdout
    assert contents(home / "seed-0") == again
    # one sample is one grid
    one = toolkit_command(*sample, "-n", "1", "--seed", "3").stdout
    assert one.count("grid:") == 1 and f"grid: {home}/seed-3/grid.png" in one

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "0-upper.csv").write_text("precious")
    refused = toolkit_command(*sample, "-n", "2", "--out", "mine")
    assert "mine holds other files, which stay; choose another --out" in one_error(refused, 2)
    assert contents(mine) == {"0-upper.csv": b"precious"}
    for _ in range(2):
        assert toolkit_command(*sample, "-n", "2", "--out", "new").returncode == 0
    assert json.loads((tmp_path / "new" / sample_folder.RECORD).read_text())["n"] == 2
    refused = toolkit_command(*sample, "-n", "3", "--out", "new")
    assert "new holds other files" in one_error(refused, 2)
    assert "no folder" in one_error(toolkit_command(*sample, "--out", "mine/0-upper.csv"), 74)


def test_a_run_that_went_on_keeps_its_earlier_samples(tmp_path: Path, toolkit_command: Command) -> None:
    short = ("--set", "train.previews=0", "--set", "sample.steps=2", "--out", "run")
    for steps in ("2", "4"):
        done = toolkit_command("train", "--modality", POINTS, "--steps", steps, *short)
        assert done.returncode == 0, done.stderr
        assert toolkit_command("sample", "run", "--modality", POINTS, "-n", "2").returncode == 0
    samples = tmp_path / "run" / "samples"
    assert {path.name for path in samples.iterdir()} == {"seed-0", "seed-0-2"}
    assert contents(samples / "seed-0")["0-upper.csv"] != contents(samples / "seed-0-2")["0-upper.csv"]
