"""Text files read in blocks, so that a line may be of any length; their oddities are counted."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from toolkit.data.listing import printable

BLOCK_BYTES = 1 << 17
LONGEST_PIECE = 1 << 16
"""Characters of a line that are held at once."""
LONGEST_ROW = 1 << 24
"""Characters of a row of JSON or of a table; longer ones are left out."""
_SNIFFED = 1 << 16
_MOST_ODD = 0.3

NOT_UTF8 = "characters that are not UTF-8, read as U+FFFD"
NUL = "NUL characters"
CARRIAGE = "line ends other than LF, read as LF"
CUT_LINES = f"pieces cut of lines longer than {LONGEST_PIECE:,} characters"
LONG_ROWS = f"rows longer than {LONGEST_ROW:,} characters, left out"
BAD_JSON = "rows that are not JSON objects, left out"
NO_FIELD = "rows without text in field"
BAD_TABLE = "rows that are not {columns} columns, left out"
HALVES = "rows with half of a surrogate pair, left out"


class Problems:
    """Oddities counted by file and kind: `notes` of what was mended, `rejected` of what was left out."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()
        self._files: dict[str, str] = {}
        self._lines: list[str] = []

    def mended(self, name: str, kind: str, count: int = 1) -> None:
        if count:
            self._counts[name, kind] += count

    def lost(self, name: str, kind: str, count: int = 1) -> None:
        if count:
            self._lost[name, kind] += count

    def note(self, line: str) -> None:
        self._lines.append(line)

    def reject(self, name: str, why: str) -> None:
        """Note that a whole file is left out."""
        self._files[name] = why

    @property
    def notes(self) -> list[str]:
        mended = [f"{printable(name)}: {count:,} {kind}" for (name, kind), count in sorted(self._counts.items())]
        return self._lines + mended

    @property
    def rejected(self) -> list[str]:
        files = [f"{printable(name)}: {printable(why)}" for name, why in sorted(self._files.items())]
        return files + [f"{printable(name)}: {count:,} {kind}" for (name, kind), count in sorted(self._lost.items())]


def odd(path: Path) -> str:
    """Return why `path` is no text, judged by its beginning, or "". Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    text = head.decode(_encoding(head), "replace")
    share = (text.count("\0") + text.count("\ufffd")) / max(len(text), 1)
    return f"not text: {share:.0%} of it is NUL or not UTF-8; save it as UTF-8" if share > _MOST_ODD else ""


def blocks(path: Path, name: str, problems: Problems) -> Iterator[str]:
    """Yield the text of `path` in blocks of up to BLOCK_BYTES characters, without a byte order mark, with LF line ends.

    UTF-8, or UTF-16 where a byte order mark says so; other bytes are U+FFFD. Raises OSError.
    """
    with path.open("rb") as file:
        data = file.read(BLOCK_BYTES)
        decoder = codecs.getincrementaldecoder(_encoding(data))("replace")
        carry = ""
        while True:
            text = carry + decoder.decode(data, final=not data)
            carry = "\r" if data and text.endswith("\r") else ""  # perhaps the first half of CRLF
            text = text[: len(text) - len(carry)]
            if "\r" in text:
                pairs = text.count("\r\n")
                problems.mended(name, CARRIAGE, pairs + text.count("\r") - pairs)
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            problems.mended(name, NUL, text.count("\0"))
            if not text.isascii():
                problems.mended(name, NOT_UTF8, text.count("\ufffd"))
            if text:
                yield text
            if not data:
                return
            data = file.read(BLOCK_BYTES)


def lines(parts: Iterable[str], longest: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of a text that comes in blocks, without their ends, and whether the line ends there.

    A line of more than `longest` characters comes in pieces of so many, and ends with the last.
    """
    pieces: list[str] = []
    size = 0
    for part in parts:
        *ended, rest = part.split("\n")
        for line in ended:
            if pieces:
                pieces.append(line)
                line, pieces, size = "".join(pieces), [], 0
            while len(line) > longest:
                yield line[:longest], False
                line = line[longest:]
            yield line, True
        pieces.append(rest)
        size += len(rest)
        if size > longest:
            whole = "".join(pieces)
            full = (len(whole) - 1) // longest * longest
            yield from ((whole[i : i + longest], False) for i in range(0, full, longest))
            pieces, size = [whole[full:]], len(whole) - full
    if size:
        yield "".join(pieces), True


def rows(parts: Iterable[str], name: str, problems: Problems) -> Iterator[str]:
    """Yield the lines of a text, except those that are too long to be parsed."""
    long = False
    for line, ends in lines(parts, LONGEST_ROW):
        if not ends:
            long = True
        elif long:
            long = False
            problems.lost(name, LONG_ROWS)
        else:
            yield line


def _encoding(head: bytes) -> str:
    return "utf-16" if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
