"""Cheap checks come before anything that takes long: data read, a network trained, samples made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import one_error
from tests.conftest import ROOT, Command
from tests.report.runs import make_run
from toolkit import paths, recipe
from toolkit.errors import StorageError, UsageError
from toolkit.recipe import build
from toolkit.run import prepare

# A modality whose data must not be read: each of its calls leaves a file behind.
LAZY = """
from pathlib import Path
from toolkit.modality import Modality

class Lazy(Modality):
    name = "lazy"
    default_recipe = {"train": {"steps": 5}}

    def load(self, cache, notify):
        Path("read").touch()
        raise SystemExit(3)

    network = write = preview = None
"""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "cuda:99"], 2, "device 'cuda:99'"),
        (["--set", "sample.sampler=heunn"], 2, "unknown sampler 'heunn'; did you mean 'heun'?"),
        (["--set", "sample.sampler.eeta=1"], 2, "eeta"),
        (["--set", "sample.grid=nosuch"], 2, "unknown grid 'nosuch'"),
        (["--set", "sample.grid=leading"], 2, "this grid needs a discrete chain"),
        (["--set", "sample.grid=learned"], 2, 'diffusion.time = "adaptive"'),
        (["--set", "diffusion.schedule=cosinee"], 2, "unknown schedule 'cosinee'"),
        (["--set", "diffusion.time=nosuch"], 2, "unknown time distribution 'nosuch'"),
        (["--set", "diffusion.weighting=nosuch"], 2, "unknown weighting 'nosuch'"),
        (["--set", "train.steps="], 2, "how long?"),
        (["--out", "lazy.py"], 74, "lazy.py is no folder"),
        (["--out", "lazy.py/run"], 74, "lazy.py is no folder"),
    ],
)
def test_training_reads_no_data_for_what_cannot_be(
    arguments: list[str], code: int, message: str, toolkit_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    assert message in one_error(toolkit_command("train", "--modality", "lazy.py", *arguments), code)
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["lazy.py"]


def test_it_is_the_data_that_is_read_next(toolkit_command: Command, tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    assert toolkit_command("train", "--modality", "lazy.py").returncode == 3
    assert (tmp_path / "read").is_file()


@pytest.mark.parametrize("name", recipe.list_recipes())
def test_every_shipped_recipe_passes(name: str) -> None:
    build.check(recipe.load(name))


def test_an_error_that_is_learned_while_training_is_no_mistake() -> None:
    plain = recipe.load("image/digits")
    build.check(recipe.override(plain, {"sample.sampler": '{name = "ddim-eta", error = "learned"}'}))
    build.check(recipe.override(plain, {"diffusion.time": "adaptive", "sample.grid": "learned"}))
    with pytest.raises(UsageError, match="error"):
        build.check(recipe.override(plain, {"sample.sampler": '{name = "ddim-eta", error = "lerned"}'}))


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for wrong in ("file/run", "nowhere/run"):
        with pytest.raises(StorageError, match="is no folder"):
            paths.check_writable(tmp_path / wrong)
    monkeypatch.setattr(paths.os, "access", lambda path, mode: False)  # as for a folder of somebody else
    with pytest.raises(StorageError, match="may not be written"):
        prepare.prepare(recipe.load("image/digits"), tmp_path / "run", notify=lambda text: None)


def test_results_and_reports_and_reproductions(toolkit_command: Command, tmp_path: Path) -> None:
    both = toolkit_command("results", "--write", "README.md", "--section", "runs/none")
    assert "--section prints" in one_error(both, 2)
    missing = toolkit_command("results", "--write", "nosuch.md")
    assert "cannot read nosuch.md" in one_error(missing, 66)
    run = make_run(tmp_path / "run")
    (run / "evaluation").mkdir()
    (run / "evaluation" / "metrics.json").write_text(json.dumps({}))
    assert "--license takes an identifier" in one_error(toolkit_command("report", "run", "--license", "a b"), 2)
    assert not (run / "report.html").exists()
    device = toolkit_command("reproduce", "--smoke", "--all", "--device", "cuda:99")
    assert "device 'cuda:99'" in one_error(device, 2) and not (tmp_path / "runs").exists()
    points = str(ROOT / "tests" / "points.py")
    (tmp_path / "x.toml").write_text(f'modality = "{points}"\n[train]\nsteps = 9\n')
    refused = toolkit_command("reproduce", "x.toml", "--modality", points)
    assert "no figures to compare with" in one_error(refused, 2) and not (tmp_path / "runs").exists()
