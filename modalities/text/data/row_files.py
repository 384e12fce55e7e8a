"""Rows of tables and JSON files: their texts and labels, by what a user says or by what the first rows show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from modalities.text.data import columns, dialects, formats, json_rows, tables, text_files
from modalities.text.data.columns import Choice, NoColumns
from modalities.text.data.text_files import Problems
from modalities.text.options import Data

LOOKED_AT = 1_000
"""Rows on which a file's dialect and columns are chosen."""
Row = tuple[list[str], str]
"""Texts (one, or a source and a target) and a label, "" where there is none."""


def table(parts: Iterable[str], name: str, options: Data, problems: Problems) -> Iterator[Row]:
    """Yield the rows of a table."""
    lines = text_files.rows(parts, name, problems)
    head = list(islice(lines, LOOKED_AT))
    cut = len(head) == LOOKED_AT
    ending = formats.ending(name)
    dialect = dialects.find(head, ending, options.delimiter, options.header, options.quotes, cut)
    problems.guess("dialects", dialect.description)
    if any('"' in line for line in head):
        problems.guess("quotes", "enclose fields" if dialect.quotes else "are text")

    def odd(kind: str) -> None:
        (problems.note_loss if kind == tables.BROKEN else problems.note_repair)(name, kind)

    written = dialect.delimiter, dialect.quotes, dialect.columns
    some = [row for row in tables.records(iter(head), *written, lambda kind: None, cut) if len(row) == dialect.columns]
    names = some[0] if dialect.header and some else [str(i + 1) for i in range(dialect.columns)]
    field = options.field if options.field in names and options.field != "text" else ""
    choice = _choice(name, [cell.strip() for cell in names], some[dialect.header :], field, options, problems)
    if choice is None:
        return
    called = ", ".join(names)
    problems.guess("header", f"the first row: {called}" if dialect.header else f"none, the columns are called {called}")
    wrong = f"rows that are not {dialect.columns} columns, left out"
    every = (row for row in tables.records(chain(head, lines), *written, odd) if row)
    for row in islice(every, int(dialect.header), None):
        if len(row) != dialect.columns:
            problems.note_loss(name, wrong)
        else:
            yield [row[i] for i in choice.places], "" if choice.label is None else row[choice.label]


def json(parts: Iterable[str], name: str, options: Data, problems: Problems) -> Iterator[Row]:
    """Yield the rows of a JSON file."""
    values = json_rows.values(parts, name, formats.ending(name), problems)
    head = list(islice(values, LOOKED_AT))
    objects = [value for value in head if isinstance(value, dict)]
    strings = sum(isinstance(value, str) for value in head)
    every = chain(head, values)
    if strings > len(objects):
        for value in every:
            if isinstance(value, str):
                yield [_plain(value, name, problems)], ""
            else:
                problems.note_loss(name, f"rows that are {_kind_of(value)}, not a string, left out")
        return
    known = columns.string_fields(objects)
    all_names = known + [key for row in objects for key in row if key not in known]
    names = list(dict.fromkeys(all_names))
    rows = _columns(options)
    field = "" if rows else options.field if options.field != "text" or "text" in known else ""
    sample = [[_or_empty(row, key) for key in known] for row in objects]
    usable = names if rows or (field and field not in known) else known
    wide = [row + [""] * (len(usable) - len(known)) for row in sample]
    choice = _choice(name, usable, wide, field, options, problems, names) if objects else None
    if choice is None:
        for value in every:
            if not isinstance(value, dict):
                problems.note_loss(name, f"rows that are {_kind_of(value)}, not an object, left out")
        return
    fields = [usable[place] for place in choice.places]
    if not rows and not choice.why and fields != [options.field]:
        problems.guess("columns", f"no field '{options.field}', but {fields[0]}")
        problems.change = f"--field {fields[0]}"
    by = options.labels.partition(":")[2]
    for value in every:
        if not isinstance(value, dict):
            problems.note_loss(name, f"rows that are {_kind_of(value)}, not an object, left out")
            continue
        texts = []
        for field in fields:
            try:
                text = columns.value_at(value, field)
            except KeyError:
                problems.note_loss(name, f"rows without field '{field}', left out")
                break
            if not isinstance(text, str):
                problems.note_loss(name, f"rows whose field '{field}' is {_kind_of(text)}, left out")
                break
            texts.append(_plain(text, name, problems))
        else:
            yield texts, _label_of(value, by) if by else ""


def _choice(
    name: str, names: list[str], rows: list[list[str]], field: str, options: Data, problems: Problems,
    labels: list[str] | None = None,
) -> Choice | None:  # fmt: skip
    """Return the columns of a file, or None where there are none, which is noted. labels: possible names of a label."""
    by = options.labels.partition(":")[2] if options.labels.startswith("column:") else ""
    if by and labels is not None and by not in names:
        names = [*names, *([by] if by in labels else [])]
        rows = [[*row, ""] for row in rows] if by in labels else rows
    try:
        choice = columns.choose(names, rows, _columns(options), field, by, "--columns")
    except NoColumns as why:
        problems.reject(name, str(why))
        return None
    if choice.why:
        problems.guess("columns", choice.why, True)
        problems.change = choice.change
    return choice


def _columns(options: Data) -> tuple[str, ...]:
    return tuple(name.strip() for name in options.columns.split(",")) if options.columns else ()


def _or_empty(row: dict[str, object], name: str) -> str:
    try:
        value = columns.value_at(row, name)
    except KeyError:
        return ""
    return value if isinstance(value, str) else ""


def _label_of(row: dict[str, object], name: str) -> str:
    try:
        value = columns.value_at(row, name)
    except KeyError:
        return ""
    return str(value) if isinstance(value, str | int | float) else ""


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}.get(
        type(value), "an object"
    )


def _plain(text: str, name: str, problems: Problems) -> str:
    """Return a string of JSON as text files are read."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        problems.note_repair(name, text_files.NUL, text.count("\0"))
        text = text.replace("\0", "")
    return text
