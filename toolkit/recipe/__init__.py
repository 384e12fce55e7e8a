"""Recipes: strict, typed, in TOML, and readable without torch.

A recipe is everything a run depends on. [data] and [model] belong to the modality (`validate_for`); the names in
[diffusion] and [sample] are looked up in the core's tables when the objects are made (build.py). In their place there
may be objects from Python (objects.py). Which recipe a user means is in choose.py, whose code may run in trust.py.
Every mistake in one is a UsageError of one line: where, which key, what is wrong, the nearest key that exists.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from pydantic import BaseModel

from toolkit import paths
from toolkit.discovery import built_in
from toolkit.errors import UsageError, unknown
from toolkit.recipe.check import keys, validate
from toolkit.recipe.expected import leaves
from toolkit.recipe.format import stamp, unstamp
from toolkit.recipe.inherit import family, fit
from toolkit.recipe.objects import KEYS, file_form
from toolkit.recipe.options import Options
from toolkit.recipe.schema import MEASURED as MEASURED
from toolkit.recipe.schema import Diffusion as Diffusion
from toolkit.recipe.schema import Recipe as Recipe
from toolkit.recipe.schema import Sample as Sample
from toolkit.recipe.schema import Train as Train

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from toolkit.modality import Modality

MAX_BYTES = 1_000_000


def list_recipes(modality: str | None = None) -> list[str]:
    """The shipped recipes, as "image/mnist", sorted."""
    root = paths.shipped_folder("recipes")
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*/*.toml"))
    return sorted(name for name in names if modality is None or name.startswith(f"{modality}/"))


def locate(name_or_path: str | os.PathLike[str], modality: str | None = None) -> Path:
    """The file of a recipe: "image/mnist", "mnist" (when one modality has it, or `modality` is given), or a path."""
    name = os.fspath(name_or_path)
    if name.endswith(".toml") or Path(name).expanduser().is_file():
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"no such recipe file: {path}")
        return path
    known = list_recipes()
    full = [n for n in known if n == name]
    if modality is not None and modality not in built_in() and not full:
        modality = next((one for one in family(modality) if one in built_in()), None)
    short = [n for n in known if n.split("/")[1] == name and (modality is None or n.startswith(f"{modality}/"))]
    found = full or short
    if len(found) > 1:
        raise UsageError(f"recipe '{name}' exists for several modalities: {', '.join(found)}; write one of these")
    if not found:
        # Compare like with like: a short name with short names.
        names = known if "/" in name else [n.split("/")[1] for n in list_recipes(modality)]
        raise unknown("recipe", name, names)
    return paths.shipped_folder("recipes") / f"{found[0]}.toml"


def load(name_or_path: str | os.PathLike[str], modality: str | None = None) -> Recipe:
    """Return a recipe by name or path, checked except for [data] and [model].

    `modality` fills in one that the file does not name, and takes over a recipe of a modality that its class derives
    from; a file that names any other one is an error.
    """
    path = locate(name_or_path, modality)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read recipe {path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"recipe {path} is larger than {MAX_BYTES:,} bytes; that is not a recipe")
    try:
        mapping = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None
    recipe = from_mapping({"name": path.stem, **unstamp(mapping, str(path))}, modality, str(path))
    if modality is None and recipe.modality not in built_in():
        recipe._file = str(path)
    return recipe


def from_mapping(mapping: Mapping[str, Any], modality: str | None = None, where: str = "recipe") -> Recipe:
    """A recipe from nested dicts, as in TOML. `where` begins the message when something in it is wrong."""
    known = {} if modality is None else {"modality": modality}
    recipe = validate(Recipe, {**known, **mapping}, where)
    return recipe if modality is None else fit(recipe, modality, where)


def replace(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """`recipe` with the values at dotted keys replaced, and checked again; None returns a key to its default."""
    tree = _tree(recipe)
    for key, value in values.items():
        *parents, last = key.split(".")
        if [*parents, last][0] not in Recipe.model_fields:
            raise unknown("recipe key", key, keys(Recipe))
        table = tree
        for depth, part in enumerate(parents):
            below = table.get(part, {})
            if isinstance(below, str) and depth == 1 and parents[0] in ("diffusion", "sample"):
                below = {"name": below}  # diffusion.schedule.T = 500 gives the schedule that is there an option
            if not isinstance(below, dict):
                raise unknown("recipe key", key, keys(Recipe))
            table[part] = table = below
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    changed = validate(Recipe, tree, "")
    changed._file = None if "modality" in values else recipe._file
    return changed


def override(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """As `replace`, with each value as typed on a command line: TOML where it is TOML, text where not, "" = default."""
    return replace(recipe, {key: typed(value) for key, value in values.items()})


def dump(recipe: Recipe) -> str:
    """Return TOML with every key that has a value; `load` of it is equal to `recipe`, but for objects from Python."""
    return tomli_w.dumps(_in_file(recipe))


def dump_run(recipe: Recipe) -> str:
    """Return `dump` with the format number and the version of the toolkit, as recipe.toml in a run folder has it."""
    return tomli_w.dumps(stamp(_in_file(recipe)))


def difference(a: Recipe, b: Recipe) -> list[str]:
    """The dotted keys in which two recipes differ, sorted; what was measured by one of them makes it no other."""
    left, right = (
        {key: list(value) if isinstance(value, tuple) else value for key, value in leaves(_training_keys(recipe))}
        for recipe in (a, b)
    )
    return sorted(k for k in left.keys() | right.keys() if k not in left or k not in right or left[k] != right[k])


def validate_for(recipe: Recipe, modality: type[Modality]) -> tuple[Options, Options]:
    """The [data] and [model] sections as the modality's own options."""
    where = f"recipe '{recipe.name}'"
    data = validate(modality.Data, recipe.data, where, "data.")
    return data, validate(modality.Model, recipe.model, where, "model.")


def _tree(recipe: Recipe) -> dict[str, Any]:
    """Nested dicts of what has a value, in which tables and lists are new and objects are the same."""
    tree: dict[str, Any] = _copy(recipe)
    empty = [name for name in MEASURED if not tree[name]["figures"]]
    return {name: value for name, value in tree.items() if name not in empty}


def _copy(value: Any) -> Any:
    if isinstance(value, BaseModel | Mapping):
        pairs = value if isinstance(value, BaseModel) else value.items()
        return {name: _copy(part) for name, part in pairs if part is not None}
    return type(value)(_copy(part) for part in value) if type(value) in (list, tuple) else value


def _in_file(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as a file holds it."""
    tree = _tree(recipe)
    for key in KEYS.values():
        section, _, name = key.rpartition(".")
        table = tree[section] if section else tree
        if name in table:
            table[name] = file_form(table[name])
    return tree


def _training_keys(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in _in_file(recipe).items() if name not in MEASURED}


def typed(text: str) -> Any:
    """Return the value that was typed on a command line: TOML where it is TOML, text where not, None for nothing."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text or None
    return parsed["value"] if len(parsed) == 1 else text  # a line break could have started a second key
