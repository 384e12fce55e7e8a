"""Labels and splits from a file beside the data: metadata.jsonl, metadata.csv, metadata.tsv or dataset.json.

metadata.*: a row for each file, with its path in a column called file_name (or one of `NAMES`), its label in one of
`LABELS`, and perhaps its split. dataset.json: {"labels": [["00000.png", 3], ...]}, as generators of faces use it.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.console import printable
from toolkit.data.splits import role
from toolkit.errors import DataError

NAMES = ("file_name", "filename", "file", "path", "image", "audio")
LABELS = ("label", "labels", "class", "class_name", "category", "target", "genre", "tag")
SPLIT = ("split", "subset")
MAX_BYTES = 256 * 2**20


@dataclass
class Metadata:
    """Labels and splits from one or several such files."""

    labels: dict[str, str] = field(default_factory=dict)
    """File (relative to the source, NFC) -> label."""
    splits: dict[str, str] = field(default_factory=dict)
    """File -> train, test or val."""
    rows: int = 0
    column: str = ""
    """Column of the labels; "" where there is none."""
    columns: tuple[str, ...] = ()
    """All columns, for messages."""
    unusable: int = 0
    """Rows without a file's name, or with a label that is a list or an object."""


def read(paths: Iterable[Path], root: Path, column: str | None = None) -> Metadata:
    """Return the labels and splits that `paths` give. column: of the labels; None: the first of `LABELS` there is.

    Raises DataError for a file that cannot be read.
    """
    result = Metadata()
    for path in paths:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES // 2**20} MB")
            text = path.read_bytes().decode("utf-8-sig")
            rows = list(_rows(path.name.lower(), text))
        except (OSError, ValueError, RecursionError, csv.Error) as error:
            why = printable(" ".join(str(error).split()))[:160]
            raise DataError(f"{path} cannot be read ({why}); mend or remove it, or say --labels folders") from None
        folder = path.parent.relative_to(root).as_posix()
        _add(result, rows, "" if folder == "." else f"{folder}/", column)
    return result


def plain(name: str) -> str:
    """Return a path as it is compared: NFC, forward slashes, without ./ in front."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def _rows(name: str, text: str) -> Iterable[Mapping[str, Any]]:
    if name.endswith(".json"):
        content = json.loads(text)
        labels = content.get("labels") if isinstance(content, dict) else content
        if isinstance(labels, dict):
            labels = list(labels.items())
        if labels is None:
            return
        if not isinstance(labels, list):
            raise ValueError('it must hold {"labels": [["FILE", LABEL], ...]}')
        for pair in labels:
            if isinstance(pair, dict):
                yield pair
            elif isinstance(pair, list | tuple) and len(pair) == 2:
                yield {"file_name": pair[0], "label": pair[1]}
            else:
                raise ValueError('each of its labels must be ["FILE", LABEL]')
    elif name.endswith(".jsonl"):
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no object")
                yield row
    else:
        header = text.partition("\n")[0]
        comma = max(",;\t|", key=header.count)
        yield from csv.DictReader(io.StringIO(text, newline=""), delimiter=comma, strict=True)


def _add(result: Metadata, rows: list[Mapping[str, Any]], folder: str, column: str | None) -> None:
    columns = tuple(dict.fromkeys(str(key) for row in rows[:1000] for key in row if key is not None))
    result.columns = tuple(dict.fromkeys((*result.columns, *columns)))
    by_lower = {name.casefold().strip(): name for name in columns}
    file_column = next((by_lower[name] for name in NAMES if name in by_lower), None)
    wanted = (column.casefold(),) if column else LABELS
    label_column = next((by_lower[name] for name in wanted if name in by_lower), None)
    split_column = next((by_lower[name] for name in SPLIT if name in by_lower), None)
    result.column = result.column or label_column or ""
    for row in rows:
        result.rows += 1
        name = row.get(file_column) if file_column is not None else None
        if not isinstance(name, str) or not name.strip():
            result.unusable += 1
            continue
        key = folder + plain(name.strip())
        label = row.get(label_column) if label_column is not None else None
        if isinstance(label, bool | int | str) or (isinstance(label, float) and label.is_integer()):
            text = str(int(label)) if isinstance(label, float) else str(label).strip()
            if text:
                result.labels[key] = text
        elif label is not None:
            result.unusable += 1
        split = row.get(split_column) if split_column is not None else None
        if isinstance(split, str) and (known := role(split.strip())) is not None:
            result.splits[key] = known
