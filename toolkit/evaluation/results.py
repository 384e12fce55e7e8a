"""What was measured of the shipped recipes, as a table for the README, and a finished run as an [expected] section."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

import toolkit
from toolkit import recipe as recipes
from toolkit.errors import DataError, UsageError
from toolkit.recipe import Recipe
from toolkit.recipe.expected import ExpectedMetric

if TYPE_CHECKING:
    from toolkit.evaluation.table import Metric

BEGIN = "<!-- results: written by `toolkit results --write README.md` from the recipes -->"
END = "<!-- end of results -->"
SLACK = 2.0
"""A proposed band is so many times the 95 % interval: another training run differs too."""
_PER_LABEL = "agreement/"
_ABOUT_THE_JUDGE = "judge accuracy"


def markdown(known: Iterable[tuple[str, Recipe]]) -> str:
    """One row for each recipe that says what was measured, by its full name; "" when none does."""
    rows = []
    for name, recipe in known:
        said = recipe.expected
        if not said.figures:
            continue
        # "bits/character 3.1", not "bits/character 3.1 bits/character"
        bare = {w: band.model_copy(update={"unit": ""}) if band.unit == w else band for w, band in said.figures.items()}
        figures = "<br>".join(f"{what} {_measured(band)}" for what, band in bare.items())
        steps = f"{said.steps or recipe.train.steps or 0:,} steps"
        length = f"{said.minutes:g} ({steps})" if said.minutes else steps
        cells = (name, length, figures, f"{said.machine}; {said.date}, version {said.toolkit}")
        rows.append(" | ".join(cell.replace("|", "\\|") for cell in cells) + f" | `toolkit reproduce {name}`")
    if not rows:
        return ""
    head = "recipe | minutes | measured, and what a reproduction must come to | where and when | again"
    return "\n".join(f"| {row} |" for row in (head, "---|---|---|---|---", *rows))


def rewritten(text: str, table: str, where: str = "README.md") -> str:
    """`text` with `table` between the two marker lines. Raises UsageError when they are not there."""
    pattern = re.compile(rf"(?<={re.escape(BEGIN)}\n).*?(?=\n{re.escape(END)})", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise UsageError(f"{where} must have one line '{BEGIN}' and after it one line '{END}'")
    return pattern.sub(lambda _: table, text)


def shipped() -> list[tuple[str, Recipe]]:
    """All recipes by full name."""
    return [(name, recipes.load(name)) for name in recipes.list_recipes()]


def section(run: Path) -> str:
    """What `toolkit evaluate RUN` wrote, as an [expected] section to trim and append to the recipe.

    Raises UsageError, DataError.
    """
    from toolkit.evaluation.table import Table
    from toolkit.run.generator import read_run
    from toolkit.training.precision import features

    recipe, _ = read_run(run)
    path = run / "evaluation" / "metrics.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; `toolkit evaluate {run}` writes it")
    table = Table.from_json(path.read_text(encoding="utf-8"), str(path))
    here = features()
    vector = "AVX512-BF16" if here["avx512_bf16"] else here["vector"]
    processor = f"{here['threads']} threads of {here['processor']} ({vector})"
    machine = f"{processor}, {here['gpu'] or 'no GPU'}, torch {here['torch']}"
    facts: dict[str, Any] = {"machine": machine, "date": f"{date.today():%Y-%m-%d}", "toolkit": toolkit.__version__}
    facts |= {"steps": recipe.train.steps, "n": table.about["samples"], "seed": table.about["seed"]}
    figures = {figure.name: band for figure in table.figures if (band := _band(figure))}
    return tomli_w.dumps({"expected": {**facts, "figures": figures}})


def _measured(band: ExpectedMetric) -> str:
    """ "99.2 % (98.4 % to 99.6 %), +- 2 %"."""
    interval = "" if band.interval is None else " ({} to {})".format(*map(band.shown, band.interval))
    allowed = band.text if band.within is None else f"+- {band.shown(band.within)}"
    return f"{band.shown(band.value)}{interval}, {allowed}"


def _band(figure: Metric) -> dict[str, Any]:
    """Nothing for a figure that says little about the model, or has no interval to make a band of."""
    if figure.value is None or figure.low is None or figure.high is None:
        return {}
    if figure.name.startswith(_PER_LABEL) or figure.name == _ABOUT_THE_JUDGE:
        return {}
    low, high = figure.low, figure.high
    found: dict[str, Any] = {"value": _short(figure.value), "within": _short(SLACK * max(high - low, 1e-9) / 2)}
    found["interval"] = [_short(low), _short(high)]
    return found | {key: value for key in ("judge", "unit") if (value := getattr(figure, key))}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
