"""The measured figures of the shipped recipes as Markdown tables, and an evaluated run as an [expected] section."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

import toolkit
from toolkit import recipe as recipes
from toolkit.errors import DataError, UsageError
from toolkit.recipe import Recipe
from toolkit.recipe.expected import Expected, ExpectedMetric

if TYPE_CHECKING:
    from toolkit.evaluation.table import Metric

Measured = Iterable[tuple[str, Recipe]]
"""Recipes by their full name, e.g. "image/digits"; those without measured figures have no row."""

BEGIN = "<!-- results: written by `toolkit results --write README.md` from the recipes -->"
BEGIN_FULL = "<!-- results in full: written by `toolkit results --write docs/results.md` from the recipes -->"
END = "<!-- end of results -->"
SLACK = 2.0
"""Half width of a proposed band, in 95 % intervals: another training run differs too."""
_PER_LABEL = "agreement/"
_ABOUT_THE_JUDGE = "judge accuracy"


def markdown(measured: Measured) -> str:
    """One row a recipe: minutes, its first figure with the interval, what stands beside it; "" without any row."""
    rows = []
    for name, expected, recipe in _with_figures(measured):
        metric, band = next(iter(expected.figures.items()))
        if expected.minutes:
            minutes = f"{expected.minutes:g}"
        else:
            minutes = f"{recipe.train.minutes:g} planned" if recipe.train.minutes else ""
        rows.append((name, minutes, _value(metric, band), band.beside, f"`toolkit reproduce {name}`"))
    return _table(("recipe", "minutes", "came to (95 % interval)", "beside it", "command"), rows)


def markdown_in_full(measured: Measured) -> str:
    """One row a recipe: all figures, the band of a reproduction, and where and when; "" without any row."""
    rows = []
    for name, expected, recipe in _with_figures(measured):
        figures = "<br>".join(f"{_value(*item)}, {_band_text(*item)}" for item in expected.figures.items())
        steps = f"{expected.steps or recipe.train.steps or 0:,} steps"
        length = f"{expected.minutes:g} ({steps})" if expected.minutes else steps
        where = f"{expected.machine}; {expected.date}, version {expected.toolkit}"
        rows.append((name, length, figures, where))
    return _table(("recipe", "minutes", "came to, and a reproduction must come to", "where and when"), rows)


def rewritten(text: str, measured: Measured, where: str = "README.md") -> str:
    """Return `text` with each table between its two marker lines written anew.

    Raises UsageError where there are no markers, or a pair of them twice.
    """
    by_name = list(measured)
    tables = {BEGIN: markdown(by_name), BEGIN_FULL: markdown_in_full(by_name)}
    places = {begin: re.compile(rf"(?<={re.escape(begin)}\n).*?(?=\n{re.escape(END)})", re.DOTALL) for begin in tables}
    counts = [len(place.findall(text)) for place in places.values()]
    if not any(counts) or max(counts) > 1:
        raise UsageError(f"{where} must have one line '{BEGIN}' and after it one line '{END}'")
    for begin, place in places.items():
        text = place.sub(tables[begin].replace("\\", r"\\"), text)
    return text


def shipped_recipes() -> list[tuple[str, Recipe]]:
    """Return all shipped recipes by full name."""
    return [(name, recipes.load(name)) for name in recipes.list_recipes()]


def section(run: Path) -> str:
    """Return what `toolkit evaluate RUN` wrote as an [expected] section, to trim and append to the recipe.

    Raises UsageError, DataError.
    """
    from toolkit.evaluation.table import Table
    from toolkit.run.generator import read_run
    from toolkit.training.precision import features

    recipe, _ = read_run(run, partial(print, file=sys.stderr))  # what is printed here is TOML for a file
    path = run / "evaluation" / "metrics.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; `toolkit evaluate {run}` writes it")
    table = Table.read(path)
    end = recipe.train.steps
    if (step := table.about.get("step", end)) != end:
        raise DataError(f"{path} is of step {step}, and the run ends at step {end}; evaluate it again at its end")
    here = features()
    vector = "AVX512-BF16" if here["avx512_bf16"] else here["vector"]
    processor = f"{here['threads']} threads of {here['processor']} ({vector})"
    machine = f"{processor}, {here['gpu'] or 'no GPU'}, torch {here['torch']}"
    facts: dict[str, Any] = {"machine": machine, "date": f"{date.today():%Y-%m-%d}", "toolkit": toolkit.__version__}
    facts |= {"steps": recipe.train.steps, "n": table.about["samples"], "seed": table.about["seed"]}
    figures = {figure.name: band for figure in table.figures if (band := _band(figure))}
    return tomli_w.dumps({"expected": {**facts, "figures": figures}})


def _with_figures(measured: Measured) -> Iterator[tuple[str, Expected, Recipe]]:
    return ((name, recipe.expected, recipe) for name, recipe in measured if recipe.expected.figures)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    cells = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _value(metric: str, band: ExpectedMetric) -> str:
    """A value with its interval: "agreement 99.2 % (98.4 % to 99.6 %)"."""
    band = _without_repetition(metric, band)
    interval = "" if band.interval is None else " ({} to {})".format(*map(band.text_of, band.interval))
    return f"{metric} {band.text_of(band.value)}{interval}"


def _band_text(metric: str, band: ExpectedMetric) -> str:
    """Return the band of a reproduction: "+- 2 %", "at least 85 %"."""
    band = _without_repetition(metric, band)
    return band.text if band.within is None else f"+- {band.text_of(band.within)}"


def _without_repetition(metric: str, band: ExpectedMetric) -> ExpectedMetric:
    """The band without a unit that repeats the name: "bits/character 3.1", not "bits/character 3.1 bits/character"."""
    return band.model_copy(update={"unit": ""}) if band.unit == metric else band


def _band(figure: Metric) -> dict[str, Any]:
    """A metric as a table for TOML; empty for one without an interval, or that says little about the model."""
    if figure.value is None or figure.low is None or figure.high is None:
        return {}
    if figure.name.startswith(_PER_LABEL) or figure.name == _ABOUT_THE_JUDGE:
        return {}
    low, high = figure.low, figure.high
    band: dict[str, Any] = {"value": _short(figure.value), "within": _short(SLACK * max(high - low, 1e-9) / 2)}
    band["interval"] = [_short(low), _short(high)]
    band |= {key: value for key in ("judge", "unit") if (value := getattr(figure, key))}
    if figure.floor is not None:
        floor = ExpectedMetric(value=figure.floor, at_least=figure.floor, unit=figure.unit)
        band["beside"] = f"{floor.text_of(figure.floor)} of real data"
    return band


def _short(value: float) -> float:
    return float(f"{value:.4g}")
