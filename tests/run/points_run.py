"""A run on points in the plane that takes a moment, for tests of what may happen to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.recipe import Recipe
from toolkit.run import prepare
from toolkit.run.train import TrainingRun
from toolkit.training.storage.manifest import COPIES, read_manifest

POINTS = str(ROOT / "tests" / "points.py")
TINY = {"train.steps": 20, "train.batch": 16, "train.warmup": 2, "train.previews": 0, "train.threads": 1}
TINY |= {"train.layout": "channels-first", "train.checkpoint_minutes": 1e3, "sample.steps": 2}


def quiet(text: str) -> None:
    pass


def recipe(**changes: Any) -> Recipe:
    """The recipe of points, small; changes: train__steps=3."""
    default = find(POINTS).default_recipe
    assert not isinstance(default, str)
    whole = recipes.from_mapping({**default, "modality": POINTS})
    return recipes.replace(whole, TINY | {key.replace("__", "."): value for key, value in changes.items()})


def plan(out: Path, **changes: Any) -> TrainingRun:
    return prepare.prepare(recipe(**changes), out, "cpu", quiet)


def finished(out: Path, **changes: Any) -> list[prepare.Event]:
    return list(plan(out, **changes).run())


def notes(events: list[prepare.Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, prepare.Note)]


def forget_copies(run: Path) -> None:
    """Make a run's checkpoints as they were before they held copies of recipe.toml and facts.json, or a version."""
    for folder in (run / "checkpoints").glob("step-*"):
        manifest = read_manifest(folder, int(folder.name[5:13]))
        files = {name: facts for name, facts in manifest.files.items() if name not in COPIES}
        for name in COPIES:
            (folder / name).unlink(missing_ok=True)
        before = manifest.model_copy(update={"files": files, "toolkit": ""})
        (folder / "manifest.json").write_bytes(before.encode())
