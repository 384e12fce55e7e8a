"""What an evaluation says: figures with intervals, beside what real examples and noise score; as table and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor

import toolkit
from toolkit.errors import DataError

FORMAT = 1
SHOWN_LABELS = 12
"""Data with more labels has only its worst ones in a table; JSON has all."""
_WORST = 3
_FIELDS = {
    "what": str,
    "value": (int, float, type(None)),
    "low": (int, float, type(None)),
    "high": (int, float, type(None)),
    "n": int,
    "floor": (int, float, type(None)),
    "ceiling": (int, float, type(None)),
    "better": str,
    "judge": str,
    "unit": str,
    "note": str,
}


@dataclass(frozen=True)
class Metric:
    """One number about a set of examples."""

    name: str
    """E.g. "FD"."""
    value: float | None
    """None: left out, and `note` has the reason."""
    low: float | None = None
    """The 95 % interval."""
    high: float | None = None
    n: int = 0
    """Examples behind the value."""
    floor: float | None = None
    """The same figure for real examples, at the same n."""
    ceiling: float | None = None
    """The same figure for noise."""
    better: Literal["lower", "higher", "floor"] = "lower"
    """floor: the nearer to the floor the better."""
    judge: str = ""
    """Data set and hash of the judge, when the value means something only under one: values of two never compare."""
    unit: str = ""
    """"share": 0 to 1, shown as a percentage."""
    note: str = ""

    @property
    def title(self) -> str:
        """Name and judge: "FD-digits-3f2a1c"."""
        return f"{self.name}-{self.judge}" if self.judge else self.name


class EvaluationResult(NamedTuple):
    """The metrics of samples, and the training examples that they are nearest to."""

    figures: list[Metric]
    nearest: Tensor | None = None
    """(n,) int64: the number of the training example nearest to each made one."""
    distance: Tensor | None = None
    """(n,): how far it is."""


def left_out(what: str, reason: str, judge: str = "") -> Metric:
    """The row of a figure that makes no sense here."""
    return Metric(what, None, judge=judge, note=reason)


@dataclass(frozen=True)
class Table:
    """All figures of one run or folder, and how they came about."""

    figures: tuple[Metric, ...]
    about: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __getitem__(self, what: str) -> Metric:
        """The figure called `what`. Raises KeyError."""
        for figure in self.figures:
            if figure.name == what:
                return figure
        raise KeyError(what)

    def __contains__(self, what: object) -> bool:
        return any(figure.name == what for figure in self.figures)

    def to_mapping(self) -> dict[str, Any]:
        """What metrics.json holds."""
        rows = []
        for figure in self.figures:
            row = {key: _plain(value) for key, value in asdict(figure).items()}
            rows.append({"what": row.pop("name"), "name": figure.title, "judge": row.pop("judge"), **row})
        about = {key: _plain(value) for key, value in self.about.items()}
        return {"format": FORMAT, "toolkit": toolkit.__version__, "about": about, "figures": rows}

    def to_json(self) -> str:
        """metrics.json, without NaN and infinity, which JSON lacks."""
        return json.dumps(self.to_mapping(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "metrics.json") -> Table:
        """The inverse of `to_json`; keys of later versions are ignored. Raises DataError."""
        try:
            found = json.loads(text)
            if not isinstance(found, dict) or found.get("format") != FORMAT:
                raise ValueError(f"not of format {FORMAT}")
            about = found["about"]
            figures = tuple(_metric(row) for row in found["figures"])
            if not isinstance(about, dict):
                raise ValueError("'about' is no table")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{where} holds no evaluation ({error}); run `toolkit evaluate` again") from None
        return cls(figures, about)


def rows(tables: Sequence[Table]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of one table, with a column for each of `tables`; `real` and `noise` are those of the first.

    Figures that were left out are not in it: see `notes`.
    """
    titles = [str(table.about.get("subject", "value")) for table in tables]
    names: dict[str, Metric] = {}
    for table in tables:
        for figure in _shown(table.figures):
            names.setdefault(figure.title, figure)
    cells = []
    for name, first in names.items():
        values = [next((f for f in table.figures if f.title == name), None) for table in tables]
        if all(f is None or f.value is None for f in values):
            continue
        bound = [_number(edge, first.unit) for edge in (first.floor, first.ceiling)]
        better = "as real" if first.better == "floor" else first.better
        cells.append([name, *(_cell(f) for f in values), *bound, better, f"{first.n:,}"])
    return ["", *titles, "real", "noise", "better", "n"], cells


def notes(table: Table) -> list[str]:
    """One line for each figure that was left out, or needs a word."""
    return [f"{f.name}{' left out' if f.value is None else ''}: {f.note}" for f in table.figures if f.note]


def _shown(figures: Sequence[Metric]) -> list[Metric]:
    labels = [f for f in figures if f.name.startswith("agreement/")]
    if len(labels) <= SHOWN_LABELS:
        return list(figures)
    worst = sorted(labels, key=lambda f: f.value if f.value is not None else 1.0)[:_WORST]
    return [f for f in figures if f not in labels or f in worst]


def _cell(figure: Metric | None) -> str:
    if figure is None or figure.value is None:
        return ""
    text = _number(figure.value, figure.unit)
    if figure.low is None or figure.high is None:
        return text
    low, high = (_number(edge, figure.unit).split(" ")[0] for edge in (figure.low, figure.high))
    return f"{text} ({low} to {high})"


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    if unit == "share":
        return f"{100 * value:.1f} %"
    # three digits that mean something
    size = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"
    size = f"{value:.4f}" if 0 < abs(value) < 0.1 else size
    return f"{size} {unit}".rstrip()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _metric(row: Any) -> Metric:
    if not isinstance(row, dict):
        raise ValueError("a figure is no table")
    known = {key: value for key, value in row.items() if key in _FIELDS}
    for key, value in known.items():
        if not isinstance(value, _FIELDS[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise ValueError(f"'{key}' of figure {row.get('what')!r:.60} cannot be {value!r:.60}")
    if known.get("better", "lower") not in ("lower", "higher", "floor"):
        raise ValueError(f"'better' cannot be {known['better']!r:.60}")
    return Metric(known.pop("what"), **known)
