"""`toolkit compare`, and a step or a width in `toolkit sample`, as a user types them, in real processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_run import POINTS, start
from tests.conftest import Command
from toolkit.cli.compare import name_of, pair
from toolkit.errors import UsageError

FAST = ["--set", "train.previews=0", "--set", "sample.steps=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of points."""
    folder = tmp_path_factory.mktemp("trained")
    for steps in ("60", "120"):
        running = start(folder, "train", "--modality", POINTS, "--steps", steps, "--out", f"runs/p{steps}", *FAST)
        out, err = running.communicate(timeout=200)
        assert running.returncode == 0, err
        assert "held-out 1." in out and "(floor " in out and "\nheld-out loss 1." in out
    return folder


def test_two_runs_side_by_side(trained: Path, toolkit_command: Command, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    done = toolkit_command("compare", "runs/p60", "runs/p120", "--modality", POINTS, "-n", "300")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("runs/p120 is better: its loss is ")
    rows = [line.split() for line in lines if " to " in line and line.strip()[0].isdigit()]
    assert len(rows) == 8 and float(rows[0][0]) < float(rows[7][2])
    again = toolkit_command("compare", "runs/p60", "runs/p120", "--modality", POINTS, "-n", "300", "--json")
    table = json.loads(again.stdout)
    assert table["better"] == "b" and table["sentence"] == lines[-1] and table["n"] == 300 and table["high"] < 0
    assert len(table["levels"]["bins"]) == 8
    same = toolkit_command("compare", "runs/p60", "runs/p60", "--modality", POINTS, "-n", "20")
    assert same.stdout.splitlines()[-1] == "no difference: equal on all 20 examples, bit for bit"


def test_two_averages_and_two_steps_of_one_run(trained: Path, toolkit_command: Command) -> None:
    run, options = str(trained / "runs" / "p120"), ("--modality", POINTS, "-n", "50", "--json")
    widths = toolkit_command("compare", run, run, "--ema", "0.05,0.07", *options)
    assert widths.returncode == 0, widths.stderr
    table = json.loads(widths.stdout)
    assert (table["a"], table["b"]) == (f"{run}, EMA 0.05", f"{run}, EMA 0.07") and table["difference"] != 0
    best = json.loads(toolkit_command("compare", run, run, "--step", "120,best", *options).stdout)
    assert best["difference"] == 0 and best["b"] == f"{run}, step best"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ema", "0.02"], "; widths from 0.030 to 0.1 can be made"),
        (["--ema", "wide"], "--ema takes the width of an average"),
        (["--ema", "0.05,0.1,0.2"], "--ema takes one value for both runs or two"),
        (["--step", "7"], "no checkpoint of step 7"),
        (["--step", "last"], "--step takes the number of a step, or best, not 'last'"),
        (["-n", "3"], "greater than or equal to 4"),
    ],
)
def test_what_is_wrong_is_one_line(trained: Path, toolkit_command: Command, arguments: list[str], words: str) -> None:
    run = str(trained / "runs" / "p120")
    done = toolkit_command("compare", run, run, "--modality", POINTS, *arguments)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_strangers_modality_is_not_run(trained: Path, toolkit_command: Command) -> None:
    done = toolkit_command("compare", *[str(trained / "runs" / "p60")] * 2)
    assert done.returncode == 2 and "name it: --modality" in done.stderr


def test_samples_of_a_step_and_of_a_width_between(trained: Path, toolkit_command: Command) -> None:
    run = trained / "runs" / "p120"
    for arguments, folder in (
        (["--step", "best"], "step-best_seed-0"),
        (["--step", "120"], "step-120_seed-0"),
        (["--ema", "0.07"], "ema-0.07_seed-0"),
        ([], "seed-0"),
    ):
        done = toolkit_command("sample", str(run), "-n", "3", "--modality", POINTS, *arguments)
        assert done.returncode == 0, done.stderr
        assert len(list((run / "samples" / folder).glob("*.csv"))) == 3
    files = [next(iter((run / "samples" / name).glob("0-*.csv"))).read_text() for name in ("seed-0", "step-120_seed-0")]
    assert files[0] == files[1] != next(iter((run / "samples" / "ema-0.07_seed-0").glob("0-*.csv"))).read_text()


def test_pairs_of_values_and_names() -> None:
    assert pair(None, "--x") == (None, None) and pair("0.05", "--x") == ("0.05", "0.05")
    assert pair("0.05, 0.1", "--x") == ("0.05", "0.1")
    for wrong in ("", "1,", "1,2,3"):
        with pytest.raises(UsageError, match="--x takes one value"):
            pair(wrong, "--x")
    assert name_of(Path("runs/a"), None, None) == "runs/a"
    assert name_of(Path("runs/a"), "0.05", "best") == "runs/a, EMA 0.05, step best"
