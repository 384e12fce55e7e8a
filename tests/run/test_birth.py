"""A run that was killed in its first milliseconds is taken up again by the same command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.run.points_run import finished, plan, recipe
from toolkit import recipe as recipes
from toolkit.errors import UsageError
from toolkit.run import prepare
from toolkit.run.layout import newborn
from toolkit.training.storage import files


def test_killed_after_every_file_operation_of_its_birth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is copied after each operation until the first step, as a kill would leave it; each copy trains."""
    out, states = tmp_path / "run", []
    running = plan(out, train__steps=2).run()
    names = ("open", "write", "replace", "mkdir")
    with monkeypatch.context() as patch:
        for name in names:

            def after(*args: object, real: object = getattr(os, name), **options: object) -> object:
                result = real(*args, **options)  # type: ignore[operator]
                listing = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
                states.append((listing, [path.relative_to(out) for path in out.rglob("*") if path.is_dir()]))
                return result

            patch.setattr(os, name, after)
        next(running)
    running.close()
    different = {repr(sorted((str(k), v) for k, v in s[0].items() if k.name != "lock")): s for s in states}
    assert len(different) > 8  # staged and whole files of recipe, facts, data and machine
    begun = 0
    for i, (listing, folders) in enumerate(different.values()):
        copy = tmp_path / str(i)
        copy.mkdir()
        for folder in folders:
            (copy / folder).mkdir()
        for name, data in listing.items():
            (copy / name).write_bytes(data)
        begun += newborn(copy)
        events = finished(copy, train__steps=2)
        assert isinstance(events[-1], prepare.Finished)
        assert not [name for name in os.listdir(copy) if files.is_leftover(name)]
    assert begun > 3


@pytest.mark.parametrize("left", ["recipe.toml", "facts.json", ".recipe.toml.0.tmp", "checkpoints", "lock"])
def test_what_a_birth_leaves_is_no_obstacle(tmp_path: Path, left: str) -> None:
    finished(tmp_path / "whole", train__steps=1)
    out = tmp_path / "out"
    out.mkdir()
    if left.startswith(".") or left == "lock":
        (out / left).touch()
    elif left == "checkpoints":
        (out / left).mkdir()
    else:
        shutil.copyfile(tmp_path / "whole" / left, out / left)
    assert newborn(out)
    assert isinstance(finished(out, train__steps=1)[-1], prepare.Finished)


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    finished(tmp_path / "whole", train__steps=1)
    for name, text in {
        "recipe.toml": recipes.dump(recipe()), "facts.json": "{}", "notes.txt": "mine", ".hidden": "", "a.tmp": "",
    }.items():  # fmt: skip
        out = tmp_path / name.strip(".")
        out.mkdir()
        (out / name).write_text(text)
        assert not newborn(out), name
        with pytest.raises(UsageError, match=r"is no run folder"):
            plan(out, train__steps=1)
        assert (out / name).read_text() == text and os.listdir(out) == [name]
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(tmp_path / "whole" / "recipe.toml", other / "recipe.toml")
    with pytest.raises(UsageError, match=r"another recipe \(differs in train\.lr\)"):
        plan(other, train__steps=1, train__lr=0.5)
