"""A recipe of a modality, taken over by a class that derives from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.discovery import built_in, find
from toolkit.errors import UsageError
from toolkit.recipe.expected import Expected, Smoke

if TYPE_CHECKING:
    from toolkit.recipe import Recipe


def family(modality: str) -> list[str]:
    """Return `modality` and the modalities that its class derives from, nearest first. Raises UsageError.

    A modality that is not built in is code, which is run to see its class.
    """
    if modality in built_in():
        return [modality]
    names = [modality]
    for above in find(modality).__mro__[1:]:
        package = above.__module__.split(".")
        names.append(package[1] if package[0] == "modalities" else above.__module__)
    return [name for name in dict.fromkeys(names) if name not in ("toolkit.modality", "abc", "builtins")]


def adopt(recipe: Recipe, modality: str) -> Recipe:
    """Return `recipe` as one of `modality`, without the figures, which were measured with another class."""
    return recipe.model_copy(update={"modality": modality, "expected": Expected(), "smoke": Smoke()})


def fit(recipe: Recipe, modality: str, where: str) -> Recipe:
    """Return `recipe` as one of `modality`: as it is where it says so, adopted where the class derives from its own.

    Raises UsageError, which begins with `where`, for a recipe of another modality.
    """
    if _same(recipe.modality, modality):
        return recipe if recipe.modality == modality else recipe.model_copy(update={"modality": modality})
    if recipe.modality not in family(modality):
        raise UsageError(f"{where}: this recipe is for modality '{recipe.modality}', not '{modality}'")
    return adopt(recipe, modality)


def _same(one: str, other: str) -> bool:
    """Return True where two names mean one modality: equal, or paths to one file."""
    paths = [Path(name).expanduser().resolve() for name in (one, other) if name.endswith(".py") or "/" in name]
    return one == other or (len(paths) == 2 and paths[0] == paths[1])
