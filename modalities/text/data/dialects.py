"""Guess how a table is written: what divides its columns, whether quotes enclose fields, and if names come first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modalities.text.data.tables import records

DELIMITERS = {"tab": "\t", ";": ";", "|": "|", ",": ","}
"""Names that a user types, and their characters; of equally good ones the first is taken."""
DEFAULTS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
NAMES = {
    "text", "texts", "sentence", "sentences", "line", "body", "content", "document", "title", "id", "idx", "index",
    "nr", "no", "name", "names", "label", "labels", "class", "category", "genre", "author", "speaker", "lang", "date",
    "language", "src", "trg", "tgt", "source", "target", "mr", "ref", "input", "output", "question", "answer", "prompt",
    "completion", "response", "instruction", "word", "words", "key", "value", "score", "rating", "quote", "url", "user",
    "comment", "review", "summary", "article", "tweet", "translation", "original", "frage", "antwort", "wort", "satz",
    "quelle", "ziel", "datum", "nummer", "preis", "de", "en", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja",
    "sv", "fi", "cs", "el", "tr", "ar",
}  # fmt: skip
"""Words that are common in a first row of names."""
NOTHING = "\x1f"
"""Stand-in for the delimiter of a table of one column that holds commas."""
_ENOUGH, _RAGGED = 0.9, 0.6
_NUMBER = re.compile(r"[-+]?[0-9][0-9 .,:/%-]*[€$£]?|[-+]?[0-9.,]+e[-+]?[0-9]+", re.IGNORECASE)
_LONGEST_NAME = 60
_SENTENCE_END = (".", "!", "?", ";", "…", "。")


@dataclass(frozen=True)
class Dialect:
    """Form in which a table is written."""

    delimiter: str
    quotes: bool
    header: bool
    columns: int
    consistent: float = 1.0
    """Share of the rows that were looked at with so many columns."""

    @property
    def description(self) -> str:
        """For people: "2 columns divided by ;"."""
        mark = "tabs" if self.delimiter == "\t" else self.delimiter
        return f"{self.columns} columns divided by {mark}" if self.columns > 1 else "1 column"


def find(
    lines: Sequence[str],
    ending: str,
    delimiter: str = "auto",
    header: str = "auto",
    quotes: str = "auto",
    cut: bool = False,
) -> Dialect:
    """Return the dialect of a table by its first lines, without their ends.

    delimiter, header, quotes: as in options.Data. cut: the table goes on behind these lines.
    """
    if delimiter == "auto":
        chosen = _delimiter(lines, DEFAULTS.get(ending, ","), quotes, cut)
    else:
        chosen = DELIMITERS[delimiter]
    quoting = _quotes(lines, chosen, ending) if quotes == "auto" else quotes == "yes"
    rows = _rows(lines, chosen, quoting, cut)
    columns, share = _mode(rows)
    if delimiter == "auto" and share < _RAGGED and rows:  # the names decide, or they are sentences with commas
        columns = len(rows[0]) if _header([row for row in rows if len(row) == len(rows[0])]) else 1
        if columns == 1:
            return Dialect(NOTHING, quoting, header == "yes" or (header == "auto" and _is_known(rows[0])), 1)
    head = _header([row for row in rows if len(row) == columns]) if header == "auto" else header == "yes"
    if rows and header == "auto" and len(rows[0]) != columns:
        head = False
    return Dialect(chosen, quoting, head, columns, share)


def is_table(lines: Sequence[str]) -> bool:
    """Return whether lines of a .txt are rows: all of them with equally many tabs, and something between these."""
    rows = [line.split("\t") for line in lines if line]
    if len(rows) < 2:
        return False
    columns, share = _mode(rows)
    filled = sum(all(cell.strip() for cell in row) for row in rows)
    return columns > 1 and share >= 0.99 and filled >= 0.95 * len(rows)


def _delimiter(lines: Sequence[str], default: str, quotes: str, cut: bool) -> str:
    """Return what divides nearly all rows into equally many columns; that of the ending where nothing does."""
    scores: dict[str, tuple[float, bool]] = {}
    for mark in DELIMITERS.values():
        rows = _rows(lines, mark, quotes != "no", cut)
        columns, share = _mode(rows)
        if columns > 1:
            scores[mark] = share, len(rows[0]) == columns
    good = [mark for mark, (share, first) in scores.items() if share >= _ENOUGH and first]
    good = good or [mark for mark, (share, _) in scores.items() if share >= _ENOUGH]
    if len(good) > 1 and default in good and not any(mark in good for mark in ("\t", ";") if mark != default):
        return default
    if good:
        return good[0]
    likely = max(scores, key=lambda mark: scores[mark], default=default)
    return likely if scores and default not in scores and scores[likely][0] >= 0.6 else default


def _rows(lines: Sequence[str], mark: str, quotes: bool, cut: bool) -> list[list[str]]:
    for known in (cut, False):
        rows = [row for row in records(iter(lines), mark, quotes, 0, lambda kind: None, known) if row]
        if rows:
            break
    return rows


def _mode(rows: Sequence[Sequence[str]]) -> tuple[int, float]:
    """Return the usual number of columns, and the share of rows that have it."""
    counts = Counter(len(row) for row in rows)
    if not counts:
        return 1, 0.0
    columns, number = max(counts.items(), key=lambda item: (item[1], item[0]))
    return columns, number / len(rows)


def _quotes(lines: Sequence[str], mark: str, ending: str) -> bool:
    """Return whether quotes enclose fields: in .csv always, elsewhere where they are used so in the whole beginning."""
    if ending == ".csv" or not any('"' in line for line in lines):
        return ending == ".csv"
    broken: list[str] = []
    quoted = list(records(iter(lines), mark, True, 0, broken.append))
    plain = [line.split(mark) for line in lines if line]
    cells = [cell for row in plain for cell in row]
    enclosed = [cell for cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
    texts = [cell for cell in cells if cell and not _NUMBER.fullmatch(cell)]
    needed = any('""' in cell[1:-1] for cell in enclosed) or _mode(quoted)[1] > _mode(plain)[1]
    return not broken and bool(enclosed) and (needed or len(enclosed) >= 0.5 * len(texts))


def _header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row has names: what it says differs in kind from what stands below."""
    if not rows:
        return False
    first, others = [cell.strip() for cell in rows[0]], rows[1:]
    if len(set(first)) < len(first) or any(_no_name(cell) for cell in first):
        return False
    known = [cell.casefold() in NAMES for cell in first]
    if all(known) or (sum(known) > 1 and sum(known) >= len(first) / 2):
        return True
    for place, cell in enumerate(first):
        column = [row[place].strip() for row in others]
        if cell in column[:1000]:
            return False
        if column and sum(bool(_NUMBER.fullmatch(value)) for value in column) >= _ENOUGH * len(column):
            return True  # a name above numbers
    words = [_usual(lambda value: len(value.split()), [row[place] for row in others]) for place in range(len(first))]
    if any(len(cell.split()) >= 3 and len(cell.split()) * 2 > usual for cell, usual in zip(first, words, strict=True)):
        return False
    if any(0 < len(cell.split()) * 3 <= usual for cell, usual in zip(first, words, strict=True)):
        return True
    return all(len(cell.split()) == 1 for cell in first) and not any(
        cell[0].isupper() and len(first) == 1 for cell in first
    )


def _is_known(row: Sequence[str]) -> bool:
    return all(cell.strip().casefold() in NAMES for cell in row)


def _no_name(cell: str) -> bool:
    return (
        not cell
        or len(cell) > _LONGEST_NAME
        or "\n" in cell
        or bool(_NUMBER.fullmatch(cell))
        or cell.endswith(_SENTENCE_END)
    )


def _usual(measure: Callable[[str], int], values: Sequence[str]) -> float:
    sizes = sorted(map(measure, values))
    return sizes[len(sizes) // 2] if sizes else 0
