"""What `toolkit evaluate` measured: every metrics.json in a run's evaluation/ folder, as rows for page and card."""

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


class Judged(NamedTuple):
    """One metrics.json."""

    name: str
    """The folder in evaluation/; "" for the recipe's own settings."""
    table: Table

    @property
    def about(self) -> str:
        """How it came about, in one line."""
        said = {key: f"{v:.6g}" if isinstance(v, float) else str(v) for key, v in self.table.about.items()}
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())

    @property
    def told(self) -> list[Metric]:
        """The figures that have a value."""
        return [figure for figure in self.table.figures if figure.value is not None]

    @property
    def notes(self) -> list[str]:
        """One line for each figure that was left out, or needs a word."""
        return notes(self.table)

    def cells(self, expected: Mapping[str, ExpectedMetric]) -> tuple[list[str], list[list[str]]]:
        """Headings and rows; with `expected`, by a figure's `what`, one more column, and what was not measured."""
        headings, found = rows([self.table])
        headings[:2] = ["figure", "value (95 % interval)"]
        if not expected:
            return headings, found
        figures = {figure.title: figure for figure in self.table.figures}
        for row in found:
            row.append(_beside(figures[row[0]], expected))
        measured = {figures[name].name for name, *_ in found}
        blank = [""] * (len(headings) - 1)
        missing = [[what, *blank, band.text] for what, band in expected.items() if what not in measured]
        return [*headings, "expected"], found + missing


def _beside(figure: Metric, expected: Mapping[str, ExpectedMetric]) -> str:
    """What was expected of a figure, and whether that is what came out."""
    band = expected.get(figure.name)
    if band is None or figure.value is None:
        return "" if band is None else band.text
    if band.judge and band.judge != figure.judge:
        return f"{band.text}, under another judge"
    return f"{band.text}: {'yes' if band.holds(figure.value) else 'NO'}"


def judged(run: Path) -> Iterator[Judged]:
    """The tables of a run, its own settings first; what is damaged or of another format is left out."""
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
            yield Judged("" if path.parent == root else path.parent.name, table)


def _finite(figure: Metric) -> bool:
    numbers = (figure.value, figure.low, figure.high, figure.floor, figure.ceiling)
    return all(value is None or run_files.number(value) is not None for value in numbers)


def place(figure: Metric) -> float | None:
    """Where the value is on the way from real (0) to noise (1), when both are known; it may be beyond either."""
    if figure.value is None or figure.floor is None or figure.ceiling is None or figure.floor == figure.ceiling:
        return None
    return (figure.value - figure.floor) / (figure.ceiling - figure.floor)
