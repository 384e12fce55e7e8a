"""Names in a run folder, and what of it is read without weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from toolkit import recipe as recipes
from toolkit.data.dataset import Facts
from toolkit.errors import ToolkitError, UsageError
from toolkit.recipe.check import validate
from toolkit.recipe.format import explain, ours, unstamp
from toolkit.recipe.schema import Recipe
from toolkit.training.storage.files import is_leftover, read_capped

RECIPE = "recipe.toml"
"""Resolved: every option, the memory layout and the threads fixed."""
FACTS = "facts.json"
"""Facts about the data; sampling needs no data."""
DATA = "data.json"
"""Account of what was understood of the data, and guessed."""
MACHINE = "machine.json"
"""Machine and versions that it was trained with."""
CHECKPOINTS, SAMPLES, PREVIEWS, EVALUATION = "checkpoints", "samples", "previews", "evaluation"
METRICS = "metrics.jsonl"
MAX_FACTS = 4 << 20
"""Bytes, as for a copy in a checkpoint."""
PICTURE = "previews/final.png"
"""Samples at the end of training."""


def refuse_links(run: Path, *below: Path) -> None:
    """Raise UsageError where a folder of the run, or one on the way from it to the paths `below`, is a link.

    A stranger's run could otherwise choose which files of the user's are overwritten.
    """
    top = Path(os.path.abspath(run))
    ways = [top / name for name in (CHECKPOINTS, SAMPLES, PREVIEWS, EVALUATION)]
    for path in map(Path, map(os.path.abspath, below)):
        ways += [part for part in (path, *path.parents) if part != top and part.is_relative_to(top)]
    for way in ways:
        if os.path.islink(way):
            raise UsageError(
                f"{way} is a link, and nothing is written through one that is inside a run; put a folder in its place"
            )


def newborn(run: Path) -> bool:
    """Return True for a folder whose run was killed before it had written both of its files: it may begin anew."""
    try:
        there = list(run.iterdir())
        empty = [path for path in there if path.name in (CHECKPOINTS, PREVIEWS) and not path.is_symlink()]
        begun = [path for path in there if path.name in (RECIPE, FACTS) and ours(path)]
        rest = [path for path in there if not is_leftover(path.name) and path.name != "lock"]
        return len(begun) < 2 and set(rest) == {*empty, *begun} and not any(any(path.iterdir()) for path in empty)
    except OSError:
        return False


def sweep(run: Path) -> None:
    """Remove what trainings that were killed in the middle of a file have left, in a run that is locked.

    What a report or an evaluation is writing at this moment stays: they take no lock.
    """
    own = tuple(f".{name}." for name in (RECIPE, FACTS, DATA, MACHINE, METRICS))
    for folder in (run, run / PREVIEWS):
        with suppress(OSError):
            for path in folder.iterdir():
                if is_leftover(path.name) and (folder != run or path.name.startswith(own)):
                    path.unlink()


def read_run(run: Path, elsewhere: Mapping[str, Path] | None = None) -> tuple[Recipe, Facts]:
    """Return the resolved recipe and the facts of a run folder, as they are there (protected.py sees damage).

    `elsewhere`: where to read some of them instead. Raises UsageError when the folder is no run.
    """
    places = {name: run / name for name in (RECIPE, FACTS)} | dict(elsewhere or {})
    for name, path in places.items():
        if not path.is_file():
            what = "is no run folder" if run.is_dir() else "does not exist"
            raise UsageError(f"{run} {what} ({name} is missing); `toolkit train` makes one")
    with explain(places[RECIPE]):
        recipe = recipes.load(places[RECIPE])
    path = places[FACTS]
    try:
        facts = json.loads(read_capped(path, MAX_FACTS))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise ToolkitError(f"{path} cannot be read ({why}); restore it from a copy") from None
    if not isinstance(facts, dict):
        raise ToolkitError(f"{path} does not hold facts; restore it from a copy")
    with explain(path):
        return recipe, validate(Facts, unstamp(facts, str(path)), str(path))
