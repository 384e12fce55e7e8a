"""The version of the toolkit stands in each checkpoint, and another one says so in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import toolkit
from tests.run.points_run import POINTS, finished, forget_copies, quiet, recipe
from toolkit.run import prepare
from toolkit.run.generator import load
from toolkit.training.storage.manifest import Manifest, read_manifest

OTHER = "9.8.7"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    finished(tmp_path / "run", train__steps=3)
    return tmp_path / "run"


def said_by(call: object, *arguments: object, **options: object) -> list[str]:
    said: list[str] = []
    call(*arguments, notify=said.append, **options)  # type: ignore[operator]
    return [line for line in said if "toolkit" in line]


def test_a_checkpoint_says_who_saved_it(run: Path) -> None:
    folder = run / "checkpoints" / "step-00000003"
    manifest = read_manifest(folder, 3)
    assert manifest.toolkit == toolkit.__version__ == json.loads((folder / "manifest.json").read_text())["toolkit"]
    assert b"git" not in manifest.encode()


def test_the_same_version_says_nothing(run: Path) -> None:
    assert said_by(load, run, modality=POINTS) == []
    assert said_by(prepare.prepare, recipe(train__steps=5), run, "cpu") == []


def test_sampling_and_resuming_under_another_version_say_so_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = toolkit.__version__
    monkeypatch.setattr(toolkit, "__version__", OTHER)
    line = f"step 3 was saved by toolkit {saved}, and this is {OTHER}: what follows may differ"
    assert said_by(load, run, modality=POINTS) == [line]
    assert said_by(prepare.prepare, recipe(train__steps=5), run, "cpu") == [line]
    finished(run, train__steps=5)  # from here on it is of this version
    assert said_by(load, run, modality=POINTS) == []


def test_a_checkpoint_of_before_says_nothing_and_has_the_bytes_that_it_had(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_copies(run)
    monkeypatch.setattr(toolkit, "__version__", OTHER)
    assert said_by(load, run, modality=POINTS) == []
    assert load(run, modality=POINTS, notify=quiet).step == 3
    text = (run / "checkpoints" / "step-00000003" / "manifest.json").read_bytes()
    assert b"toolkit" not in text and Manifest.model_validate_json(text).encode() == text
