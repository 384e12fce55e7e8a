"""--help shows every option that there is, a modality's too, by what its docstring says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Literal

import pytest

from modalities import audio, image, text
from tests.conftest import ROOT
from toolkit.cli.modality_options import kind, modality_names, rows, value_of
from toolkit.discovery import find

Command = Callable[..., "CompletedProcess[str]"]


@pytest.mark.parametrize("name", ["image", "audio", "text"])
def test_every_option_of_a_modality_says_what_it_does(name: str) -> None:
    modality = find(name)
    for options in (modality.Data, modality.Model, modality.SampleOptions, modality.EvaluationOptions):
        shown = {row[0]: row for row in rows(options)}
        assert shown.keys() == {f"--{n.replace('_', '-')}" for n in options.model_fields if n != "source"}
        assert all(field.description for field in options.model_fields.values())
        assert all(row[1] and row[2][0].isalnum() for row in shown.values())
    assert audio and image and text


def test_the_names_of_modalities_are_those_of_their_folders() -> None:
    assert modality_names() == sorted(path.parent.name for path in (ROOT / "modalities").glob("*/__init__.py"))


def test_types_as_help_has_them() -> None:
    assert kind(Literal["a", "b"]) == "a|b" and kind(int | None) == "int" and kind(bool) == "true|false"
    assert kind(Literal[1, 2] | float) == "1|2 or float"
    assert value_of("--modality", ["--modality", "text"]) == value_of("--modality", ["-x", "--modality=text"]) == "text"
    assert value_of("--modality", ["--modality"]) is None


def test_help_in_a_terminal(toolkit_command: Command, tmp_path: Path) -> None:
    plain = toolkit_command("train", "--help")
    assert plain.returncode == 0 and "--tokens" not in plain.stdout
    assert "audio, image, text, a module, or a .py file." in plain.stdout
    texts = toolkit_command("train", "--modality", "text", "--help")
    assert texts.returncode == 0 and "Options of text: which data:" in texts.stdout
    for said in ("--tokens", "--spread", "Tokens of one example", "[default: 128]", "column:NAME"):
        assert said in texts.stdout
    assert "--rate" in toolkit_command("train", "--recipe=audio/drums", "--help").stdout
    wrong = toolkit_command("train", "--modality", "nosuch", "--help")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "no modality 'nosuch'" in wrong.stderr


def test_help_of_a_run(toolkit_command: Command, tmp_path: Path) -> None:
    done = toolkit_command(
        "train", "--modality", "text", "--recipe", "names", "--steps", "2", "--preset", "smoke", "--width", "16",
        "--depth", "1", "--out", "names", "--set", "train.batch=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = toolkit_command("sample", "names", "--help")
    assert shown.returncode == 0 and "Options of a run of modality text:" in shown.stdout
    assert "--temperature" in shown.stdout and "--infill" in shown.stdout and "--mel" not in shown.stdout
    # a stranger's run names code, which only the user may have run
    recipe = tmp_path / "names" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('modality = "text"', 'modality = "evil.py"'))
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    shown = toolkit_command("sample", "names", "--help")
    assert shown.returncode == 0 and "Options of a run" not in shown.stdout and not (tmp_path / "ran").exists()
