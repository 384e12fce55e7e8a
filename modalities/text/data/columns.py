"""Choose the columns of a table, or fields of JSON rows, that hold the text: by the user, or by names and values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

PAIRS = (
    ("src", "trg"), ("src", "tgt"), ("source", "target"), ("mr", "ref"), ("input", "output"), ("prompt", "completion"),
    ("prompt", "response"), ("instruction", "output"), ("instruction", "response"), ("question", "answer"),
    ("article", "summary"), ("document", "summary"), ("frage", "antwort"), ("quelle", "ziel"),
)  # fmt: skip
"""Names of a source and the target to be written."""
TEXTS = ("text", "texts", "sentence", "body", "content", "document", "article", "quote", "comment", "review", "satz")
LABELS = {
    "label",
    "labels",
    "class",
    "category",
    "genre",
    "author",
    "speaker",
    "lang",
    "language",
    "sentiment",
    "split",
}
_NO_TEXTS = {
    "id",
    "idx",
    "index",
    "nr",
    "no",
    "file",
    "filename",
    "path",
    "url",
    "date",
    "datum",
    "nummer",
    "uuid",
    "guid",
}
_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9 .,:/eE%+-]*\s*")
_MOSTLY = 0.9


class Choice(NamedTuple):
    """Columns that are read, by their place."""

    places: tuple[int, ...]
    label: int | None
    why: str
    """Explanation of the choice to the user; "" where all columns are read."""
    change: str
    """The option that changes the choice; "" where nothing was guessed."""


class NoColumns(Exception):
    """There is no such column, or none with text; the message says what there is."""


def choose(
    names: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str], field: str, label: str, option: str
) -> Choice:
    """Return the columns to read. Raises NoColumns.

    rows: some of the table. columns, field, label: what a user said, or "". option: what names columns: "--columns" or
    "--field".
    """
    known = {name: place for place, name in reversed(list(enumerate(names)))}
    numbers = {str(place + 1): place for place in range(len(names))}
    by_label = _place(label, known, numbers, names) if label else None
    if columns:
        return Choice(tuple(_place(name, known, numbers, names) for name in columns), by_label, "", "")
    if field and field in known:
        return Choice((known[field],), by_label, "", "")
    if field:
        _place(field, known, {}, names)
    texts = [place for place in range(len(names)) if place != by_label and _is_text(names[place], place, rows)]
    places = _guess(names, rows, texts, by_label)
    unread = [name for place, name in enumerate(names) if place not in places and place != by_label]
    if not places:
        raise NoColumns(f"no column holds text; it has {', '.join(names)[:200]}; say which with --columns")
    used = " given, ".join(names[place] for place in places) + (" written" if len(places) == 2 else "")
    why = f"{used} (not used: {', '.join(unread)})" if unread else used
    other = next((names[place] for place in texts if place not in places), "")
    labels = [name for name in unread if name.casefold() in LABELS]
    if labels and not other:
        change = f"--labels column:{labels[0]}"
    else:
        change = "" if len(names) == 1 else f"{option} {other or (unread or [names[places[-1]]])[0]}"
    return Choice(tuple(places), by_label, why if len(names) > 1 else "", change)


def value_at(row: Mapping[str, object], name: str) -> object:
    """Return the value of a field, "translation.en" of a nested one; raises KeyError where there is none."""
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    inner = row[head]
    if dot and isinstance(inner, Mapping):
        return value_at(inner, rest)
    raise KeyError(name)


def string_fields(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names of fields that are strings in at least half of the rows, nested ones too, in their order."""
    counts: dict[str, int] = {}
    for row in rows:
        for name, value in _flat(row):
            if isinstance(value, str):
                counts[name] = counts.get(name, 0) + 1
    return [name for name, count in counts.items() if count >= len(rows) / 2]


def _flat(row: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    columns: list[tuple[str, object]] = []
    for name, value in row.items():
        if isinstance(value, Mapping) and not prefix:
            columns += _flat(value, f"{name}.")
        else:
            columns.append((prefix + name, value))
    return columns


def _place(name: str, known: Mapping[str, int], numbers: Mapping[str, int], names: Sequence[str]) -> int:
    if name in known:
        return known[name]
    if name in numbers:
        return numbers[name]
    near = get_close_matches(name, list(known), n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(names)[:200]}"
    raise NoColumns(f"no column '{name}'{hint}")


def _guess(names: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int], label: int | None) -> list[int]:
    """Return a known pair, the column called text, the two of a table of two, or the longest."""
    plain = [name.casefold().strip().rpartition(".")[2] for name in names]
    for source, target in PAIRS:
        if source in plain and target in plain:
            return [plain.index(source), plain.index(target)]
    if len(texts) <= 1 or (len(texts) == 2 and len(names) - (label is not None) == 2 and "text" not in plain):
        return list(texts)
    for name in TEXTS:
        if name in plain and plain.index(name) in texts:
            return [plain.index(name)]
    spaced = [place for place in texts if any(" " in row[place].strip() for row in rows)]
    if len(spaced) == 2:
        return spaced
    return [max(texts, key=lambda place: sum(len(row[place]) for row in rows))]


def _is_text(name: str, place: int, rows: Sequence[Sequence[str]]) -> bool:
    if name.casefold() in LABELS | _NO_TEXTS:
        return False
    values = [row[place] for row in rows if row[place]]
    if values and sum(bool(_NUMBER.fullmatch(value)) for value in values) >= _MOSTLY * len(values):
        return False
    few = len(values) >= 50 and len(set(values)) <= 0.05 * len(values)
    return not (few and all(len(value.split()) <= 2 for value in values))  # a category
