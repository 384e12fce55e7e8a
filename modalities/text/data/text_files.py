"""Text files read in blocks, so that a line may be of any length; their oddities are counted.

A line ends with LF, CR LF or CR. Form feeds, vertical tabs, U+0085, U+2028 and U+2029 are characters inside a line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from modalities.text.data import encodings
from modalities.text.data.encodings import Encoding, NotText
from toolkit.console import printable

BLOCK_BYTES = 1 << 17
LONGEST_PIECE = 1 << 16
"""Characters of a line that are held at once."""
LONGEST_ROW = 1 << 24
"""Characters of a row of JSON or of a table; longer ones are left out."""

UNDECODABLE = "bytes that are not {codec}, read as U+FFFD"
NUL = "NUL characters, dropped"
CARRIAGE = "line ends other than LF, read as LF"
CUT_LINES = f"pieces cut of lines longer than {LONGEST_PIECE:,} characters"
LONG_ROWS = f"rows longer than {LONGEST_ROW:,} characters, left out"
BAD_JSON = "rows that are not JSON, left out"
HALVES = "rows with half of a surrogate pair, left out"
EMPTY = "rows without text, left out"


class Problems:
    """Record of the reading of files: oddities by file and kind, and what was guessed of each file."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()
        self._files: dict[str, str] = {}
        self._lines: list[str] = []
        self.guessed: dict[str, Counter[str]] = defaultdict(Counter)
        """Number of files by what was guessed: {"encoding": {"utf-8": 3}}."""
        self.unsure: set[str] = set()
        """Kinds of guesses that the files do not say themselves."""
        self.change = ""
        """The option that changes the choice of columns."""

    def note_repair(self, name: str, kind: str, count: int = 1) -> None:
        if count:
            self._counts[name, kind] += count

    def note_loss(self, name: str, kind: str, count: int = 1) -> None:
        if count:
            self._lost[name, kind] += count

    def note(self, line: str) -> None:
        self._lines.append(line)

    def guess(self, kind: str, value: str, unsure: bool = False) -> None:
        self.guessed[kind][value] += 1
        if unsure:
            self.unsure.add(kind)

    def reject(self, name: str, why: str) -> None:
        """Note that a whole file is left out."""
        self._files[name] = why

    @property
    def mends(self) -> Counter[str]:
        """Number of things that were mended, by kind."""
        return _by_kind(self._counts)

    @property
    def losses(self) -> Counter[str]:
        """Number of rows that were left out, by kind."""
        return _by_kind(self._lost)

    @property
    def notes(self) -> list[str]:
        lines = [f"{printable(name)}: {count:,} {kind}" for (name, kind), count in sorted(self._counts.items())]
        return self._lines + lines

    @property
    def lines(self) -> list[str]:
        """Notes of no file."""
        return self._lines

    @property
    def unreadable(self) -> list[str]:
        return [f"{printable(name)}: {printable(why)}" for name, why in sorted(self._files.items())]

    @property
    def rejected(self) -> list[str]:
        lines = [
            f"{printable(name)}: {count:,} {printable(kind)}" for (name, kind), count in sorted(self._lost.items())
        ]
        return self.unreadable + lines


def _by_kind(counts: Counter[tuple[str, str]]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for (_, kind), count in counts.items():
        kinds[kind] += count
    return kinds


def encoding_of(path: Path, name: str, problems: Problems, encoding: str = "auto") -> Encoding | None:
    """Return the encoding of a file, or None where it is no text, which is noted. Raises OSError."""
    try:
        if encoding == "auto":
            known = encodings.find(path)
        else:
            known = _user_encoding(path, encoding)
    except NotText as why:
        problems.reject(name, str(why))
        return None
    problems.guess("encodings", known.title, known.unsure)
    return known


def _user_encoding(path: Path, encoding: str) -> Encoding:
    """Return the encoding that a user says, without the mark that the file may begin with."""
    with path.open("rb") as file:
        head = file.read(4)
    if encoding in ("utf-16", "utf-32"):  # with no mark, the order of this machine would be taken
        return encodings.find(path)
    marks = {"utf-8-sig": "utf-8"}
    skip = next(
        (len(m) for m, codec in encodings.MARKS if head.startswith(m) and codec == marks.get(encoding, encoding)), 0
    )
    return Encoding(marks.get(encoding, encoding), encoding, skip)


def blocks(path: Path, name: str, problems: Problems, encoding: str | Encoding = "auto") -> Iterator[str]:
    """Yield the text of `path` in blocks of up to BLOCK_BYTES characters, without its mark, with LF line ends.

    Bytes that are not of the encoding become U+FFFD, and NULs are dropped; both are counted. No text where the file is
    none, which is noted. Raises OSError.
    """
    known = encoding_of(path, name, problems, encoding) if isinstance(encoding, str) else encoding
    if known is None:
        return
    decoder = encodings.decoder_of(known.codec)
    undecodable = UNDECODABLE.format(codec=known.codec)
    with path.open("rb") as file:
        file.seek(known.skip)
        carry = ""
        while True:
            data = file.read(BLOCK_BYTES)
            text, bad = encodings.decode(decoder, data, not data)
            problems.note_repair(name, undecodable, bad)
            text = carry + text
            carry = "\r" if data and text.endswith("\r") else ""  # perhaps the first half of CRLF
            text = text[: len(text) - len(carry)]
            if "\r" in text:
                pairs = text.count("\r\n")
                problems.note_repair(name, CARRIAGE, pairs + text.count("\r") - pairs)
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            if "\0" in text:
                problems.note_repair(name, NUL, text.count("\0"))
                text = text.replace("\0", "")
            if text:
                yield text
            if not data:
                return


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
            problems.note_loss(name, LONG_ROWS)
        else:
            yield line
