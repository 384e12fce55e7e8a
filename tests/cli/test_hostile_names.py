"""Names that anybody may give, of labels, files, recipes and options: shown as they are, and never obeyed.

Brackets are markup to rich, escapes are colours and worse to a terminal, marks of direction turn a line around.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.text import Text

from tests.conftest import ROOT, Command
from toolkit.cli import console

MARKUP, ESCAPE, BIDI = "[red]x[/red]", "a\x1b[35;5mb", "\u202etxt.exe"
SEEN_ESCAPE, SEEN_BIDI = r"a\x1b[35;5mb", r"\u202etxt.exe"
POINTS = (ROOT / "tests" / "points.py").read_text(encoding="utf-8")


def assert_harmless(done: object) -> str:
    """Return what a process printed; assert that it has no control character and no mark of direction."""
    text = done.stdout + done.stderr  # type: ignore[attr-defined]
    assert [c for c in text if not c.isprintable() and c not in "\n\t"] == []
    return str(text)


def test_cells_headings_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table([(MARKUP, ESCAPE, Text("ok", "green")), (BIDI, ":smile:", "")], (MARKUP, ":red_heart:", "c"))
    console.notify(f"{MARKUP} {ESCAPE}\n{BIDI}")
    shown = capsys.readouterr().out
    assert shown.count(MARKUP) == 3 and shown.count(SEEN_ESCAPE) == 2 and shown.count(SEEN_BIDI) == 2
    assert ":smile:" in shown and ":red_heart:" in shown and "\x1b" not in shown and "\u202e" not in shown


def test_a_terminal_gets_no_control_characters_and_a_file_gets_the_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"# {ESCAPE}\n\t{BIDI}\n"
    console.print_text(text)
    assert capsys.readouterr().out == text
    monkeypatch.setattr(console.sys.stdout, "isatty", lambda: True)
    console.print_text(text)
    assert capsys.readouterr().out == f"# {SEEN_ESCAPE}\n\t{SEEN_BIDI}\n"


def test_a_run_whose_labels_are_hostile(toolkit_command: Command, tmp_path: Path) -> None:
    code = POINTS.replace('("upper", "lower")', f"({MARKUP!r}, {ESCAPE!r}, {BIDI!r})")
    assert code != POINTS
    (tmp_path / "mine.py").write_text(code)
    common = ("--modality", "mine.py")
    done = toolkit_command(
        "train", *common, "--steps", "4", "--set", "train.previews=0", "--set", "sample.steps=2", "--out", MARKUP
    )
    shown = assert_harmless(done)
    assert done.returncode == 0 and f"run folder     {MARKUP}" in shown
    assert f"3: {MARKUP}, {SEEN_ESCAPE}, {SEEN_BIDI}" in shown and f"next: toolkit sample '{MARKUP}' -n 64" in shown

    for label in (MARKUP, ESCAPE, BIDI):
        done = toolkit_command("sample", MARKUP, *common, "-n", "2", "--label", label)
        assert done.returncode == 0 and f"single files: {MARKUP}/samples/label-" in assert_harmless(done)
    folders = list((tmp_path / MARKUP / "samples").iterdir())
    assert len(folders) == 3 and all(path.name.isprintable() for folder in folders for path in folder.iterdir())
    done = toolkit_command("sample", MARKUP, *common, "--label", f"{ESCAPE}c")
    assert done.returncode == 2 and f"did you mean '{SEEN_ESCAPE}'?" in assert_harmless(done)

    done = toolkit_command("report", MARKUP)
    assert done.returncode == 0 and f"page: {MARKUP}/report.html" in assert_harmless(done)
    page = (tmp_path / MARKUP / "report.html").read_text(encoding="utf-8")
    assert MARKUP in page and "\x1b" not in page and "\u202e" not in page


def test_recipes_that_are_hostile(toolkit_command: Command, tmp_path: Path) -> None:
    name = f"{MARKUP}{ESCAPE}{BIDI}.toml".replace("/", "-")
    seen = f"{MARKUP}{SEEN_ESCAPE}{SEEN_BIDI}.toml".replace("/", "-")
    done = toolkit_command("recipes", "copy", "image/digits", name)
    assert done.returncode == 0 and done.stdout.splitlines()[0] == seen
    assert f"toolkit train --recipe '{seen}'" in assert_harmless(done)
    again = toolkit_command("recipes", "copy", "image/digits", name)
    assert again.returncode == 2 and f"{seen} exists already" in assert_harmless(again)
    points = str(ROOT / "tests" / "points.py")
    own = tmp_path / "own.toml"
    own.write_text(f'modality = "{points}"\ndescription = "{MARKUP}\\u001b[35m"\n[train]\nsteps = 4\n')
    done = toolkit_command("train", "--recipe", "own.toml", "--modality", points, "--dry-run")
    assert done.returncode == 0 and f'description = "{MARKUP}\\u001b[35m"' in assert_harmless(done)
    own.write_text(f'modality = "image"\n"{MARKUP}" = 1\n')
    done = toolkit_command("train", "--recipe", "own.toml")
    assert done.returncode == 2 and f"unknown recipe key '{MARKUP}'" in assert_harmless(done)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for command in (("recipes", "show", "bytes.toml"), ("recipes", "copy", "bytes.toml", "other.toml")):
        done = toolkit_command(*command)
        assert done.returncode == 2 and "cannot read recipe bytes.toml" in assert_harmless(done)
    assert not (tmp_path / "other.toml").exists()


def test_words_of_the_command_line(toolkit_command: Command) -> None:
    name = f"[red]x[bold]{ESCAPE}{BIDI}"
    for command in (
        ("train", "--recipe", name),
        ("train", "--modality", name),
        ("train", "--modality", "image", "--data", f"./{name}"),
        ("sample", name),
        ("evaluate", name),
        ("reproduce", name),
        ("report", name),
        ("results", "--section", name),
        ("results", "--write", name),
        ("data", "inspect", name),
        ("verify", "--only", name),
        ("verify", "bound", "--model", name),
        ("recipes", "show", name),
        (name,),
    ):
        done = toolkit_command(*command)
        assert done.returncode != 0 and done.stdout == "", command
        shown = assert_harmless(done)
        assert console.one_line(name) in shown and shown.count("\n") == 1, command


def test_help_says_what_docstrings_say(toolkit_command: Command, tmp_path: Path) -> None:
    assert "as the [expected] section of a recipe" in toolkit_command("results", "--help", COLUMNS="120").stdout
    (tmp_path / "mine.py").write_text(
        "from toolkit.modality import Modality, Options\n"
        "class Data(Options):\n"
        "    size: int = 3\n"
        f"    '''A {MARKUP} {ESCAPE} size.'''\n"
        f"    note: str = {BIDI!r}\n"
        "    '''Said :smile: of it.'''\n"
        "class Mine(Modality):\n"
        "    name, default_recipe, Data = 'mine', {}, Data\n"
    )
    done = toolkit_command("train", "--modality", "mine.py", "--help", COLUMNS="120")
    shown = assert_harmless(done)
    assert done.returncode == 0 and f"A {MARKUP} {SEEN_ESCAPE} size. [default: 3]" in shown
    assert f"Said :smile: of it. [default: {SEEN_BIDI}]" in shown
