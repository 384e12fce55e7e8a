"""The gate between a file and code: a modality that is not built in runs only when the user has named it.

A recipe or a run may be a stranger's. Its file can name any module; whoever trusts that names it too, `--modality FILE`
or modality="FILE". All ways from a recipe to its modality's class lead through `modality_of`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.discovery import built_in, find
from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.modality import Modality
    from toolkit.recipe.schema import Recipe


def modality_of(recipe: Recipe, named: str | None = None) -> type[Modality]:
    """Return the class of a recipe's modality, or of the one that the user named. Raises UsageError."""
    check(recipe, named)
    return find(named or recipe.modality)


def may_run(recipe: Recipe, named: str | None = None) -> bool:
    """Return whether the modality's code may run: it is ours, the user named it, or Python made the recipe."""
    return named is not None or recipe._file is None or recipe.modality in built_in()


def check(recipe: Recipe, named: str | None = None) -> None:
    """Raise UsageError where a file names code and the user has not named it."""
    if not may_run(recipe, named):
        raise UsageError(
            f"{recipe._file} runs code from '{recipe.modality}'; if you trust that, name it: "
            f"--modality {recipe.modality} (in Python modality={recipe.modality!r})"
        )


def name_modality(recipe: Recipe) -> Recipe:
    """Return a recipe whose modality the user has named."""
    whole = recipe.model_copy()
    whole._file = None
    return whole
