"""Recipes: what is read is what was written, and every mistake is one line that names the key and the nearest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from toolkit import recipe
from toolkit.errors import UsageError
from toolkit.modality import Modality, Options
from toolkit.recipe import Recipe

SMALL: dict[str, Any] = {"name": "small", "modality": "points"}


@pytest.fixture
def small() -> Recipe:
    return recipe.from_mapping(SMALL)


def fails(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(UsageError) as caught:
        call(*arguments, **named)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_documented_defaults(small: Recipe) -> None:
    assert small.diffusion.model_dump() == {
        "schedule": "flow",
        "prediction": "flow",
        "shift": 1.0,
        "zero_terminal_snr": False,
        "time": "logit-normal",
        "top": 0.05,
        "stratified": True,
        "weighting": "none",
        "label_drop": 0.1,
        "denoiser": None,
        "loss": None,
    }
    assert small.train.model_dump() == {
        "seed": 0,
        "minutes": None,
        "steps": None,
        "batch": 128,
        "accumulate": 1,
        "optimizer": "adamw",
        "lr": 1e-3,
        "warmup": 200,
        "decay": "cosine",
        "weight_decay": 0.01,
        "betas": (0.9, 0.99),
        "clip": 1.0,
        "ema": (0.05, 0.10),
        "precision": "auto",
        "layout": "auto",
        "threads": None,
        "balance": 0.0,
        "compile": False,
        "previews": 5,
        "checkpoint_minutes": 2.0,
        "keep": 2,
    }
    assert (small.sample.interval, small.sample.rescale, small.sample.clip, small.sample.ema) == (None, 0.0, True, None)


SHIPPED = {
    "image": {"digits", "mnist", "mnist-ddpm", "mnist-ddpm-cosine", "cifar10", "folder"},
    "audio": {"drums", "drums-dilated", "fsdd", "vocoder", "folder"},
    "text": {"shakespeare", "tinyshakespeare", "names", "e2e", "abc", "folder"},
}


def test_the_shipped_recipes() -> None:
    assert set(recipe.list_recipes()) == {f"{modality}/{name}" for modality, names in SHIPPED.items() for name in names}


@pytest.mark.parametrize("full", recipe.list_recipes())
def test_every_shipped_recipe_is_complete(full: str) -> None:
    modality, name = full.split("/")
    header = recipe.locate(name, modality).read_text("utf-8").split("name =")[0]
    for line in (f"# command:  toolkit train --modality {modality}", "# hardware:", "# minutes:", "# measured:"):
        assert line in header
    found = recipe.load(full)
    assert (found.name, found.modality) == (name, modality)
    assert f"# minutes:  {found.train.minutes:g}\n" in header
    assert recipe.difference(recipe.load(name, modality), found) == []


@pytest.mark.parametrize("name", recipe.list_recipes())
def test_every_shipped_recipe_fits_the_core_and_its_modality(name: str) -> None:
    from toolkit import diffusion
    from toolkit.discovery import find
    from toolkit.recipe import build
    from toolkit.recipe.check import instantiate

    found = recipe.load(name)
    recipe.validate_for(found, find(found.modality))
    instantiate(diffusion.SCHEDULES, found.diffusion.schedule, "schedule")
    law = instantiate(diffusion.TIME_DISTRIBUTIONS, found.diffusion.time, "time distribution")
    instantiate(diffusion.WEIGHTINGS, found.diffusion.weighting, "weighting")
    instantiate(diffusion.SAMPLERS, found.sample.sampler, "sampler")
    build.grid(found.sample.grid, law)


def test_the_two_ddpm_recipes_differ_in_the_betas_alone() -> None:
    linear, cosine = recipe.load("image/mnist-ddpm"), recipe.load("image/mnist-ddpm-cosine")
    assert recipe.difference(linear, cosine) == ["description", "diffusion.schedule.name", "name"]
    assert linear.diffusion.schedule == {"name": "linear-beta", "T": 1000}


def test_a_name_is_found_short_and_long_and_the_nearest_is_named() -> None:
    assert recipe.locate("mnist") == recipe.locate("image/mnist") == recipe.locate("mnist", "image")
    assert "did you mean 'mnist'?" in fails(recipe.load, "mnst")
    assert "did you mean 'image/digits'?" in fails(recipe.load, "image/digts")
    assert "unknown recipe 'mnist'" in fails(recipe.load, "mnist", modality="audio")


def test_a_short_name_of_several_modalities_asks_for_the_long_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for modality in ("audio", "image"):
        (tmp_path / modality).mkdir()
        (tmp_path / modality / "folder.toml").write_text(f'modality = "{modality}"')
    monkeypatch.setattr(recipe.paths, "shipped_folder", lambda kind: tmp_path)
    assert recipe.list_recipes() == ["audio/folder", "image/folder"]
    assert recipe.list_recipes("image") == ["image/folder"]
    assert "audio/folder, image/folder" in fails(recipe.load, "folder")
    assert recipe.load("folder", "audio").modality == "audio"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = \n", "(at line 1"),
        ('name = "x"\nmodality = "image"\n[train\n', "line 3"),
        ('modality = "image"\n[train]\nlrr = 1.0', "unknown recipe key 'train.lrr'; did you mean 'train.lr'?"),
        ('modality = "image"\n[trian]\nlr = 1.0', "unknown recipe key 'trian'; did you mean 'train'?"),
        ('modality = "image"\n[train]\nbatch = true', "train.batch: "),
        ('modality = "image"\n[train]\nbatch = 0', "train.batch: "),
        ('modality = "image"\n[train]\nlr = nan', "train.lr: "),
        ('modality = "image"\n[train]\nlr = "fast"', "train.lr: "),
        ('modality = "image"\n[train]\nbetas = [0.9]', "train.betas"),
        ('modality = "image"\n[train]\nbetas = [0.9, 1.0]', "betas must be in [0, 1)"),
        ('modality = "image"\n[train]\nema = [0.05, 0.5]', "ema must be two widths"),
        ('modality = "image"\n[sample]\nema = 0.2', "sample.ema = 0.2 is not one of train.ema = [0.05, 0.1]"),
        ('modality = "image"\n[diffusion]\nschedule = {T = 10}', "diffusion.schedule: must be a name"),
        ('modality = "image"\n[diffusion]\nlabel_drop = 1.5', "diffusion.label_drop: "),
        ('name = "../../etc"\nmodality = "image"', "name: "),
        ("[train]\nlr = 1.0", "modality: is missing"),
        ('modality = "audio"', "for modality 'audio', not 'image'"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_path(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    said = fails(recipe.load, path, modality=None if "missing" in message else "image")
    assert said.startswith(str(path)) and message in said


def test_files_that_are_no_recipe_at_all(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.toml").write_bytes(b"#" * (recipe.MAX_BYTES + 1))
    (tmp_path / "deep.toml").write_text("a = " + "[" * 50_000)
    (tmp_path / "folder.toml").mkdir()
    assert "not TOML" in fails(recipe.load, tmp_path / "binary.toml")
    assert "larger than 1,000,000 bytes" in fails(recipe.load, tmp_path / "huge.toml")
    assert str(tmp_path / "deep.toml") in fails(recipe.load, tmp_path / "deep.toml")
    assert "no such recipe file" in fails(recipe.load, tmp_path / "folder.toml")
    assert "no such recipe file" in fails(recipe.load, tmp_path / "none.toml")


def test_a_file_without_a_name_is_called_after_itself(tmp_path: Path) -> None:
    (tmp_path / "evening.toml").write_text('modality = "image"\n[train]\nbetas = [0.9, 0.95]\nema = [0.02, 0.1]')
    found = recipe.load(tmp_path / "evening.toml")
    assert found.name == "evening"
    assert found.train.betas == (0.9, 0.95)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.lr", "3e-4", 3e-4),
        ("train.batch", "64", 64),
        ("train.clip", "2", 2.0),
        ("train.compile", "true", True),
        ("train.betas", "[0.8, 0.9]", (0.8, 0.9)),
        ("train.decay", "constant", "constant"),
        ("diffusion.schedule", '{ name = "linear-beta", T = 50 }', {"name": "linear-beta", "T": 50}),
        ("diffusion.schedule.T", "50", {"name": "flow", "T": 50}),
        ("sample.interval", "[-2, 3.5]", (-2.0, 3.5)),
        ("description", "3 = 2\nname = 4", "3 = 2\nname = 4"),
        ("description", "1\nname = 4", "1\nname = 4"),
    ],
)
def test_overrides_are_typed(small: Recipe, key: str, text: str, value: object) -> None:
    found: Any = recipe.override(small, {key: text})
    for part in key.split(".")[:2]:
        found = getattr(found, part)
    assert found == value and type(found) is type(value)


def test_an_override_reaches_the_modality_sections_and_an_empty_one_goes_back(small: Recipe) -> None:
    found = recipe.override(small, {"data.augment.flip": "true", "model.width": "32"})
    assert (found.data, found.model) == ({"augment": {"flip": True}}, {"width": 32})
    timed = recipe.replace(small, {"train.minutes": 5.0})
    assert recipe.replace(timed, {"train.minutes": None, "train.steps": 7}).train.minutes is None
    assert recipe.override(recipe.override(small, {"train.lr": "0.5"}), {"train.lr": ""}).train.lr == 1e-3


def test_replace_takes_text_as_it_is(small: Recipe) -> None:
    assert recipe.replace(small, {"data.source": "1e3"}).data == {"source": "1e3"}
    assert recipe.override(small, {"data.source": "1e3"}).data == {"source": 1000.0}


def test_changing_a_recipe_leaves_the_old_one_alone() -> None:
    before = recipe.from_mapping({**SMALL, "data": {"a": {"b": 1}}})
    recipe.override(before, {"data.a.b": "2"})
    assert before.data == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.lrr", "train.lr"),
        ("trian.lr", "train.lr"),
        ("lr", "train.lr"),
        ("train.lr.x", "train.lr"),
        ("sample.step", "sample.steps"),
        ("difusion.schedule.T", "diffusion.schedule"),
    ],
)
def test_an_unknown_override_names_the_nearest_key(small: Recipe, key: str, near: str) -> None:
    assert fails(recipe.override, small, {key: "1"}) == f"unknown recipe key '{key}'; did you mean '{near}'?"


def test_difference_names_every_key_that_differs(small: Recipe) -> None:
    other = recipe.replace(small, {"train.lr": 0.5, "train.steps": 3, "data.x": 1, "diffusion.schedule": "vp"})
    assert recipe.difference(small, other) == ["data.x", "diffusion.schedule", "train.lr", "train.steps"]
    assert recipe.difference(other, other) == []


json_like = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(min_size=1), below, max_size=3),
    max_leaves=6,
)


@given(
    data=st.dictionaries(st.text(min_size=1), json_like, max_size=3),
    description=st.text(),
    lr=st.floats(1e-8, 10),
    interval=st.none() | st.tuples(st.floats(-20, 0), st.floats(0, 20)),
)
def test_what_is_dumped_is_loaded(data: dict[str, Any], description: str, lr: float, interval: Any) -> None:
    before = recipe.from_mapping(
        {**SMALL, "data": data, "description": description, "train": {"lr": lr}, "sample": {"interval": interval}}
    )
    after = recipe.from_mapping(recipe.tomllib.loads(recipe.dump(before)))
    assert after == before
    assert recipe.difference(before, after) == []


class Data(Options):
    source: str
    size: int = Field(default=8, ge=1)


class Model(Options):
    width: int = 4


class Kind(Modality):
    name = "kind"
    Data = Data
    Model = Model


def test_the_modality_checks_its_own_sections() -> None:
    def made(data: dict[str, Any], model: dict[str, Any] | None = None) -> Recipe:
        return recipe.from_mapping({**SMALL, "data": data, "model": model or {}})

    assert recipe.validate_for(made({"source": "x", "size": 3}), Kind) == (Data(source="x", size=3), Model(width=4))
    check = recipe.validate_for
    assert fails(check, made({}), Kind) == "recipe 'small': data.source: is missing"
    assert "unknown recipe key 'data.sorce'; did you mean 'data.source'?" in fails(check, made({"sorce": "x"}), Kind)
    assert "data.size: " in fails(check, made({"source": "x", "size": 0}), Kind)
    assert "unknown recipe key 'model.widht'" in fails(check, made({"source": "x"}, {"widht": 1}), Kind)
