"""--json: one object on stdout and nothing else, with a format number, for every command that prints a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from toolkit import recipe as recipes
from toolkit.cli import console


def parsed(done: Any, code: int = 0) -> dict[str, Any]:
    """Return all that a command printed, as the JSON object that it must be."""
    assert done.returncode == code, (done.stdout, done.stderr)
    content = json.loads(done.stdout)
    assert next(iter(content)) == "format" and content["format"] == console.JSON_FORMAT
    assert done.stdout.isascii()
    return dict(content)


def test_the_helper_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"a": [1.5, float("nan"), (float("inf"), "é\x1b\u202e")], "b": {3: Path("x")}}
    console.print_result(False, content, [("1", "2")], ("one", "two"))
    assert [word for word in capsys.readouterr().out.split() if word.isalnum()] == ["one", "two", "1", "2"]
    console.print_result(True, content, [("1", "2")], ("one", "two"))
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"format": 1, "a": [1.5, None, [None, "é\x1b\u202e"]], "b": {"3": "x"}}
    assert shown.out.isascii() and "\x1b" not in shown.out
    console.notifier(True)("a\nb")
    console.notifier(False)("c")
    assert capsys.readouterr() == ("c\n", "a b\n")


def test_recipes(toolkit_command: Command) -> None:
    listed = parsed(toolkit_command("recipes", "--json"))["recipes"]
    assert [one["name"] for one in listed] == recipes.list_recipes()
    digits = next(one for one in listed if one["name"] == "image/digits")
    assert digits == {
        "name": "image/digits",
        "modality": "image",
        "description": recipes.load("image/digits").description,
        "minutes": 10.0,
        "steps": None,
    }
    assert parsed(toolkit_command("recipes", "list", "--json"))["recipes"] == listed
    refused = toolkit_command("recipes", "--json", "show", "digits")
    assert refused.returncode == 2 and refused.stdout == ""


def test_results(toolkit_command: Command) -> None:
    found = {one.pop("name"): one for one in parsed(toolkit_command("results", "--json"))["recipes"]}
    expected = recipes.load("image/digits").expected
    assert found["image/digits"]["figures"].keys() == expected.figures.keys()
    assert found["image/digits"]["figures"]["nearest"]["value"] == expected.figures["nearest"].value
    assert found["image/digits"]["steps"] == expected.steps and "image/folder" not in found
    refused = toolkit_command("results", "--json", "--section", "run")
    assert refused.returncode == 2 and "leave out --section" in refused.stderr


def test_doctor(toolkit_command: Command, tmp_path: Path) -> None:
    content = parsed(toolkit_command("doctor", "--json"))
    assert content["problems"] == [] and content["machine"]["torch"].startswith("2.")
    assert "GB free" in content["machine"]["cache"]
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open')")
    broken = parsed(toolkit_command("doctor", "--json", PYTHONPATH=f"{tmp_path}:{ROOT}"), code=1)
    assert "libtorch.so: cannot open" in broken["problems"][0]


def test_verify(toolkit_command: Command) -> None:
    content = parsed(toolkit_command("verify", "--only", "guidance", "--json"))
    assert content["wrong"] == 0 and content["right"] == len(content["checks"]) > 3
    assert content["checks"][0].keys() == {"name", "measured", "expected", "ok", "note"}
    assert all(check["ok"] is True for check in content["checks"])
    refused = toolkit_command("verify", "--only", "nosuch", "--json")
    assert (refused.returncode, refused.stdout) == (2, "") and "no check is called" in refused.stderr


def test_data_inspect_of_a_text(toolkit_command: Command, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("It was é dark and stormy night.\n" * 200, encoding="utf-8")
    plain = toolkit_command("data", "inspect", "book.txt", "--no-estimate")
    assert plain.returncode == 0 and plain.stdout.count("\n\n") == 0
    content = parsed(toolkit_command("data", "inspect", "book.txt", "--no-estimate", "--json"))
    assert (content["path"], content["modality"]) == ("book.txt", "text")
    names = [line.split("  ")[0].strip() for line in plain.stdout.splitlines() if line[:1].strip()]
    assert [row["name"] for row in content["rows"]] == [name.removeprefix("! ") for name in names]
    assert content["changes"] and all("." in key for key in content["changes"])


def test_every_documented_command_has_the_flag(toolkit_command: Command) -> None:
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1].split() for line in text.splitlines() if line.startswith("| `toolkit ")]
    assert len(rows) == 7
    for row in rows:
        command = [word for word in row[1:] if word.islower() and not word.startswith("-")]
        assert "--json" in toolkit_command(*command, "--help").stdout, row
