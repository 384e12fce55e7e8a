"""Rows of tables from their lines. A quote that does not end costs no more than the row it is in."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator

from modalities.text.data import text_files

BAD_QUOTES = "rows with stray quotes, read as they are"
BROKEN = "rows with a quote that does not end, left out"
_LONGEST = 1 << 20
"""Characters of a row over several lines, beyond which its first quote is taken for a stray one."""
csv.field_size_limit(max(csv.field_size_limit(), text_files.LONGEST_ROW))


class _Open(Exception):
    """A field does not end within reach."""


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.taken.append(line)
        self.size += len(line)
        if self.size > _LONGEST and len(self.taken) > 1:
            raise _Open
        return line + "\n"

    def give_back(self) -> str:
        """Return the first line that was taken, and give back the others."""
        first, *others = self.taken
        self._back.extendleft(reversed(others))
        self.begin()
        return first

    def begin(self) -> None:
        self.taken, self.size = [], 0


def records(
    lines: Iterator[str], delimiter: str, quotes: bool, columns: int, odd: Callable[[str], None]
) -> Iterator[list[str]]:
    """Yield the fields of each row; [] of an empty line. lines: without their ends.

    columns: the number that rows must have for a field to go over several lines; 0: any. odd: takes the kind of each
    row that was read otherwise than it stands there, or is lost.
    """
    if not quotes:
        yield from (line.split(delimiter) if line else [] for line in lines)
        return
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        source.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Open):
            if not source.taken:
                return
            reader = csv.reader(source, delimiter=delimiter, strict=True)
            yield from _as_it_stands(source.give_back(), delimiter, columns, odd)
            continue
        if len(source.taken) > 1 and columns and len(row) != columns:
            yield from _as_it_stands(source.give_back(), delimiter, columns, odd)
        else:
            yield row


def _as_it_stands(line: str, delimiter: str, columns: int, odd: Callable[[str], None]) -> Iterator[list[str]]:
    """Yield a line whose quotes enclose nothing, if it has the right columns."""
    fields = line.split(delimiter)
    if columns and len(fields) != columns:
        odd(BROKEN)
    else:
        odd(BAD_QUOTES)
        yield fields
