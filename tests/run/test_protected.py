"""recipe.toml and facts.json: any damage is seen, and the run is as it was."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.run.points_run import POINTS, finished, forget_copies, plan, quiet, recipe
from toolkit import recipe as recipes
from toolkit.errors import ToolkitError
from toolkit.run import layout
from toolkit.run.generator import load
from toolkit.run.protected import read_run, restore
from toolkit.training.storage.manifest import COPIES, read_manifest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints."""
    folder = tmp_path_factory.mktemp("protected") / "run"
    finished(folder, train__checkpoint_minutes=1e-9, train__steps=4)
    assert len(list((folder / "checkpoints").iterdir())) == 2
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.mark.parametrize("name", COPIES)
def test_every_checkpoint_holds_the_file_and_its_hash(run: Path, name: str) -> None:
    for folder in (run / "checkpoints").iterdir():
        manifest = read_manifest(folder, int(folder.name[5:]))
        assert (folder / name).read_bytes() == (run / name).read_bytes()
        assert manifest.files[name].size == (run / name).stat().st_size


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_two_hundred_damages_of_each_kind_are_seen_and_mended(copy: Path, name: str, kind: str) -> None:
    file, chance, seen = copy / name, random.Random(name + kind), 0
    good, before = file.read_bytes(), layout.read_run(copy)
    for _ in range(200):
        place = chance.randrange(len(good))
        flipped = bytes([good[place] ^ (1 << chance.randrange(8))])
        file.write_bytes(good[:place] if kind == "cut" else good[:place] + flipped + good[place + 1 :])
        said: list[str] = []
        assert read_run(copy, said.append) == before
        seen += len(said) == 1 and said[0].startswith(f"{file} is damaged") and "\n" not in said[0]
    assert seen == 200
    restore(copy)
    assert file.read_bytes() == good and read_run(copy, pytest.fail) == before


@pytest.mark.parametrize("name", COPIES)
def test_missing_a_link_and_a_folder_in_its_place_are_mended(copy: Path, name: str, tmp_path: Path) -> None:
    before = layout.read_run(copy)
    (copy / name).unlink()
    said: list[str] = []
    assert read_run(copy, said.append) == before and len(said) == 1
    (copy / name).symlink_to(tmp_path / "elsewhere")
    assert read_run(copy, said.append) == before and len(said) == 2
    assert not (tmp_path / "elsewhere").exists()
    generator = load(copy, modality=POINTS, notify=quiet)
    assert generator.sample(1, steps=1).x.shape == (1, 2)


def test_a_damaged_copy_is_not_believed_and_the_one_before_is_taken(copy: Path) -> None:
    before = layout.read_run(copy)
    newest = max((copy / "checkpoints").iterdir())
    (copy / "facts.json").write_text("{}")
    text = (newest / "facts.json").read_bytes()
    (newest / "facts.json").write_bytes(text.replace(b"upper", b"lover"))  # of the same size
    said: list[str] = []
    assert read_run(copy, said.append) == before and "step-00000003" in said[0]
    for folder in (copy / "checkpoints").iterdir():
        (folder / "facts.json").write_bytes(text.replace(b"upper", b"lover"))
    with pytest.raises(ToolkitError) as error:
        read_run(copy, quiet)
    assert "facts.json" in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_run_is_gone_on_with_and_put_right(copy: Path) -> None:
    (copy / "recipe.toml").write_bytes((copy / "recipe.toml").read_bytes().replace(b"lr = 0.003", b"lr = 0.007"))
    assert recipes.load(copy / "recipe.toml").train.lr == 0.007
    going = plan(copy, train__checkpoint_minutes=1e-9, train__steps=6)  # the same recipe but for its length
    list(going.run())
    assert recipes.load(copy / "recipe.toml").train.lr == 0.003
    assert recipes.load(copy / "recipe.toml").train.steps == 6
    assert read_run(copy, pytest.fail)[0].train.steps == 6


def test_what_may_change_in_a_run_is_no_damage(copy: Path) -> None:
    """Killed after its first step, before a checkpoint: recipe.toml is still that of the newest one."""
    running = plan(copy, train__steps=9, train__checkpoint_minutes=1e3).run()
    next(running)
    before = (copy / "recipe.toml").read_bytes()
    shutil.copytree(copy, copy.parent / "killed")
    assert read_run(copy.parent / "killed", pytest.fail)[0].train.steps == 4
    running.close()  # which saves
    assert (copy / "recipe.toml").read_bytes() != before
    assert read_run(copy, pytest.fail)[0].train.steps == 9
    os.replace(copy.parent / "killed" / "recipe.toml", copy / "recipe.toml")  # killed between checkpoint and recipe
    assert read_run(copy, pytest.fail)[0].train.steps == 4


def test_runs_of_before_are_read_as_they_are(copy: Path) -> None:
    forget_copies(copy)
    assert read_run(copy, pytest.fail)[0] == layout.read_run(copy)[0]
    (copy / "recipe.toml").write_text(recipes.dump_run(recipe(sample__steps=7)))
    assert read_run(copy, pytest.fail)[0].sample.steps == 7
    assert load(copy, modality=POINTS, notify=pytest.fail).step == 4
    assert not restore(copy)
