"""The command line as a user meets it: real processes, exit codes, one line for what goes wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.conftest import Command, run_python


def one_error(done: object, code: int) -> str:
    """The only line on stderr of a process that failed with `code`."""
    assert done.returncode == code, (done.stdout, done.stderr)  # type: ignore[attr-defined]
    lines = done.stderr.splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return str(lines[0])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipes", "list"], ["--version"]])
def test_help_and_lists_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom toolkit.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as e: code = e.code\n"
        "heavy = {'torch', 'torchvision', 'torchaudio', 'librosa', 'matplotlib', 'numpy'}\n"
        "print(code, sorted(heavy & {m.split('.')[0] for m in sys.modules}))"
    )
    done = run_python("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_help_names_every_command(toolkit_command: Command) -> None:
    done = toolkit_command("-h")
    assert done.returncode == 0
    for command in ("train", "sample", "evaluate", "reproduce", "report", "data", "recipes", "verify", "doctor"):
        assert f" {command} " in done.stdout
    bare = toolkit_command()
    assert (bare.returncode, bare.stdout.strip(), bare.stderr) == (2, done.stdout.strip(), "")


def test_version(toolkit_command: Command) -> None:
    import toolkit

    assert toolkit_command("--version").stdout == f"{toolkit.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tran"], 2, "train"),
        (["train", "--stps", "3"], 2, "--steps"),
        (["train", "--steps", "many"], 2, "Invalid value for '--steps'"),
        (["train"], 2, "say what to train: a modality, a recipe, or --data FOLDER"),
        (["train", "imge"], 2, "unknown modality, recipe or folder 'imge'; did you mean 'image'?"),
        (["train", "--modality", "image", "--minutes", "1", "--steps", "3"], 2, "--minutes and --steps"),
        (["train", "--modality", "imagee"], 2, "no modality 'imagee'; did you mean 'image'?"),
        (["train", "--modality", "video"], 2, "known: audio, image, text, or a path to a .py file"),
        (["train", "--modality", "./nothing.py"], 2, "no such modality file"),
        (["train", "--modality", "audio", "--recipe", "image/mnist"], 2, "for modality 'image', not 'audio'"),
        (["train", "--recipe", "mnst"], 2, "unknown recipe 'mnst'; did you mean 'mnist'?"),
        (["train", "--recipe", "nothing.toml"], 2, "no such recipe file: nothing.toml"),
        (["train", "--recipe", "mnist", "--set", "train.lrr=1"], 2, "'train.lrr'; did you mean 'train.lr'?"),
        (["train", "--recipe", "mnist", "--set", "train.lr"], 2, "--set takes KEY=VALUE"),
        (["train", "--recipe", "mnist", "--set", "train.lr=fast"], 2, "train.lr: "),
        (["train", "--recipe", "mnist", "--steps", "0"], 2, "train.steps: "),
        (["train", "--recipe", "mnist", "--set", "data.sorce=x"], 2, "'data.sorce'; did you mean 'data.source'?"),
        (["train", "--recipe", "image/folder"], 2, "--data FOLDER"),
        (["train", "--recipe", "folder"], 2, "audio/folder, image/folder"),
        (["train", "--modality", "image", "--data", "./nothing"], 66, "no such folder or file: nothing"),
        (["train", "--modality", "image", "--data", "/nothing/here"], 66, "no such folder or file: /nothing/here"),
        (["sample", "runs/nothing"], 2, "runs/nothing"),
        (["recipes", "show", "mnist-ddp"], 2, "did you mean 'mnist-ddpm'?"),
        (["verify", "--only", "Z9"], 2, "no check is called 'Z9'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], code: int, message: str, toolkit_command: Command) -> None:
    assert message in one_error(toolkit_command(*arguments), code)


def test_a_wrong_command_leaves_nothing_behind(toolkit_command: Command, tmp_path: Path) -> None:
    toolkit_command("train", "--modality", "image", "--data", "./nothing")
    toolkit_command("train", "--recipe", "mnist", "--set", "train.lrr=1")
    assert list(tmp_path.iterdir()) == []


def test_control_characters_of_a_file_name_do_not_reach_the_terminal(toolkit_command: Command) -> None:
    line = one_error(toolkit_command("train", "--modality", "image", "--data", "./a\x1b[31m\nb"), 66)
    assert line.endswith(r"no such folder or file: a\x1b[31m b")


def test_debug_adds_the_traceback(toolkit_command: Command) -> None:
    done = toolkit_command("recipes", "show", "x", TOOLKIT_DEBUG="1")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback") and done.stderr.splitlines()[-1].startswith("error: unknown recipe")


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        ("RuntimeError('a\\nb')", 1, "error: RuntimeError: a b; TOOLKIT_DEBUG=1 shows the traceback\n"),
        ("KeyboardInterrupt()", 130, "error: interrupted\n"),
        ("errors.Interrupted(15, 'saved; go on so')", 143, "saved; go on so\n"),
        ("errors.BusyError('in use')", 75, "error: in use\n"),
        ("BrokenPipeError()", 0, ""),
    ],
)
def test_what_a_command_raises_becomes_a_line_and_a_code(fault: str, code: int, line: str, tmp_path: Path) -> None:
    script = (
        "import toolkit.recipe, toolkit.cli\nfrom toolkit import errors\n"
        f"def fail(*_): raise {fault}\n"
        "toolkit.recipe.list_recipes = fail\ntoolkit.cli.main(['recipes'])"
    )
    done = run_python("-c", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (code, line)


def test_recipes_are_listed_shown_and_copied(toolkit_command: Command, tmp_path: Path) -> None:
    listed = toolkit_command("recipes")
    assert listed.stdout == toolkit_command("recipes", "list").stdout
    row = next(line for line in listed.stdout.splitlines() if "image/mnist " in line)
    assert "MNIST, 28 x 28" in row and row.split()[-1] == "30"

    shown = toolkit_command("recipes", "show", "mnist").stdout
    assert shown.startswith("# ") and 'name = "mnist"' in shown

    copied = toolkit_command("recipes", "copy", "mnist", "mine.toml")
    assert copied.returncode == 0 and "toolkit train --recipe mine.toml" in copied.stdout
    assert (tmp_path / "mine.toml").read_text("utf-8") == shown
    assert "mine.toml exists already" in one_error(toolkit_command("recipes", "copy", "digits", "mine.toml"), 2)
    assert (tmp_path / "mine.toml").read_text("utf-8") == shown

    (tmp_path / "here").mkdir()
    assert toolkit_command("recipes", "copy", "image/digits", "here").returncode == 0
    assert (tmp_path / "here" / "digits.toml").is_file()
    assert "ends in .toml" in one_error(toolkit_command("recipes", "copy", "digits", "nofolder"), 2)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_copy_that_cannot_be_written(toolkit_command: Command, tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "cannot write" in one_error(toolkit_command("recipes", "copy", "digits", "mine.toml"), 74)


def test_output_survives_a_terminal_without_unicode(toolkit_command: Command) -> None:
    done = toolkit_command("recipes", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "image/digits" in done.stdout


def test_doctor_says_what_is_here(toolkit_command: Command) -> None:
    done = toolkit_command("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()}
    assert rows["torch"].split()[1].startswith("2.")
    assert "GB free" in rows["cache"] and "recipes" in rows and "avx512_bf16" in rows
    assert done.stdout.splitlines()[-1] == "no problem found"
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(("version", "noted"), [("12.3.0", True), ("9.5", True), ("13.0.0", False), (None, False)])
def test_doctor_notes_a_known_hole(version: str | None, noted: bool) -> None:
    from toolkit.cli import doctor

    notes = list(doctor._holes({"pillow": version}))
    assert len(notes) == noted and all(f"Pillow {version} has a known hole" in note for note in notes)


def test_doctor_survives_a_broken_torch_and_a_missing_home(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open')")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from toolkit.cli import main; main(['doctor'])"
    done = run_python("-c", script, cwd=tmp_path, HOME="", TOOLKIT_CACHE="", XDG_CACHE_HOME="")
    assert done.returncode == 1
    assert "problem: torch cannot be imported (OSError: libtorch.so: cannot open)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
