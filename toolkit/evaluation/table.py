"""Results of an evaluation: metrics with intervals, beside those of real examples and of noise; as table and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

import toolkit
from toolkit.errors import DataError
from toolkit.training.storage.files import read_capped

FORMAT = 1
MAX_BYTES = 16 << 20
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
    """Name without the judge, e.g. "FD"."""
    value: float | None
    """None where it is left out; `note` has the reason."""
    low: float | None = None
    """Lower end of the 95 % interval, and `high` its upper end; None where there is no interval."""
    high: float | None = None
    n: int = 0
    """Examples behind the value."""
    floor: float | None = None
    """The same metric of real examples, at the same n."""
    ceiling: float | None = None
    """The same metric of noise."""
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
    """Number of the training example nearest to each sample, (n,) int64."""
    distance: Tensor | None = None
    """Distance to it, (n,)."""


def omission(name: str, reason: str, judge: str = "") -> Metric:
    """Return the row of a metric that makes no sense here."""
    return Metric(name, None, judge=judge, note=reason)


@dataclass(frozen=True)
class Table:
    """All metrics of one run or folder, and the settings that they were measured with."""

    figures: tuple[Metric, ...]
    about: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Metric:
        """Return the metric called `name`. Raises KeyError."""
        for metric in self.figures:
            if metric.name == name:
                return metric
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(metric.name == name for metric in self.figures)

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        rows = []
        for metric in self.figures:
            row = {key: _plain(value) for key, value in asdict(metric).items()}
            rows.append({"what": row.pop("name"), "name": metric.title, "judge": row.pop("judge"), **row})
        about = {key: _plain(value) for key, value in self.about.items()}
        return {"format": FORMAT, "toolkit": toolkit.__version__, "about": about, "figures": rows}

    def to_json(self) -> str:
        """Return metrics.json as text, without NaN and infinity, which JSON lacks."""
        return json.dumps(self.to_mapping(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Table:
        """Return the table of a file, perhaps a stranger's. Raises DataError."""
        try:
            return cls.from_json(read_capped(path, MAX_BYTES).decode("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise DataError(f"{path} cannot be read ({why}); run `toolkit evaluate` again") from None

    @classmethod
    def from_json(cls, text: str, where: str = "metrics.json") -> Table:
        """Return the table of metrics.json; keys of later versions are ignored. Raises DataError."""
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise ValueError(f"not of format {FORMAT}")
            about = content["about"]
            metrics = tuple(_metric(row) for row in content["figures"])
            if not isinstance(about, dict):
                raise ValueError("'about' is no table")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{where} holds no evaluation ({error}); run `toolkit evaluate` again") from None
        return cls(metrics, about)


def rows(tables: Sequence[Table]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of one table, with a column for each of `tables`; real and noise are the first's.

    Metrics that were left out are not in it: see `notes`.
    """
    titles = [str(table.about.get("subject", "value")) for table in tables]
    names: dict[str, Metric] = {}
    for table in tables:
        for metric in _overview(table.figures):
            names.setdefault(metric.title, metric)
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
    """Return one line for each metric that was left out, or has a note."""
    return [f"{f.name}{' left out' if f.value is None else ''}: {f.note}" for f in table.figures if f.note]


def _overview(metrics: Sequence[Metric]) -> list[Metric]:
    labels = [f for f in metrics if f.name.startswith("agreement/")]
    if len(labels) <= SHOWN_LABELS:
        return list(metrics)
    worst = sorted(labels, key=lambda f: f.value if f.value is not None else 1.0)[:_WORST]
    return [f for f in metrics if f not in labels or f in worst]


def _cell(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return ""
    text = _number(metric.value, metric.unit)
    if metric.low is None or metric.high is None:
        return text
    low, high = (_number(edge, metric.unit).split(" ")[0] for edge in (metric.low, metric.high))
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
    fields = {key: value for key, value in row.items() if key in _FIELDS}
    for key, value in fields.items():
        if not isinstance(value, _FIELDS[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise ValueError(f"'{key}' of figure {row.get('what')!r:.60} cannot be {value!r:.60}")
    if fields.get("better", "lower") not in ("lower", "higher", "floor"):
        raise ValueError(f"'better' cannot be {fields['better']!r:.60}")
    return Metric(fields.pop("what"), **fields)
