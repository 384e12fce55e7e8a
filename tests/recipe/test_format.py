"""Format numbers: runs of before load or say who wrote them, later ones are refused, recipes need none.

before/ holds what runs of commit 7792455, which had no numbers, wrote: recipe.toml, facts.json, and the names and
sizes of the parameters in their checkpoints.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import toolkit
from tests.conftest import ROOT
from tests.run.points_run import forget_copies
from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.errors import ToolkitError, UsageError
from toolkit.recipe import build
from toolkit.recipe.format import FORMAT, explain, stamp, unstamp
from toolkit.run.generator import load, read_run
from toolkit.run.prepare import train

BEFORE = Path(__file__).parent / "before"
POINTS = str(ROOT / "tests" / "points.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("format") / "run"
    default = find(POINTS).default_recipe
    assert not isinstance(default, str)
    recipe = recipes.from_mapping({**default, "modality": POINTS, "description": "format = 9"})
    train(recipe, out=folder, notify=lambda line: None, train__steps=3, train__previews=0, sample__steps=2)
    forget_copies(folder)  # or what these tests change would be read from there
    return folder


def copy(run: Path, to: Path, replacing: dict[str, tuple[str, str]]) -> Path:
    """The run with its files but for recipe.toml and facts.json linked, and in these something replaced."""
    to.mkdir()
    (to / "checkpoints").symlink_to(run / "checkpoints")
    for name in ("recipe.toml", "facts.json"):
        old, new = replacing.get(name, ("", ""))
        text = (run / name).read_text(encoding="utf-8")
        assert old in text
        (to / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return to


def refused(call: object, *arguments: object) -> str:
    with pytest.raises(ToolkitError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_says_its_format_and_who_wrote_it(run: Path) -> None:
    lines = (run / "recipe.toml").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [f"format = {FORMAT}", f'toolkit = "{toolkit.__version__}"']
    facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    assert list(facts)[:2] == ["format", "toolkit"] and facts["format"] == FORMAT
    recipe, known = read_run(run)
    assert recipe == recipes.from_mapping(recipes.tomllib.loads(recipes.dump(recipe)))
    assert "format =" not in recipes.dump(recipe).replace("format = 9", "")
    assert known.shape == (2,) and recipes.difference(recipe, recipes.load(run / "recipe.toml")) == []


@pytest.mark.parametrize("name", ["image", "audio", "text"])
def test_a_run_of_before_the_numbers_is_read_and_its_weights_fit(name: str) -> None:
    recipe, facts = read_run(BEFORE / name)
    kind = find(recipe.modality)
    modality = kind(*recipes.validate_for(recipe, kind), facts)
    net = build.denoiser(recipe, modality).net
    named = sorted(f"{key} {' x '.join(map(str, value.shape))}" for key, value in net.state_dict().items())
    assert named == (BEFORE / name / "parameters.txt").read_text(encoding="utf-8").splitlines()


def test_without_numbers_a_run_gives_the_same_samples(run: Path, tmp_path: Path) -> None:
    ours = load(run, modality=POINTS).sample(3, seed=1).x
    version = toolkit.__version__
    old = copy(
        run,
        tmp_path / "old",
        {
            "recipe.toml": (f'format = 1\ntoolkit = "{version}"\n', ""),
            "facts.json": (f'"format": 1,\n  "toolkit": "{version}",\n', ""),
        },
    )
    assert "format" not in json.loads((old / "facts.json").read_text()) and torch.equal(
        ours, load(old, modality=POINTS).sample(3, seed=1).x
    )


@pytest.mark.parametrize("name", ["recipe.toml", "facts.json"])
def test_a_newer_format_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    number = ("format = 1", "format = 2") if name == "recipe.toml" else ('"format": 1', '"format": 2')
    newer = copy(run, tmp_path / "newer", {name: number})
    said = refused(load, newer)
    assert said == (
        f"{newer / name} has format 2, of toolkit {toolkit.__version__}; this is toolkit {toolkit.__version__}, "
        "which reads formats up to 1: pip install --upgrade diffusion-toolkit"
    )
    if name == "recipe.toml":
        assert "has format 2" in refused(recipes.load, newer / name)


@pytest.mark.parametrize("number", ["0", "-1", "true", "1.0", '"1"', "[1]"])
def test_what_is_no_number_is_refused(run: Path, tmp_path: Path, number: str) -> None:
    strange = copy(run, tmp_path / "strange", {"recipe.toml": ("format = 1", f"format = {number}")})
    assert "recipe.toml: format must be a whole number from 1" in refused(load, strange)


def test_what_does_not_fit_says_who_wrote_it(run: Path, tmp_path: Path) -> None:
    ours = ("recipe.toml", "[train]", "[train]\nlearning = 1")
    mine = copy(run, tmp_path / "mine", {ours[0]: ours[1:]})
    said = refused(load, mine)
    assert "unknown recipe key 'train.learning'; did you mean" in said and "written" not in said
    stamp = f'toolkit = "{toolkit.__version__}"\n'
    (mine / "recipe.toml").write_text((mine / "recipe.toml").read_text().replace(stamp, 'toolkit = "0.9.3"\n'))
    assert refused(load, mine).endswith(
        "; this run was written by toolkit 0.9.3: train it again, or use the version that wrote it"
    )
    text = (mine / "recipe.toml").read_text().replace('format = 1\ntoolkit = "0.9.3"\n', "")
    (mine / "recipe.toml").write_text(text)
    assert "this run was written before runs had a format number, by a development version" in refused(load, mine)
    # a recipe that somebody writes is from no version
    assert "written" not in refused(recipes.load, mine / "recipe.toml")


def test_weights_that_do_not_fit_and_facts_that_are_strange(run: Path, tmp_path: Path) -> None:
    version = toolkit.__version__
    other = copy(run, tmp_path / "other", {"facts.json": ('"upper",', '"upper", "middle",')})
    assert "does not fit the recipe beside it" in refused(load, other, None, None, None, print, POINTS)
    assert "written" not in refused(load, other, None, None, None, print, POINTS)
    recipe = other / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(f'toolkit = "{version}"', 'toolkit = "0.0.7"'))
    assert "written by toolkit 0.0.7" in refused(load, other, None, None, None, print, POINTS)
    facts = copy(run, tmp_path / "facts", {"facts.json": (f'"toolkit": "{version}",', '"toolkit": "0.0.8", "x": 1,')})
    said = refused(read_run, facts)
    assert "unknown recipe key 'x'" in said and "written by toolkit 0.0.8" in said


def test_a_file_keeps_the_kind_of_its_error(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('format = 1\ntoolkit = "0.0.1"\n')
    with (
        pytest.raises(UsageError, match=r"wrong; this run was written by toolkit 0\.0\.1"),
        explain(tmp_path / "recipe.toml"),
    ):
        raise UsageError("wrong")
    for text in ("[", 'format = "x"'):
        (tmp_path / "recipe.toml").write_text(text)
        with pytest.raises(UsageError, match=r"^wrong$"), explain(tmp_path / "recipe.toml"):
            raise UsageError("wrong")


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_recipes_need_no_number(name: str) -> None:
    assert "format" not in recipes.tomllib.loads(recipes.locate(name).read_text(encoding="utf-8"))


def test_a_stamp_is_taken_off_again() -> None:
    assert unstamp(stamp({"a": 1}), "x") == {"a": 1} == unstamp({"a": 1}, "x")
