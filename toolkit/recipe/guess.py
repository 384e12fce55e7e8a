"""Guesses for commands that do not say everything: `toolkit train image`, `train digits`, `train --data photos`.

A guess is always told in one line, and never goes against what the user did say.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import NamedTuple

from toolkit import recipe as recipes
from toolkit.discovery import built_in, by_files, kinds, spelt
from toolkit.errors import DataError, UsageError


class Guess(NamedTuple):
    """The options that are meant, and the line that tells it; "" when nothing was guessed."""

    modality: str | None
    recipe: str | None
    data: str | None
    line: str = ""


def guess(word: str | None, modality: str | None = None, recipe: str | None = None, data: str | None = None) -> Guess:
    """Return what `toolkit train WORD --modality M --recipe R --data D` means, where any of them may be None.

    A word is a modality, a recipe, or a folder or file to learn from, in this order; data alone tells the modality by
    its name or its files' endings. Raises UsageError, with the nearest name where there is one, and DataError.
    """
    line = ""
    if word is not None:
        if word in built_in() or word.endswith(".py"):
            _only("modality", word, modality)
            modality, line = word, f"'{word}' is a modality: --modality {word}"
        elif _is_recipe(word):
            _only("recipe", word, recipe)
            recipe, line = word, f"'{word}' is a recipe: --recipe {word}"
        elif os.path.exists(Path(word).expanduser()):
            if os.path.isfile(Path(word).expanduser() / "recipe.toml"):
                raise UsageError(f"{word} is a run; to go on with it: --recipe {word}/recipe.toml --out {word}")
            _only("data", word, data)
            data, line = word, f"'{word}' is here: --data {word}"
        else:
            raise _unknown("modality, recipe or folder", word, [*built_in(), *recipes.list_recipes()])
    if modality is None and data is not None and (recipe is None or _of_several(recipe)):
        modality, why = modality_of(data)
        line = f"{line}{' ' if line else ''}--modality {modality}, as {why}"
    return Guess(modality, recipe, data, line)


def modality_of(data: str) -> tuple[str, str]:
    """Return the modality of data, a folder, a file or a name, and a reason. Raises UsageError and DataError."""
    named = sorted(full for full in recipes.list_recipes() if full.split("/")[1] == data and data != "folder")
    if len(named) == 1:
        return named[0].split("/")[0], f"recipe {named[0]} learns from '{data}'"
    path = Path(data).expanduser()
    if os.path.exists(path):
        try:
            modality = by_files(path)
        except DataError as error:
            raise DataError(f"{error}; say what it is: --modality {'|'.join(built_in())}") from None
        if not os.path.isdir(path):
            return modality, f"{data} says by its ending"
        counts, _ = kinds(path)
        mixed = f" ({spelt(counts)})" if len(counts) > 1 else ""
        return modality, f"the files in {data} say by their endings{mixed}"
    known = [full for full in recipes.list_recipes() if not full.endswith("/folder")]
    raise _unknown("data", data, known, f"; for data of another name say --modality {'|'.join(built_in())}")


def _only(option: str, word: str, value: str | None) -> None:
    if value is not None:
        raise UsageError(f"'{word}' and --{option} {value} both say the {option}; give one of them")


def _is_recipe(word: str) -> bool:
    full = recipes.list_recipes()
    return word.endswith(".toml") or word in full or word in _short(full)


def _of_several(recipe: str) -> bool:
    """Return True where several modalities have a recipe of this name."""
    return _short(recipes.list_recipes()).count(recipe) > 1


def _short(full: list[str]) -> list[str]:
    """Return the names without their modalities, digits for image/digits."""
    return [name.partition("/")[2] for name in full]


def _unknown(kind: str, name: str, known: list[str], further: str = "") -> UsageError:
    names = [*known, *filter(None, _short(known))]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    return UsageError(f"unknown {kind} '{name}'; {hint}{further}")
