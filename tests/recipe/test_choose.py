"""A recipe from the arguments of `toolkit.train`: the names of the command line, and code only where it was named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from toolkit import recipe
from toolkit.cli import train as command
from toolkit.diffusion import Cosine
from toolkit.errors import UsageError
from toolkit.evaluation.reproduce import target_of
from toolkit.recipe import objects, trust
from toolkit.recipe.choose import choose, with_objects

POINTS = str(ROOT / "tests" / "points.py")
EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nfrom toolkit.modality import Modality\n"
EVIL += "class Evil(Modality):\n    name = 'evil'\n    default_recipe = {}\n"


def test_python_and_the_command_line_mean_the_same_by_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photos = str(tmp_path / "photos")
    typed = command.choose(
        "image", None, photos, {"train.batch": 32, "train.seed": 1, "train.minutes": None, "train.steps": 300},
        {"train.lr": "3e-4"}, ["--size", "64", "--preset", "tiny"],
    )  # fmt: skip
    said: dict[str, Any] = {"data": tmp_path / "photos", "steps": 300, "batch": 32, "seed": 1, "size": 64}
    for settings in ({"settings": {"train.lr": 3e-4}}, {"train__lr": 3e-4}):
        assert choose(None, "image", preset="tiny", **said, **settings) == typed
    assert choose("image", preset="tiny", settings={"train.lr": 3e-4}, **said) == typed  # a modality stands for its own
    text = choose("text/names", tokens="byte", length=32, minutes=1.5)
    assert (text.data["tokens"], text.data["length"], text.train.minutes, text.train.steps) == ("byte", 32, 1.5, None)


def test_what_is_not_said_is_guessed_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.txt").write_text("la la")
    found = choose(data=tmp_path / "songs", notify=said.append)
    assert (found.modality, found.name, found.data["source"]) == ("text", "folder", str(tmp_path / "songs"))
    assert len(said) == 1 and "--modality text" in said[0]
    assert choose(str(tmp_path / "songs"), notify=said.append) == found and len(said) == 2
    assert choose("digits", notify=said.append) == choose("image", notify=said.append) == recipe.load("image/digits")
    assert choose("image/digits", notify=said.append) == recipe.load("image/digits") and len(said) == 2
    with pytest.raises(UsageError, match="recipe or folder 'image/digts'; did you mean 'image/digits'"):
        choose("image/digts")


def test_none_says_nothing_and_settings_win() -> None:
    digits = recipe.load("image/digits")
    assert choose("image/digits", size=None, batch=None, steps=None, weighting=None) == digits
    assert choose(digits) == digits
    assert choose(digits, batch=16, settings={"train.batch": 8}).train.batch == 8
    assert choose(digits, settings={"diffusion.time": "uniform"}) == choose(digits, time="uniform") != digits
    assert choose(choose(digits, time="uniform"), settings={"diffusion.time": None}).diffusion.time == "logit-normal"


def test_objects_are_taken_in_settings_too() -> None:
    class Steep(Cosine):
        """A schedule of the user's."""

    steep = Steep()
    for given in ({"schedule": steep}, {"settings": {"diffusion.schedule": steep}}, {"diffusion__schedule": steep}):
        assert choose("image/digits", **given).diffusion.schedule is steep  # type: ignore[comparison-overlap]
    assert choose("image/digits", settings={"diffusion.schedule": Cosine()}).diffusion.schedule == "cosine"


def test_numbers_of_numpy_and_paths_are_plain_in_the_recipe(tmp_path: Path) -> None:
    found = choose("image/digits", size=np.int64(32), batch=torch.tensor(16), settings={"train.lr": np.float32(0.5)})
    assert (found.data["size"], found.train.batch, found.train.lr) == (32, 16, 0.5)
    assert recipe.load(_written(tmp_path / "r.toml", recipe.dump(found))) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stps": 3}, "unknown option 'stps'; did you mean 'steps'?"),
        ({"sise": 64}, "unknown option 'sise'; did you mean 'size'?"),
        ({"weigthing": "none"}, "unknown option 'weigthing'; did you mean 'weighting'?"),
        ({"rate": 8000}, "unknown option 'rate'"),
        ({"source": "x"}, "unknown option 'source'"),
        ({"train__lrr": 1.0}, "unknown recipe key 'train.lrr'; did you mean 'train.lr'?"),
        ({"settings": {"train.lr": "fast"}}, "train.lr: "),
        ({"steps": 3, "minutes": 1}, "--minutes and --steps both fix the length"),
        ({"steps": 0}, "train.steps: "),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose("image/digits", **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_named() -> None:
    with pytest.raises(UsageError, match="say what to train"):
        choose(steps=3)
    with pytest.raises(UsageError, match="recipe 'folder' needs your data"):
        choose("image/folder")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_runs_no_code_that_the_user_has_not_named(tmp_path: Path) -> None:
    evil = _written(tmp_path / "evil.py", EVIL)
    file = _written(tmp_path / "strange.toml", f'modality = "{evil}"\n[train]\nsteps = 1\n')
    said = rf"strange.toml runs code from '{evil}'; if you trust that, name it: --modality {evil}"
    loaded = recipe.load(file)
    for strange in (str(file), file, loaded, recipe.replace(loaded, {"train.steps": 2}), loaded.model_copy()):
        with pytest.raises(UsageError, match=said):
            choose(strange)
        assert not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match=r"this recipe is for modality '.*evil.py', not 'image'"):
        choose(file, modality="image")
    assert not (tmp_path / "ran").exists() and not trust.may_run(loaded)
    for strange in (file, loaded):
        assert choose(strange, modality=str(evil)).modality == str(evil)
    assert (tmp_path / "ran").exists()


def test_what_python_made_is_the_users_own() -> None:
    mine = recipe.from_mapping({"name": "mine", "modality": POINTS, "train": {"steps": 1}})
    assert trust.may_run(mine) and choose(mine, steps=2).train.steps == 2
    assert choose(POINTS).modality == POINTS and choose(modality=POINTS).name == "points"


class Mine(nn.Identity):
    """Whatever the user's object is."""


@pytest.mark.parametrize("name", objects.KEYS)
def test_figures_of_a_recipe_are_none_of_one_with_objects(name: str, tmp_path: Path) -> None:
    digits = recipe.load("image/digits")
    assert digits.expected.figures and digits.smoke.figures
    for values in ({"train.seed": 7}, {"diffusion.weighting": "min-snr"}):
        assert recipe.replace(digits, values).expected == digits.expected
    mine = with_objects(digits, {name: Mine})
    assert not mine.expected.figures and not mine.smoke.figures
    text = recipe.dump_run(mine)
    assert "[expected" not in text and "[smoke" not in text and 'name = "object"' in text
    with pytest.raises(UsageError, match="has no figures to compare with"):
        target_of(mine)
    # a run of before, whose file has both
    file = tmp_path / "recipe.toml"
    file.write_text(text + "\n" + recipe.tomli_w.dumps({"expected": digits.expected.model_dump(exclude_none=True)}))
    assert not recipe.load(file).expected.figures
