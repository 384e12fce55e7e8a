"""Objects in place of what a recipe names, passed from Python, and what a file says of them.

A recipe in memory holds the object itself. A file cannot: there stands {name = "object", of = "mine.Weighting(k=2.0)"},
which tells one run from another and says what has to be passed again before the run can be built.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator

from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.recipe.schema import Recipe

OBJECT = "object"
"""The name that stands in a file for something that has none."""
KEYS = {
    "network": "network",
    "denoiser": "diffusion.denoiser",
    "loss": "diffusion.loss",
    "schedule": "diffusion.schedule",
    "time": "diffusion.time",
    "weighting": "diffusion.weighting",
    "sampler": "sample.sampler",
    "grid": "sample.grid",
}
"""Keyword of `toolkit.train` -> key of the recipe that may hold an object."""
TO_LOAD = ("network", "denoiser", "schedule", "time")
"""Objects that `toolkit.load` takes again; without the last, only what it has learned is lost."""
TABLES = {
    "schedule": "SCHEDULES",
    "time": "TIME_DISTRIBUTIONS",
    "weighting": "WEIGHTINGS",
    "sampler": "SAMPLERS",
    "grid": "GRIDS",
}
"""Keyword -> table of toolkit.diffusion in which its names are."""


def _check_name(value: object) -> Any:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return dict(value)
    if is_object(value):
        return value
    raise ValueError('must be a name, or a table like {name = "linear-beta", T = 1000}')


def _nameless(value: object) -> Any:
    if value is None or is_object(value) or (isinstance(value, Mapping) and value.get("name") == OBJECT):
        return value
    raise ValueError("has no names to choose from: pass an object from Python")


Named = Annotated[str | dict[str, Any], PlainValidator(_check_name)]
"""A name from one of the core's tables, or a table with that name and options for it; from Python an object, too."""
Nameless = Annotated[Any, PlainValidator(_nameless)]
"""An object from Python, or None."""


def is_object(value: object) -> bool:
    """Return whether `value` is more than what TOML can hold."""
    plain = bool | int | float | str | None | Mapping | list | tuple  # type: ignore[type-arg]
    return not isinstance(value, plain) and not hasattr(value, "isoformat")


def plain(value: Any) -> Any:
    """Return a path as text, and a number of numpy's or torch's as Python's, which is what a recipe holds."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def describe(value: object) -> str:
    """Return an object as text that is the same in every process: where it is defined, and its plain fields."""
    if isinstance(value, functools.partial):
        options = ", ".join(f"{name}={_text(option)}" for name, option in value.keywords.items())
        return f"{describe(value.func)}({options})"
    of = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    name = f"{of.__module__}.{of.__qualname__}"
    if not dataclasses.is_dataclass(value) or inspect.isclass(value):
        return name
    fields = [f"{field.name}={_text(getattr(value, field.name))}" for field in dataclasses.fields(value)]
    return f"{name}({', '.join(fields)})"


def _text(value: object) -> str:
    return f"{value!r:.60}" if value is None or _is_plain(value) else describe(value)


def _is_plain(value: object) -> bool:
    """Return True where TOML can hold it."""
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return isinstance(value, bool | int | float | str)


def spell(value: Any, table: Mapping[str, Any]) -> Any:
    """Return the name in `table`, with its options, that stands for an object of ours; any other object itself."""
    partial = isinstance(value, functools.partial)
    maker = value.func if partial else value if inspect.isroutine(value) else type(value)
    name = next((name for name, entry in table.items() if entry is maker), None)
    if name is None or (partial and value.args):
        return value
    if partial:
        options = value.keywords
    elif dataclasses.is_dataclass(value):
        fields = [(f.name, getattr(value, f.name), f.default) for f in dataclasses.fields(value)]
        options = {name: option for name, option, default in fields if option != default}
    elif inspect.isroutine(value) or not inspect.signature(maker).parameters:
        options = {}
    else:
        return value  # made of what it does not keep
    if not all(_is_plain(option) for option in options.values()):
        return value
    return {"name": name, **options} if options else name


def file_form(value: object) -> object:
    """Return what a file says in place of `value`, which is `value` itself unless it is an object."""
    return {"name": OBJECT, "of": describe(value)} if is_object(value) else value


def absent(value: object) -> str | None:
    """Return the description of an object that a file could not hold, or None."""
    if isinstance(value, Mapping) and value.get("name") == OBJECT:
        return str(value.get("of", "an object"))
    return None


def among(sections: Mapping[str, Any]) -> bool:
    """Return True where a recipe, as nested tables, has an object at one of `KEYS`, or the description of one."""
    values = []
    for key in KEYS.values():
        section, _, name = key.rpartition(".")
        table = sections.get(section) if section else sections
        values.append(table.get(name) if isinstance(table, Mapping) else None)
    return any(is_object(value) or absent(value) is not None for value in values)


def to_load(recipe: Recipe) -> dict[str, Any]:
    """Return the objects in a recipe that `toolkit.load` needs again, by keyword."""
    values = {name: _at(recipe, KEYS[name]) for name in TO_LOAD}
    if hasattr(values["denoiser"], "schedule"):
        del values["schedule"]  # which it brings along
    return {name: value for name, value in values.items() if is_object(value)}


def require(recipe: Recipe, run: Path) -> None:
    """Raise UsageError, which says what to pass, where the denoiser of a run is made of objects that no file holds."""
    values = {name: absent(_at(recipe, KEYS[name])) for name in TO_LOAD if name != "time"}
    if values["denoiser"] is not None:
        del values["schedule"]  # which it may bring along
    lost = {name: value for name, value in values.items() if value is not None}
    if lost:
        objects = ", ".join(f"{name} ({value})" for name, value in lost.items())
        again = ", ".join(f"{name}=..." for name in lost)
        raise UsageError(
            f"{run} was trained with objects from Python that no file can hold: {objects}; pass the same, "
            f"toolkit.load({str(run)!r}, {again})"
        )


def _at(recipe: Recipe, key: str) -> Any:
    section, _, name = key.rpartition(".")
    return getattr(getattr(recipe, section) if section else recipe, name)
