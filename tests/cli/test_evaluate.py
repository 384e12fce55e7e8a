"""`toolkit evaluate` as a user types it; only the training of judges is cut short. Real processes are slow: a few."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from modalities.audio.evaluate.judge import SoundJudge
from modalities.image.evaluate.judge import PictureJudge
from tests.conftest import ROOT, run_python
from toolkit.cli import main
from toolkit.cli.evaluate import split
from toolkit.discovery import find
from toolkit.errors import UsageError
from toolkit.evaluation.evaluate import evaluator_of
from toolkit.evaluation.table import Table
from toolkit.modality import Options

POINTS = str(ROOT / "tests" / "points.py")
TINY = ["--set", "model.preset=tiny", "--set", "model.width=16", "--set", "train.previews=0", "--set", "sample.steps=2"]
QUICK = """
import sys
from dataclasses import replace
from modalities.audio.evaluate.judge import SoundJudge
from modalities.image.evaluate.judge import PictureJudge
from toolkit.cli import main
for judge in (PictureJudge, SoundJudge):
    judge.course = replace(judge.course, steps=25, batch=32)
main(sys.argv[1:])
"""


Evaluate = Callable[..., "subprocess.CompletedProcess[str]"]


def process(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return run_python("-c", QUICK, "evaluate", *arguments, cwd=cwd)


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """In this process, which has torch already."""
    for judge in (PictureJudge, SoundJudge):
        monkeypatch.setattr(judge, "course", replace(judge.course, steps=25, batch=32))

    def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["evaluate", *arguments])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(left.value.code or 0), said.out, said.err)

    return run


def failed(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    return done.stderr


def pictures(folder: Path, n: int, size: int = 12, seed: int = 0) -> Path:
    """Bright and dark noisy pictures, in a folder each."""
    draw = np.random.default_rng(seed)
    for label, level in (("bright", 180), ("dark", 60)):
        (folder / label).mkdir(parents=True)
        for i in range(n):
            pixels = np.clip(draw.normal(level + draw.normal(0, 20), 15, (size, size)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures in real/ and a run in runs/real."""
    folder = tmp_path_factory.mktemp("evaluate")
    pictures(folder / "real", 40)
    arguments = ["train", "--modality", "image", "--data", "./real", "--steps", "2", "--batch", "4", *TINY]
    done = run_python("-m", "toolkit.cli", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run(place: Path) -> None:
    done = process(place, "runs/real", "-n", "24", "--seed", "3")
    assert done.returncode == 0, done.stderr
    home = place / "runs" / "real" / "evaluation" / "n-24_seed-3"
    assert sorted(path.name for path in home.iterdir()) == ["metrics.json", "nearest.png", "samples.png"]
    table = Table.from_json((home / "metrics.json").read_text("utf-8"))
    assert {"subject": "runs/real", "samples": 24, "seed": 3, "step": 2, "steps": 2}.items() <= table.about.items()
    assert table["KID"].title.startswith("KID-real-") and table["KID"].n == 24
    assert table["KID"].title in done.stdout and "real" in done.stdout and "noise" in done.stdout
    # two steps of training make noise: nothing like the data, and the floor says so
    kid = table["KID"]
    assert kid.value is not None and kid.floor is not None and kid.ceiling is not None
    assert kid.value > 10 * abs(kid.floor)
    assert table["FD"].value is None and "at least 65" in table["FD"].note and "FD left out" in done.stdout
    assert {"agreement/bright", "agreement/dark", "recall", "copies"} <= {figure.name for figure in table.figures}
    assert Image.open(home / "nearest.png").width > Image.open(home / "samples.png").width / 2


def test_two_runs_as_json(place: Path, evaluate: Evaluate) -> None:
    done = evaluate(place, "runs/real", "runs/real", "-n", "16", "--steps", "1", "--json", "--likelihood")
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert any(figure["unit"] == "bits/dim" and figure["value"] > 1 for figure in tables[0]["figures"])
    assert len(tables) == 2 and tables[0]["figures"] == tables[1]["figures"]
    written = place / "runs" / "real" / "evaluation" / "n-16_steps-1_seed-0" / "metrics.json"
    assert json.loads(written.read_text("utf-8"))["figures"] == tables[0]["figures"]


def test_likelihood_alone(place: Path, evaluate: Evaluate) -> None:
    done = evaluate(place, "runs/real", "-n", "0", "--likelihood")
    assert done.returncode == 0, done.stderr
    home = place / "runs" / "real" / "evaluation" / "n-0_seed-0"
    assert [path.name for path in home.iterdir()] == ["metrics.json"] and "KID" not in done.stdout
    bits = Table.from_json((home / "metrics.json").read_text("utf-8"))["bits/dim"]
    # two steps of training: little better than telling each pixel by itself
    assert bits.value is not None and bits.low is not None and 1 < bits.low < 16 and bits.value > bits.low


def test_another_step_or_width_is_said_and_kept_apart(place: Path, evaluate: Evaluate) -> None:
    """Results at one step, of the run after it went on, and of a width that training did not keep."""

    def train(steps: int) -> None:
        common = ["--data", "./real", "--batch", "4", "--set", "train.warmup=0", "--out", "runs/longer", *TINY]
        done = run_python(
            "-m", "toolkit.cli", "train", "--modality", "image", *common, "--steps", str(steps), cwd=place
        )
        assert done.returncode == 0, done.stderr

    def figures(*options: str) -> list[object]:
        done = evaluate(place, "runs/longer", "-n", "16", "--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["tables"][0]["figures"]  # type: ignore[no-any-return]

    def about(name: str) -> tuple[object, object, object]:
        table = Table.from_json((home / name / "metrics.json").read_text("utf-8"))
        return table.about["step"], table.about["ema"], table["KID"].value

    home = place / "runs" / "longer" / "evaluation"
    train(10)
    first = figures()
    kid = about("n-16_seed-0")[2]
    assert about("n-16_seed-0")[:2] == (10, 0.1)
    train(20)
    assert figures("--step", "10") == first and about("n-16_seed-0_step-10") == (10, 0.1, kid)
    assert about("n-16_seed-0")[0] == 10  # until its end is evaluated
    last = figures()
    assert last != first and about("n-16_seed-0")[:2] == (20, 0.1)
    assert about("n-16_seed-0_step-10-2") == (10, 0.1, kid)
    assert figures("--step", "20") == last and about("n-16_seed-0")[0] == 20
    between, kept = figures("--ema", "0.07"), figures("--ema", "0.05")
    assert about("n-16_ema-0.07_seed-0")[:2] == (20, 0.07) and between not in (kept, last)
    assert len(list(home.iterdir())) == 5
    assert "no checkpoint of step 15" in failed(evaluate(place, "runs/longer", "--step", "15"), 2)
    assert "--step takes the number of a step, or best" in failed(evaluate(place, "runs/longer", "--step", "x"), 2)


def test_folders_of_anyone(place: Path, evaluate: Evaluate) -> None:
    theirs = pictures(place / "theirs", 12, seed=1)
    Image.new("L", (300, 200)).save(theirs / "grid.png")
    done = evaluate(place, "--samples", "theirs", "--reference", "real")
    assert done.returncode == 0, done.stderr
    table = Table.from_json((place / "evaluation" / "theirs" / "metrics.json").read_text("utf-8"))
    assert table.about["samples"] == 24  # without the overview
    agreement, precision = table["agreement"], table["precision"]
    assert agreement.value == 1 and precision.value is not None and precision.value > 0.8


def test_folders_without_labels_have_a_judge_too(place: Path, evaluate: Evaluate) -> None:
    done = evaluate(place, "--samples", "real/bright", "--reference", "real/dark", "--out", "plain")
    assert done.returncode == 0, done.stderr
    table = Table.from_json((place / "plain" / "metrics.json").read_text("utf-8"))
    assert "invented" in table["judge accuracy"].note and "IS" in table and table["IS"].value is None
    precision = table["precision"]
    assert precision.high is not None and precision.floor is not None and precision.high < precision.floor


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "which run?"),
        (["nowhere"], 2, "nowhere does not exist"),
        (["--samples", "nowhere", "--reference", "real"], 66, "no such folder or file: nowhere"),
        (["--samples", "real"], 2, "--reference"),
        (["runs/real", "--samples", "real", "--reference", "real"], 2, "without runs"),
        (["runs/real", "runs/real", "--out", "x"], 2, "--out is for one run"),
        (["runs/real", "-n", "0"], 2, "add --likelihood or --convergence"),
        (["runs/real", "-n", "0", "--likelihood", "--cas"], 2, "-n 0 makes no samples, which --cas"),
        (["runs/real", "--stps", "3"], 2, "did you mean '--steps'?"),
        (["--samples", "empty", "--reference", "real"], 66, "no file of a known kind in empty"),
        (["--samples", "mixed", "--reference", "real"], 2, "say which: --modality"),
        (["--samples", "broken", "--reference", "real"], 66, "no readable picture"),
        (["--samples", "large", "--reference", "real"], 66, "bring both to one: --size 12"),
        (["--samples", "real", "--reference", "real", "--steps", "3"], 2, "--steps is for runs"),
        (["--samples", "real", "--reference", "few"], 66, "4 real examples are too few"),
        (["--samples", "real", "--reference", "real", "--features", "w:resnet18"], 2, "FILE.safetensors:MODEL"),
        (["--samples", "real", "--reference", "real", "--features", "w.safetensors:resnet81"], 2, "did you mean"),
        (["--samples", "real", "--reference", "real", "--features", "w.safetensors:resnet18"], 66, "no such file"),
    ],
)
def test_mistakes_are_one_line(place: Path, evaluate: Evaluate, arguments: list[str], code: int, said: str) -> None:
    make = {
        "empty": lambda folder: folder.mkdir(),
        "mixed": lambda folder: (pictures(folder, 1), [(folder / f"{i}.wav").write_bytes(b"x" * 500) for i in "ab"]),
        "broken": lambda folder: (folder.mkdir(), (folder / "a.png").write_bytes(b"no picture")),
        "large": lambda folder: pictures(folder, 10, size=20),
        "few": lambda folder: pictures(folder, 2),
    }
    for name in set(arguments) & set(make):
        if not (place / name).exists():
            make[name](place / name)
    assert said in failed(evaluate(place, *arguments), code)


