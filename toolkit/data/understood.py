"""The block "what I understood": everything that a reader takes, leaves, crops or guesses, in rows.

A modality's `load` makes it, in the order of `ORDER`; `toolkit data inspect` and `toolkit train` print it, the run
keeps it in data.json, and the report shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, JsonValue

from toolkit.console import printable

SHOWN = 3
"""Names that a row lists; the others are counted."""
LABELS_SHOWN = 12


class Row(BaseModel):
    """One thing that was understood of the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Two or three words: "files", "labels", "sizes"."""
    value: str
    """One line for people."""
    data: JsonValue = None
    """The same for programs: numbers, names and counts."""
    change: str = ""
    """The option that changes a guess, as typed: "--labels none"; "" where nothing was guessed."""
    warning: bool = False
    """True where something was lost, or is likely not what the user wants."""


class Understood(BaseModel):
    """All rows about a data set, and the values that its guesses came to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: tuple[Row, ...] = ()
    proposals: dict[str, JsonValue] = {}
    """Values at dotted keys of a recipe, {"data.rate": 16000, "model.preset": "tiny"}: what fits this data."""

    def row(self, name: str) -> Row | None:
        """Return the row called `name`, or None."""
        return next((row for row in self.rows if row.name == name), None)


def counts_text(values: Iterable[str], shown: int = LABELS_SHOWN) -> str:
    """Return "a (80), b (12), ... 3 more", the most frequent first; "a" alone where all are equal."""
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return printable(counts[0][0])
    text = ", ".join(f"{printable(value)} ({count:,})" for value, count in counts[:shown])
    return text + (f", ... {len(counts) - shown:,} more" if len(counts) > shown else "")


def few(names: Sequence[str], shown: int = SHOWN) -> str:
    """Return "2: a; b", or "12: a; b; c ..." of names."""
    text = "; ".join(printable(name) for name in names[:shown])
    return f"{len(names):,}: {text}" + (" ..." if len(names) > shown else "")


def files(read: Sequence[str], passed_over: Mapping[str, int], formats: str) -> Row:
    """Return the row about endings. read: names of the files used. passed_over: number of others by their ending."""
    endings = Counter(PurePosixPath(name).suffix.lower() for name in read)
    used = counts_text(PurePosixPath(name).suffix.lower() or "without ending" for name in read) if read else "none"
    value = f"{len(read):,} read: {used}"
    others = sum(passed_over.values())
    if others:
        kinds = counts_text(ending or "without ending" for ending, n in passed_over.items() for _ in range(n))
        value += f"; {others:,} passed over: {kinds if len(passed_over) > 1 else next(iter(passed_over)) or kinds}"
        value += f" ({formats} are read)"
    data: JsonValue = {"read": dict(endings), "passed_over": dict(passed_over)}
    return Row(name="files", value=value, data=data, warning=others > len(read))


def unusable_rows(lines: Sequence[str]) -> list[Row]:
    """Return a row about files that could not be used, each line "name: reason"; none when there are none."""
    if not lines:
        return []
    return [Row(name="left out", value=few(sorted(lines)), data=sorted(lines)[:1000], warning=True)]


def notes(lines: Iterable[str]) -> list[Row]:
    """Return each line as a row of its own, called note."""
    return [Row(name="note", value=printable(line), data=line) for line in lines]


def problem(name: str, names: Sequence[str], change: str = "", more: str = "") -> list[Row]:
    """Return a warning that lists names, or no row when there are none. more: said after them."""
    if not names:
        return []
    value = few(names) + (f"; {more}" if more else "")
    return [Row(name=name, value=value, data=list(names[:1000]), change=change, warning=True)]


def table(understood: Understood, changes: bool = True) -> list[tuple[str, str]]:
    """Return (name, value) rows for people: a guess with the option that changes it, a warning with an exclamation."""
    rows = []
    for row in understood.rows:
        change = f"  [{row.change} changes it]" if changes and row.change else ""
        rows.append((("! " if row.warning else "") + row.name, row.value + change))
    return rows
