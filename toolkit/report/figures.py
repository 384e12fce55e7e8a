"""Metrics of `toolkit evaluate`: every metrics.json in a run's evaluation/ folder, as rows for page and card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from toolkit.errors import DataError
from toolkit.evaluation.table import Metric, Table, notes, rows
from toolkit.recipe.expected import ExpectedMetric
from toolkit.report import run_files

MAX_TABLES = 20
"""Tables of one run."""


class Line(NamedTuple):
    """One row of a table of figures."""

    figure: Metric | None
    """None: it is expected, and was not measured."""
    name: str
    """As it is shown."""
    cells: list[str]
    """Text behind the name."""


class Evaluation(NamedTuple):
    """One metrics.json."""

    name: str
    """The folder in evaluation/; "" for the recipe's own settings at the end of the run."""
    table: Table

    @property
    def about(self) -> str:
        """Origin of the metrics, in one line."""
        values = {key: f"{v:.6g}" if isinstance(v, float) else str(v) for key, v in self.table.about.items()}
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())

    @property
    def with_value(self) -> list[Metric]:
        """The figures that have a value."""
        return [figure for figure in self.table.figures if figure.value is not None]

    @property
    def notes(self) -> list[str]:
        """One line for each figure that was left out, or needs a word."""
        return notes(self.table)

    @property
    def judges(self) -> list[str]:
        """The judges of the figures that have a value."""
        return list(dict.fromkeys(figure.judge for figure in self.with_value if figure.judge))

    def lines(self, expected: Mapping[str, ExpectedMetric]) -> list[Line]:
        """Return one row for each figure; with `expected`, by a figure's name, what was not measured as well."""
        headings, found = rows([self.table])
        figures = {figure.title: figure for figure in self.table.figures}
        lines = []
        for title, *cells in found:
            figure = figures[title]
            beside = [_beside(figure, expected)] if expected else []
            # the hash of the judge is said once, unless there are several
            lines.append(Line(figure, figure.name if len(self.judges) <= 1 else title, [*cells, *beside]))
        measured = {line.figure.name for line in lines if line.figure is not None}
        blank = [""] * (len(headings) - 1)
        missing = [Line(None, name, [*blank, band.text]) for name, band in expected.items() if name not in measured]
        return lines + missing

    def cells(self, expected: Mapping[str, ExpectedMetric]) -> tuple[list[str], list[list[str]]]:
        """Return headings and rows of `lines` as text."""
        headings = ["figure", "value (95 % interval)", *rows([self.table])[0][2:], *["expected"] * bool(expected)]
        return headings, [[line.name, *line.cells] for line in self.lines(expected)]


def _beside(figure: Metric, expected: Mapping[str, ExpectedMetric]) -> str:
    """Return the expectation of a metric, and the verdict."""
    band = expected.get(figure.name)
    if band is None or figure.value is None:
        return "" if band is None else band.text
    if band.judge and band.judge != figure.judge:
        return f"{band.text}, under another judge"
    return f"{band.text}: {'yes' if band.holds(figure.value) else 'NO'}"


def evaluations(run: Path, end: int) -> Iterator[Evaluation]:
    """The tables of a run of `end` steps, its own settings first; what is damaged or of another format is left out."""
    root = run / "evaluation"
    for path in [root / "metrics.json", *sorted(root.glob("*/metrics.json"))][:MAX_TABLES]:
        data = run_files.content(run, path, 4 << 20)
        if data is None:
            continue
        try:
            table = Table.from_json(data.decode("utf-8", "replace"), str(path))
        except DataError:
            continue
        if all(map(_finite, table.figures)):
            step = table.about.get("step", end)
            earlier = "" if step == end else f"step-{step}"
            yield Evaluation(earlier if path.parent == root else path.parent.name, table)


def _finite(figure: Metric) -> bool:
    numbers = (figure.value, figure.low, figure.high, figure.floor, figure.ceiling)
    return all(value is None or run_files.number(value) is not None for value in numbers)


def place(figure: Metric) -> float | None:
    """Return the value's place between real (0) and noise (1), when both are known; it may be beyond either."""
    if figure.value is None or figure.floor is None or figure.ceiling is None or figure.floor == figure.ceiling:
        return None
    return (figure.value - figure.floor) / (figure.ceiling - figure.floor)
