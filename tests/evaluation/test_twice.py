"""A recipe trained twice, by two processes, gives the same weights to the last bit on one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHILD_PATH, ROOT

FEW = 12
"""Steps of a short training; the slow tests train the whole smoke."""
CODE = """
import hashlib, json, sys
from pathlib import Path
from toolkit import recipe as recipes
from toolkit.evaluation.reproduce import finish, target_of
from toolkit.run.prepare import prepare
name, few = sys.argv[1], int(sys.argv[2])
target, _ = target_of(recipes.load(name), smoke=True)
if few:
    target = target.model_copy(update={"train": target.train.model_copy(update={"steps": few, "warmup": 2})})
finish(prepare(target, Path("run"), "cpu", lambda line: None, 1))
files = sorted(Path("run/checkpoints").glob("step-*/*.safetensors"))
print(json.dumps({f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}))
"""
SHIPPED = sorted(
    path.relative_to(ROOT / "recipes").with_suffix("").as_posix() for path in (ROOT / "recipes").glob("*/*.toml")
)


def hashes(name: str, few: int, folder: Path, seed: str) -> dict[str, str]:
    """The hashes of the files of weights, trained in an empty folder with an empty cache."""
    folder.mkdir()
    own = {"PYTHONPATH": CHILD_PATH, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "TOOLKIT_CACHE": str(folder / "c")}
    command = [sys.executable, "-c", CODE, name, str(few)]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **own}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(name: str, few: int, folder: Path) -> None:
    first, second = (hashes(name, few, folder / seed, seed) for seed in ("1", "2"))
    assert first == second and any(file.endswith("/model.safetensors") for file in first)
    assert len(set(first.values())) == len(first)  # model, mean and optimizer are three things


@pytest.mark.parametrize("name", ["image/digits", "audio/drums", "text/shakespeare"])
def test_a_short_training_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    compare(name, FEW, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_the_smoke_of_every_recipe_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    if name == "text/abc":
        pytest.importorskip("music21")
    compare(name, 0, tmp_path)
