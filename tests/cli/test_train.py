"""From options to a recipe and a folder, and what a run looks like on a terminal and in a file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from toolkit import recipe
from toolkit.cli.sample import folder_name
from toolkit.cli.train import choose, pairs
from toolkit.console import duration, one_line
from toolkit.errors import DataError, UsageError
from toolkit.recipe.choose import name_of, source_of
from toolkit.run import prepare
from toolkit.run import show as progress

KNOWN = ["image/digits", "image/mnist"]


def test_the_default_recipe_of_a_modality() -> None:
    assert choose("image", None, None, {}, {}) == recipe.load("image/digits")


def test_options_change_the_recipe_and_set_comes_last() -> None:
    found = choose(None, "mnist", None, {"train.batch": 64, "data.size": 32}, {"train.batch": "16", "train.lr": "3e-4"})
    assert recipe.difference(recipe.load("mnist"), found) == ["data.size", "train.batch", "train.lr"]
    assert (found.data["size"], found.train.batch, found.train.lr) == (32, 16, 3e-4)


def test_data_chooses_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = tmp_path / "my pictures"
    pictures.mkdir()
    own = choose("image", None, str(pictures), {}, {})
    assert (own.name, own.data["source"]) == ("folder", str(pictures))
    assert choose("image", None, "mnist", {}, {}) == recipe.load("image/mnist")
    given = choose("image", "mnist", str(pictures), {}, {})
    assert recipe.difference(recipe.load("mnist"), given) == ["data.source"]
    named = choose("image", None, "fashion-mnist", {}, {})
    assert (named.name, named.data["source"]) == ("digits", "fashion-mnist")


def test_a_folder_is_absolute_and_a_name_wins_over_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "birds").mkdir()
    assert source_of("birds", KNOWN) == str(tmp_path / "birds")
    assert source_of("mnist", KNOWN) == "mnist"
    assert source_of("./mnist", KNOWN) == str(tmp_path / "mnist")
    assert source_of("elsewhere", KNOWN) == "elsewhere"
    for missing in ("./fish", "a/b", "~/no such folder at all"):
        with pytest.raises(DataError, match="no such folder"):
            source_of(missing, KNOWN)


def test_the_run_is_called_after_the_data_or_the_recipe() -> None:
    found = recipe.load("image/digits")
    assert name_of(found, None) == "digits"
    assert name_of(found, "~/my pictures/") == "my-pictures"
    assert name_of(found, "/") == "digits"


def test_a_modality_in_one_file_brings_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dots.py").write_text(
        "from toolkit.modality import Modality, Options\n"
        "class Dots(Modality):\n"
        "    name = 'dots'\n"
        "    default_recipe = {'train': {'steps': 9}}\n"
        "    Data = Model = Options\n"
    )
    found = choose("./dots.py", None, None, {"train.seed": 3}, {})
    assert (found.name, found.modality, found.train.steps) == ("dots", str(tmp_path / "dots.py"), 9)
    assert found.train.seed == 3


def test_set_pairs() -> None:
    assert pairs(["a.b=1", "c = x=y", "d="]) == {"a.b": "1", "c": "x=y", "d": ""}
    for wrong in ("a", "=1", " = 2"):
        with pytest.raises(UsageError, match="KEY=VALUE"):
            pairs([wrong])


def events(folder: Path) -> list[prepare.Event]:
    steps = [prepare.Progress(i, 40, 0.5 / i, 240.4, 40.0 - i, 1e-3) for i in range(1, 41)]
    return [
        prepare.Note("bf16"),
        *steps[:20],
        prepare.Saved(20, folder / "checkpoints" / "step-00000020"),
        prepare.Preview(folder / "previews" / "step-00000020.png", ["Enter GHOST.", "", "␛ a line"]),
        *steps[20:],
        prepare.Finished(folder, [folder / "final.png"]),
    ]


def test_a_run_in_a_file_is_a_few_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    ticks = iter(range(0, 400, 1))
    progress.show(events(Path("runs/x")), clock=lambda: float(next(ticks)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bf16"
    assert lines[1] == "step 1/40  loss 0.5000  240 examples/s  0:39 left"
    shown = [int(line.split()[1].split("/")[0]) for line in lines if line.startswith("step ")]
    assert shown[0] == 1 and shown[-1] == 40 and 3 <= len(shown) <= 8
    assert "saved step 20: runs/x/checkpoints/step-00000020" in lines
    shown = lines.index("preview: runs/x/previews/step-00000020.png")
    assert lines[shown - 3 : shown] == ["Enter GHOST.", "", "␛ a line"]
    assert lines[-2:] == ["picture: runs/x/final.png", "next: toolkit sample runs/x -n 64"]
    assert "\x1b" not in "".join(lines)


def test_the_held_out_loss_stands_in_the_progress_line(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (
        prepare.Progress(i, 2, 0.5, 10.0, 60.0, 1e-3, 0.41239, floor) for i, floor in ((1, None), (2, 0.2))
    )
    ticks = iter(range(0, 400, 100))
    progress.show([first, second], clock=lambda: float(next(ticks)))
    assert capsys.readouterr().out.splitlines() == [
        "step 1/2  loss 0.5000  held-out 0.4124  10 examples/s  1:00 left",
        "step 2/2  loss 0.5000  held-out 0.4124 (floor 0.2000)  10 examples/s  1:00 left",
    ]


def test_a_run_on_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=200, highlight=False, markup=False)
    monkeypatch.setattr(progress, "console", lambda: screen)
    progress.show(events(Path("runs/[x]")))
    text = out.getvalue()
    assert "40/40" in text and "examples/s" in text and "\x1b" in text
    assert "picture: runs/[x]/final.png" in text and "next: toolkit sample 'runs/[x]' -n 64" in text


def test_a_failing_run_is_not_swallowed_by_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> object:
        yield prepare.Note("so far")
        raise DataError("gone")

    screen = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(progress, "console", lambda: screen)
    with pytest.raises(DataError, match="gone"):
        progress.show(failing())  # type: ignore[arg-type]


def test_durations_and_single_lines() -> None:
    assert [duration(s) for s in (-1, 0.4, 75, 3599.6, 4000)] == ["0:00", "0:00", "1:15", "1:00:00", "1:06:40"]
    assert one_line("a\nb\tc\x07 é") == r"a b\tc\x07 é"


def test_samples_with_other_options_go_to_another_folder() -> None:
    assert folder_name({}, None, 0) == "seed-0"
    assert folder_name({"label": "a-b", "steps": 20}, 0.05, 1) == "label-a-b_steps-20_ema-0.05_seed-1"
    # what a name cannot hold is told apart all the same
    names = [
        folder_name({"infill": text}, None, seed) for seed in (0, 1) for text in ("a/b", "a b", "a" * 300, "a" * 301)
    ]
    names += [folder_name({"infill": "\u5b57" * count}, None, 0) for count in (90, 91)]
    assert len(set(names)) == len(names) and max(len(name.encode()) for name in names) < 200
    assert all("/" not in name and name == name.strip() for name in names)
