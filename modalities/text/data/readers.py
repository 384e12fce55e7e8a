"""From files to documents: whole files, their lines, speeches, and rows of JSON Lines and of tables."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modalities.text.data import text_files
from modalities.text.data.text_files import Problems
from modalities.text.options import Data
from toolkit.data import listing as files
from toolkit.data.listing import Entry, Listing

TABLES = {".csv": ",", ".tsv": "\t"}
EXTENSIONS = (".txt", ".jsonl", *TABLES)
FORMATS = ".txt, .jsonl, .csv and .tsv"
_SPEAKER = re.compile(r"([A-Z][A-Za-z' .-]{0,30})[:.]")


@dataclass(frozen=True)
class Document:
    """A text that may come in blocks; reading them is reading the file."""

    file: str
    blocks: Iterable[str]
    key: str = ""
    """What decides by its hash whether it is held out; "" = the end of the text is."""
    split: str | None = None
    """train or test, where the source says so."""
    label: str | None = None
    given: str | None = None
    """The source, when the text is a target."""


Reader = Callable[[Entry, Problems], Iterator[Document]]


@dataclass(frozen=True)
class Source:
    """Where texts are, and how they are read."""

    path: Path
    listing: Listing
    read: Reader
    packed: bool
    """Running text; otherwise each document is an item."""
    whole: bool = False
    """Items that do not fit into an example are left out rather than cut, as pairs always are."""
    test: float = 0.05


def source_of(path: Path, listing: Listing, options: Data, test: float | None = None) -> Source:
    """The texts that were found in `listing`, read as `options` ask. test: share held out, in place of theirs."""
    endings = {Path(entry.name).suffix.lower() for entry in listing.entries}
    packed = options.items == "none" or (options.items == "auto" and (".txt" in endings or not endings))
    packed = packed and options.labels != "speaker"

    def read(entry: Entry, problems: Problems) -> Iterator[Document]:
        return _read(entry, options, packed, problems)

    return Source(path, listing, read, packed, test=options.test if test is None else test)


def single(path: Path) -> Listing:
    """One file as a listing. Raises OSError."""
    info = path.stat()
    listing = Listing(signature=[f"{path.name}\t{info.st_size}\t{info.st_mtime_ns}"])
    if info.st_size == 0:
        listing.reject(path.name, "empty file")
    else:
        listing.entries.append(Entry(path.name, path, info.st_size))
    return listing


def documents(source: Source, problems: Problems) -> Iterator[Document]:
    """All documents of a source, in order; each must be read before the next is asked for."""
    for entry in source.listing.entries:
        try:
            why = text_files.odd(entry.path)
        except OSError as error:
            why = error.strerror or type(error).__name__
        if why:
            problems.reject(entry.name, why)
        else:
            yield from source.read(entry, problems)


def table(
    parts: Iterable[str], name: str, named: tuple[str, ...], problems: Problems, comma: str
) -> Iterator[list[str]]:
    """The asked columns of each row of a table with a header; all of them when none is asked for and it has one or two.

    Wants of a file that cannot be met are reported to `problems`, and it has no rows.
    """
    quoting: Literal[0, 3] = csv.QUOTE_NONE if comma == "\t" else csv.QUOTE_MINIMAL
    found = (row + "\n" for row in text_files.rows(parts, name, problems))
    reader = csv.reader(found, delimiter=comma, quoting=quoting)
    header: list[str] | None = None
    picked: list[int] = []
    while True:
        try:
            row = next(reader, None)
        except csv.Error:  # a field without end; the reader begins again with the next line
            problems.lost(name, "rows that cannot be parsed, left out")
            continue
        if row is None:
            return
        if not row:
            continue
        if header is None:
            header = row
            missing = [column for column in named if column not in header]
            if missing or not (named or len(header) <= 2):
                what = f"no column '{missing[0]}'" if missing else "more than two columns and data.columns names none"
                problems.reject(name, f"{what}; it has {', '.join(header)[:200]}")
                return
            picked = [header.index(column) for column in named] or list(range(len(header)))
        elif len(row) != len(header):
            problems.lost(name, text_files.BAD_TABLE.format(columns=len(header)))
        else:
            yield [row[i] for i in picked]


def _columns(options: Data) -> tuple[str, ...]:
    return tuple(name.strip() for name in options.columns.split(",")) if options.columns else ()


def _read(entry: Entry, options: Data, packed: bool, problems: Problems) -> Iterator[Document]:
    parts = text_files.blocks(entry.path, entry.name, problems)
    label = {"file": entry.name, "folder": entry.label}.get(options.labels)
    ending = Path(entry.name).suffix.lower()
    named = _columns(options)
    if ending == ".jsonl":
        found = _json_rows(parts, entry.name, named or (options.field,), problems)
        yield from _row_documents(found, entry, label, problems)
    elif ending in TABLES:
        found = table(parts, entry.name, named, problems, TABLES[ending])
        yield from _row_documents(found, entry, label, problems)
    elif options.labels == "speaker":
        for speaker, text in speeches(parts):
            yield Document(entry.name, (text,), text, entry.split, speaker)
    elif options.items == "line":
        for line, ends in text_files.lines(parts, text_files.LONGEST_PIECE):
            problems.mended(entry.name, text_files.CUT_LINES, not ends)
            if line:
                yield Document(entry.name, (line,), line, entry.split, label)
    else:
        yield Document(entry.name, parts, "" if packed else entry.name, entry.split, label)


def _row_documents(
    found: Iterable[list[str]], entry: Entry, label: str | None, problems: Problems
) -> Iterator[Document]:
    for texts in found:
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            problems.lost(entry.name, text_files.HALVES)
            continue
        if not all(texts):
            problems.lost(entry.name, "rows without text, left out")
        else:
            given = texts[0] if len(texts) == 2 else None
            yield Document(entry.name, (texts[-1],), texts[0], entry.split, label, given)


def _json_rows(parts: Iterable[str], name: str, fields: tuple[str, ...], problems: Problems) -> Iterator[list[str]]:
    for line in text_files.rows(parts, name, problems):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            problems.lost(name, text_files.BAD_JSON)
            continue
        missing = [field for field in fields if not isinstance(row.get(field), str)]
        if missing:
            problems.lost(name, f"{text_files.NO_FIELD} '{files.printable(missing[0])}', left out")
        else:
            yield [row[field].replace("\r\n", "\n").replace("\r", "\n") for field in fields]


def speeches(parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(speaker, speech) of a play. A speech begins after an empty line with "NAME:" or "NAME." alone on a line, and
    ends with the next empty line; what is not spoken is left out."""
    speaker, said, blank = "", list[str](), True
    for line, _ in text_files.lines(parts, text_files.LONGEST_PIECE):
        match = _SPEAKER.fullmatch(line.strip()) if blank else None
        blank = not line.strip()
        if speaker and not blank and match is None:
            said.append(line)
            continue
        if said:
            yield speaker, "\n".join(said)
        speaker, said = match[1] if match else "", []
    if said:
        yield speaker, "\n".join(said)
