"""A class below a modality: its own code is what is trained and recorded, with the recipes of the one above."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command
from toolkit import recipe
from toolkit.cli.train import choose
from toolkit.errors import UsageError
from toolkit.recipe.inherit import family

MINE = """
from torch import nn
from modalities.image import Image

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, c_noise, cond):
        return self.conv(x)

class Mine(Image):
    def network(self):
        return Small()
"""
DOTS = "from toolkit.modality import Modality\nclass Dots(Modality):\n    name = 'dots'\n"


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")


def test_the_modalities_that_a_class_derives_from(mine: str, tmp_path: Path) -> None:
    assert family("image") == ["image"]
    assert family(mine) == [mine, "image"]
    (tmp_path / "dots.py").write_text(DOTS)
    assert family(str(tmp_path / "dots.py")) == [str(tmp_path / "dots.py")]


def test_the_default_recipe_that_a_class_inherits_is_its_own(mine: str) -> None:
    digits = recipe.load("image/digits")
    assert digits.expected.figures and digits.smoke.figures
    chosen = choose(mine, None, None, {}, {})
    assert chosen.modality == mine and recipe.difference(digits, chosen) == ["modality"]
    assert not chosen.expected.figures and not chosen.smoke.figures  # of another network


@pytest.mark.parametrize("name", ["image/mnist", "mnist"])
def test_a_recipe_of_the_modality_above_is_taken(mine: str, name: str) -> None:
    chosen = choose(mine, name, None, {"train.batch": 7}, {}, ["--size", "32"])
    assert recipe.difference(recipe.load("image/mnist"), chosen) == ["data.size", "modality", "train.batch"]
    assert chosen.modality == mine


def test_data_chooses_among_the_recipes_of_the_modality_above(mine: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    chosen = choose(mine, None, str(tmp_path / "photos"), {}, {})
    assert (chosen.name, chosen.modality, chosen.data["source"]) == ("folder", mine, str(tmp_path / "photos"))
    assert choose(mine, None, "mnist", {}, {}).name == "mnist"


def test_a_recipe_of_no_modality_above_is_refused(mine: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"for modality 'audio', not '.*mine.py'"):
        choose(mine, "audio/drums", None, {}, {})
    dots = tmp_path / "dots.py"
    dots.write_text(DOTS)
    with pytest.raises(UsageError, match=r"for modality 'image', not '.*dots.py'"):
        choose(str(dots), "digits", None, {}, {})


def test_one_file_by_two_paths_is_one_modality(mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text('modality = "mine.py"\n')
    assert choose("./mine.py", "own.toml", None, {}, {}).modality == mine


def test_the_class_that_was_named_is_trained_and_recorded(mine: str, toolkit_command: Command, tmp_path: Path) -> None:
    common = ("--steps", "2", "--batch", "4", "--set", "train.previews=0", "--set", "sample.steps=2", "--out", "run")
    done = toolkit_command("train", "--modality", "mine.py", *common)
    assert done.returncode == 0, done.stderr
    assert any(line.split() == ["parameters", "10"] for line in done.stdout.splitlines()), done.stdout
    assert recipe.load(tmp_path / "run" / "recipe.toml").modality == mine
    again = toolkit_command("train", "--modality", "mine.py", "--recipe", "image/digits", *common)
    assert again.returncode == 0 and "goes on from step 2" in again.stdout, again.stderr
    refused = toolkit_command("sample", "run")
    assert refused.returncode == 2 and "if you trust that" in refused.stderr
    assert toolkit_command("sample", "run", "-n", "2", "--modality", "mine.py").returncode == 0
