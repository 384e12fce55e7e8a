"""Names in a run folder, and what of it is read without weights."""

from __future__ import annotations

import json
from pathlib import Path

from toolkit import recipe as recipes
from toolkit.data.dataset import Facts
from toolkit.errors import ToolkitError, UsageError
from toolkit.recipe.check import checked
from toolkit.recipe.format import explained, unstamped
from toolkit.recipe.schema import Recipe

RECIPE = "recipe.toml"
"""Resolved: every option, the memory layout and the threads fixed."""
FACTS = "facts.json"
"""Facts about the data; sampling needs no data."""
DATA = "data.json"
"""What was understood of the data, and guessed."""
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
PICTURE = "previews/final.png"
"""Samples at the end of training."""
MAX_FACTS = 1_000_000
"""Characters."""


def read_run(run: Path) -> tuple[Recipe, Facts]:
    """Return the resolved recipe and the facts of a run folder. Raises UsageError when it is none."""
    for name in (RECIPE, FACTS):
        if not (run / name).is_file():
            what = "is no run folder" if run.is_dir() else "does not exist"
            raise UsageError(f"{run} {what} ({name} is missing); `toolkit train` makes one")
    with explained(run / RECIPE):
        recipe = recipes.load(run / RECIPE)
    path = run / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8")[:MAX_FACTS])
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} cannot be read ({error}); restore it from a copy") from None
    if not isinstance(facts, dict):
        raise ToolkitError(f"{path} does not hold facts; restore it from a copy")
    with explained(path):
        return recipe, checked(Facts, unstamped(facts, str(path)), str(path))