def test_a_mistake_in_a_process_of_its_own(place: Path) -> None:
    assert "take at least 16" in failed(process(place, "runs/real", "-n", "3"), 66)


def test_runs_and_options_of_a_modality() -> None:
    assert split(["a", "--size", "32", "b", "--rate=8000", "c", "--x"]) == (
        ["a", "b", "c"], ["--size", "32", "--rate=8000", "--x"],
    )  # fmt: skip


def test_a_modality_that_cannot() -> None:
    with pytest.raises(UsageError, match="'points' cannot be evaluated: it has no evaluator"):
        evaluator_of(find(POINTS)(Options(), Options()))


def clicks(folder: Path, n: int, rate: int, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(n):
        decay = np.exp(-np.arange(rate // 8) / (draw.uniform(0.01, 0.03) * rate))
        soundfile.write(folder / f"{i}.wav", 0.5 * draw.standard_normal(rate // 8) * decay, rate)
    return folder


def test_sounds(tmp_path: Path, evaluate: Evaluate) -> None:
    for name, rate, seed in (("real", 8000, 0), ("made", 8000, 1), ("other", 16000, 2)):
        clicks(tmp_path / name, 40, rate, seed)
    done = evaluate(tmp_path, "--samples", "other", "--reference", "real")
    assert "--rate RATE" in failed(done, 66)
    done = evaluate(tmp_path, "--samples", "made", "--reference", "real")
    assert done.returncode == 0, done.stderr
    table = Table.from_json((tmp_path / "evaluation" / "made" / "metrics.json").read_text("utf-8"))
    kad, nearest = table["KAD"], table["nearest"]
    assert kad.value is not None and kad.ceiling is not None and kad.value < kad.ceiling / 3
    assert nearest.value is not None and 0.5 < nearest.value < 2 and table["copies"].value == 0
