"""`toolkit data inspect`: what `train` would understand, from the same reader with the same options."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, colour in (("cat", "red"), ("dog", "blue")):
        for i in range(12):
            path = tmp_path / "photos" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), colour).save(path)
            Image.new("RGB", (40, 30), (i, 9, 9)).save(path)
    (tmp_path / "photos/notes.md").write_text("hello")
    return tmp_path / "photos"


def content(command: Command, *arguments: str) -> dict[str, Any]:
    done = command("data", "inspect", *arguments, "--no-estimate", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(content: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in content["rows"]}


def test_it_takes_the_options_of_the_data(toolkit_command: Command, photos: Path) -> None:
    said = rows(content(toolkit_command, "photos"))
    assert said["labels"]["data"]["counts"] == {"cat": 12, "dog": 12}
    assert said["files"]["data"] == {"read": {".png": 24}, "passed_over": {".md": 1}}
    assert rows(content(toolkit_command, "photos", "--labels", "none"))["labels"]["data"] == {}
    wrong = toolkit_command("data", "inspect", "photos", "--lables", "none")
    assert wrong.returncode == 2 and "did you mean '--labels'?" in wrong.stderr


def test_the_command_it_gives_trains_on_what_it_showed(toolkit_command: Command, photos: Path, tmp_path: Path) -> None:
    shown = content(toolkit_command, "photos", "--labels", "none")
    command = shlex.split(shown["command"])
    assert command[:6] == ["toolkit", "train", "--modality", "image", "--data", "./photos"]
    assert command[-2:] == ["--labels", "none"]
    more = ["--steps", "1", "--batch", "2", "--set", "train.previews=0", "--out", "run", "--preset", "tiny"]
    done = toolkit_command(*command[1:], *more)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "run/data.json").read_text())["rows"]
    before = [row for row in shown["rows"] if row["name"] not in ("time", "to train")]
    if not shown["changes"]:
        assert kept[: len(before)] == before
    assert kept[-1]["name"] == "passes" and kept[-1]["warning"]
    assert "24 read: .png" in done.stdout and "too little data" in " ".join(done.stdout.split())


def test_it_reads_once_until_something_changes(toolkit_command: Command, photos: Path, tmp_path: Path) -> None:
    before = set((Path(os.environ["TOOLKIT_CACHE"]) / "inspect").glob("*.json"))
    first = content(toolkit_command, "photos")
    (kept,) = set((Path(os.environ["TOOLKIT_CACHE"]) / "inspect").glob("*.json")) - before
    kept.write_text(kept.read_text().replace("24 read", "7 read"))
    assert "7 read" in rows(content(toolkit_command, "photos"))["files"]["value"]
    Image.new("RGB", (40, 30), "green").save(photos / "cat/more.png")
    assert "25 read" in rows(content(toolkit_command, "photos"))["files"]["value"]
    kept.write_text("{broken")
    (photos / "cat/more.png").unlink()
    assert rows(content(toolkit_command, "photos")) == rows(first)


def test_a_run_notices_changed_data(toolkit_command: Command, photos: Path, tmp_path: Path) -> None:
    command = ["train", "--data", "photos", "--preset", "tiny", "--batch", "2", "--set", "train.previews=0"]
    assert toolkit_command(*command, "--steps", "1", "--out", "run").returncode == 0
    os.replace(photos / "cat/1.png", photos / "swap.png")
    os.replace(photos / "dog/1.png", photos / "cat/1.png")
    os.replace(photos / "swap.png", photos / "dog/1.png")
    Image.new("RGB", (40, 30), (200, 0, 0)).save(photos / "cat/1.png")
    refused = toolkit_command(*command, "--steps", "2", "--out", "run")
    assert refused.returncode == 2 and "--follow-data" in refused.stderr
    followed = toolkit_command(*command, "--steps", "2", "--out", "run", "--follow-data")
    assert followed.returncode == 0, followed.stderr
    assert toolkit_command(*command, "--steps", "3", "--out", "run").returncode == 0


def test_a_file_that_was_only_touched_is_the_same_data(toolkit_command: Command, photos: Path, tmp_path: Path) -> None:
    command = ["train", "--data", "photos", "--preset", "tiny", "--batch", "2", "--set", "train.previews=0"]
    assert toolkit_command(*command, "--steps", "1", "--out", "run").returncode == 0
    os.utime(photos / "cat/1.png", ns=(1, 1))
    assert toolkit_command(*command, "--steps", "2", "--out", "run").returncode == 0


def test_an_edited_recipe_is_another_question(toolkit_command: Command, photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('modality = "image"\n[data]\nsize = 16\n[train]\nsteps = 1\n')
    assert rows(content(toolkit_command, "photos", "--recipe", "mine.toml"))["sizes"]["data"]["size"] == 16
    recipe.write_text('modality = "image"\n[data]\nsize = 24\n[train]\nsteps = 1\n')
    assert rows(content(toolkit_command, "photos", "--recipe", "mine.toml"))["sizes"]["data"]["size"] == 24
