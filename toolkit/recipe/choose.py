"""The recipe that a user means: by a name, a file, a modality or data, with options by the names that they have in it.

Python and the command line compose a recipe here: `start_from` what is named, then `change` by the options.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.errors import DataError, UsageError, unknown
from toolkit.recipe import inherit, objects, trust
from toolkit.recipe.guess import guess
from toolkit.recipe.schema import Recipe

TRAIN = ("batch", "seed")
"""Keys of [train] that are options by their own names, beside minutes and steps."""
CALL = ("recipe", "out", "device", "notify", "threads", "progress", "modality", "data", "minutes", "steps", "settings")
"""Other arguments of `toolkit.train`, for the nearest name of one that is misspelt."""


def choose(
    recipe: str | os.PathLike[str] | Recipe | None = None,
    modality: str | None = None,
    data: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
    notify: Callable[[str], None] = print,
    **options: Any,
) -> Recipe:
    """Return the recipe that the arguments of `toolkit.train` mean. What is guessed is told to `notify`.

    `options`: batch, seed, any key of the modality's [data] and [model] sections by its own name (size=64), and the
    objects or names of `objects.KEYS` (weighting="min-snr", network=Mine()). `settings`: values at dotted keys, which
    win; train__lr=3e-4 is another way to write {"train.lr": 3e-4}. None is as the recipe says. Raises UsageError.
    """
    start = start_from(*_guess(recipe, modality, None if data is None else os.fspath(data), notify))
    keys = {**keys_of(start), **{name: f"train.{name}" for name in TRAIN}, **objects.KEYS}
    values = length(minutes, steps)
    for name, value in options.items():
        if name not in keys and "__" not in name:
            raise unknown("option", name, [*CALL, *keys])
        if value is not None:
            values[keys.get(name, name.replace("__", "."))] = objects.plain(value)
    values |= {key: objects.plain(value) for key, value in (settings or {}).items()}
    own = {name: values.pop(key) for name, key in objects.KEYS.items() if objects.is_object(values.get(key))}
    return with_objects(change(start, values), own)


def start_from(
    name: str | os.PathLike[str] | Recipe | None, modality: str | None = None, data: str | None = None
) -> Recipe:
    """Return the recipe that is named, or the modality's own for this data, with the data in it.

    Raises UsageError, DataError.
    """
    if modality is not None and (modality.endswith(".py") or "/" in modality):
        modality = str(Path(modality).expanduser().resolve())  # a run must find it again from any folder
    source = None if data is None else source_of(data, recipes.list_recipes())
    if isinstance(name, Recipe):
        found = name if modality is None else trust.name_modality(inherit.fit(name, modality, f"recipe '{name.name}'"))
    elif name is not None:
        found = recipes.load(name, modality)
        trust.check(found, modality)
    elif modality is not None:
        found = _default(modality, data, source)
    else:
        raise UsageError("say what to train: a modality, a recipe, or --data FOLDER (toolkit recipes lists recipes)")
    return found if source is None else recipes.replace(found, {"data.source": source})


def keys_of(recipe: Recipe) -> dict[str, str]:
    """Return option -> dotted key of all that the modality's [data] and [model] have: {"size": "data.size"}."""
    kind = trust.modality_of(recipe)
    keys = {name: f"model.{name}" for name in kind.Model.model_fields}
    return keys | {name: f"data.{name}" for name in kind.Data.model_fields if name != "source"}


def change(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with values at dotted keys. Raises UsageError."""
    new = recipes.replace(recipe, values) if values else recipe
    if new.name == "folder" and "source" not in new.data:
        raise UsageError("recipe 'folder' needs your data: --data FOLDER")
    return new


def length(minutes: float | None, steps: int | None) -> dict[str, Any]:
    """Return the changes that make a run so long, none when neither is given. Raises UsageError when both are."""
    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps both fix the length; give one of them")
    return {} if minutes is None and steps is None else {"train.minutes": minutes, "train.steps": steps}


def with_objects(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """Return the recipe with objects, or names, at the keys of `objects.KEYS`; None leaves what is there.

    An object of ours becomes its name, which a file can hold. A denoiser brings its schedule along. Raises UsageError.
    """
    changes = {objects.KEYS[name]: _spell(name, value) for name, value in given.items() if value is not None}
    schedule = getattr(given.get("denoiser"), "schedule", None)  # of a denoiser; a class or a function has none
    if schedule is not None:
        for name in ("network", "schedule"):
            if given.get(name) is not None:
                raise UsageError(f"a denoiser has its own {name}: leave {name}= out, or pass a function that makes one")
        changes |= {"diffusion.shift": None, "diffusion.zero_terminal_snr": None}
        changes["diffusion.schedule"] = _spell("schedule", schedule)
    return recipes.replace(recipe, changes) if changes else recipe


def source_of(data: str, known: Sequence[str]) -> str:
    """Return what data means: an absolute path for a folder or file, or a name for the modality to look up.

    The name of a recipe's data set wins over a folder of that name, which is written ./NAME.
    """
    path = Path(data).expanduser()
    if data in {name.split("/")[1] for name in known}:
        return data
    if os.path.exists(path):
        return str(path.resolve())
    if data.startswith(("~", ".")) or os.sep in data or "/" in data:
        raise DataError(f"no such folder or file: {path}")
    return data


def name_of(chosen: Recipe, data: str | None) -> str:
    """Return the run's folder below runs/: called after the user's own data, else after the recipe."""
    if data is None:
        return chosen.name
    stem = Path(data).expanduser().resolve().name
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip(".") or chosen.name


def _guess(
    recipe: str | os.PathLike[str] | Recipe | None,
    modality: str | None,
    data: str | None,
    notify: Callable[[str], None],
) -> tuple[str | Recipe | None, str | None, str | None]:
    """The recipe, modality and data that are meant where a word says which of them it is, or the data say the rest."""
    if isinstance(recipe, Recipe):
        return recipe, modality, data
    word = None if recipe is None else os.fspath(recipe)
    meant = guess(word, modality, None, data)
    if modality is None and meant.modality not in (None, word):
        notify(meant.line)
    return meant.recipe, meant.modality, meant.data


def _default(modality: str, data: str | None, source: str | None) -> Recipe:
    """Return the recipe where none is named: that of the data's name, that for folders, or the modality's default."""
    wanted = "folder" if source is not None and Path(source).is_absolute() else data
    for known in inherit.family(modality):
        if f"{known}/{wanted}" in recipes.list_recipes(known):
            return recipes.load(f"{known}/{wanted}", modality)
    kind = find(modality)
    if isinstance(kind.default_recipe, str):
        named = recipes.load(kind.default_recipe)
        # the class that was named is trained
        return trust.name_modality(named) if named.modality == modality else inherit.adopt(named, modality)
    return recipes.from_mapping({"name": kind.name, **kind.default_recipe}, modality, modality)


def _spell(name: str, value: Any) -> Any:
    if name not in objects.TABLES or not objects.is_object(value):
        return value
    from toolkit import diffusion

    return objects.spell(value, getattr(diffusion, objects.TABLES[name]))
