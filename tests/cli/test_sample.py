"""`toolkit sample` with what a recipe says otherwise: guidance, its interval, clipping, grids, labels, raw weights."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_python
from toolkit.cli import main
from toolkit.cli.sample import between
from toolkit.errors import UsageError

POINTS = str(ROOT / "tests" / "points.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = run_python("-m", "toolkit", "train", "--modality", POINTS, "--steps", "30", "--set", "train.previews=0",
                      "--set", "sample.steps=3", "--out", "run", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


def points(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.csv")}


def sample(run: Path, *options: str) -> int:
    """The exit code of `toolkit sample` in this process."""
    with pytest.raises(SystemExit) as left:
        main(["sample", str(run), "--modality", POINTS, *options])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_each_option_is_heeded(trained: Path, tmp_path: Path) -> None:
    calls = itertools.count()

    def sampled(*options: str) -> dict[str, str]:
        out = tmp_path / str(next(calls))
        assert sample(trained, "-n", "4", "--out", str(out), *options) == 0
        return points(out)

    plain, guided = sampled(), sampled("--guidance", "3")
    assert plain.keys() == guided.keys() == {"0-upper.csv", "1-lower.csv", "2-upper.csv", "3-lower.csv"}
    assert all(guided[name] != plain[name] for name in plain)
    assert sampled("--guidance", "3", "--interval=-2,0") not in (plain, guided)
    assert sampled("--guidance", "3", "--interval", "50,60") == plain
    assert sampled("--guidance", "3", "--interval", "everywhere") == guided
    assert sampled("--guidance", "3", "--rescale", "1") != guided
    assert sampled("--no-clip") == plain  # these data have no bounds
    assert sampled("--grid", "karras") != plain
    assert sampled("--grid", "{name='uniform', start=0.9}") != sampled("--grid", "uniform") == plain
    assert sampled("--sampler", "{name='heun', coordinates='sigma'}") != sampled("--sampler", "heun") == plain
    assert sampled("--ema", "0") != plain


def test_several_labels_in_turn(trained: Path, tmp_path: Path) -> None:
    assert sample(trained, "-n", "3", "--label", "lower,none", "--out", str(tmp_path / "out")) == 0
    assert points(tmp_path / "out").keys() == {"0-lower.csv", "1-none.csv", "2-lower.csv"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--interval", "1"], "--interval takes LOW,HIGH"),
        (["--interval", "3,1"], "interval: goes from a low to a high log-SNR, not from 3 to 1"),
        (["--grid", "nosuch"], "unknown grid 'nosuch'"),
        (["--rescale", "2"], "--rescale"),
        (["--label", "upper,left"], "unknown label 'left'"),
        (["--ema", "0.3"], "0 is the weights themselves"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    trained: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(trained, "-n", "2", "--out", str(tmp_path / "out"), *options) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_intervals_as_they_are_typed() -> None:
    assert between("-2,3.5") == (-2.0, 3.5) and between("everywhere") == (-math.inf, math.inf)
    for wrong in ("", "1", "1,2,3", "low,high"):
        with pytest.raises(UsageError, match="--interval takes LOW,HIGH"):
            between(wrong)
