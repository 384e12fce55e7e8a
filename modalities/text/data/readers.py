"""Readers of documents: whole files, their lines, speeches, and rows of JSON Lines and of tables."""

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
    """A text that may come in blocks; iterating over them reads the file."""

    file: str
    blocks: Iterable[str]
    key: str = ""
    """Text whose hash decides whether the document is held out; "": the end of the document is."""
    split: str | None = None
    """train or test, where the source names splits."""
    label: str | None = None
    given: str | None = None
    """The source, when the text is a target."""


Reader = Callable[[Entry, Problems], Iterator[Document]]


@dataclass(frozen=True)
class Source:
    """Files of texts, and their reader."""

    path: Path
    listing: Listing
    read: Reader
    packed: bool
    """True for running text; otherwise each document is an item."""
    whole: bool = False
    """True where items that do not fit into an example are left out rather than cut, as pairs always are."""
    test: float = 0.05


def source_of(path: Path, listing: Listing, options: Data, test: float | None = None) -> Source:
    """Return the files of `listing`, read by `options`, as a source. test: held-out share, in place of theirs."""
    endings = {Path(entry.name).suffix.lower() for entry in listing.entries}
    packed = options.items == "none" or (options.items == "auto" and (".txt" in endings or not endings))
    packed = packed and options.labels != "speaker"

    def read(entry: Entry, problems: Problems) -> Iterator[Document]:
        return _read(entry, options, packed, problems)

    return Source(path, listing, read, packed, test=options.test if test is None else test)


def single(path: Path) -> Listing:
    """Return one file as a listing. Raises OSError."""
    info = path.stat()
    listing = Listing(signature=[f"{path.name}\t{info.st_size}\t{info.st_mtime_ns}"])
    if info.st_size == 0:
        listing.reject(path.name, "empty file")
    else:
        listing.entries.append(Entry(path.name, path, info.st_size))
    return listing


def documents(source: Source, problems: Problems) -> Iterator[Document]:
    """Yield all documents of a source, in order; each must be read before the next is taken."""
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
    parts: Iterable[str], name: str, columns: tuple[str, ...], problems: Problems, comma: str
) -> Iterator[list[str]]:
    """Yield `columns` of each row of a table with a header; all of them when there are none and it has one or two.

    A file without these columns is reported to `problems`, and has no rows.
    """
    quoting: Literal[0, 3] = csv.QUOTE_NONE if comma == "\t" else csv.QUOTE_MINIMAL
    lines = (row + "\n" for row in text_files.rows(parts, name, problems))
    reader = csv.reader(lines, delimiter=comma, quoting=quoting)
    header: list[str] | None = None
    places: list[int] = []
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
            missing = [column for column in columns if column not in header]
            if missing or not (columns or len(header) <= 2):
                what = f"no column '{missing[0]}'" if missing else "more than two columns and data.columns names none"
                problems.reject(name, f"{what}; it has {', '.join(header)[:200]}")
                return
            places = [header.index(column) for column in columns] or list(range(len(header)))
        elif len(row) != len(header):
            problems.lost(name, text_files.BAD_TABLE.format(columns=len(header)))
        else:
            yield [row[i] for i in places]


def _columns(options: Data) -> tuple[str, ...]:
    return tuple(name.strip() for name in options.columns.split(",")) if options.columns else ()


def _read(entry: Entry, options: Data, packed: bool, problems: Problems) -> Iterator[Document]:
    parts = text_files.blocks(entry.path, entry.name, problems)
    label = {"file": entry.name, "folder": entry.label}.get(options.labels)
    ending = Path(entry.name).suffix.lower()
    columns = _columns(options)
    if ending == ".jsonl":
        rows = _json_rows(parts, entry.name, columns or (options.field,), problems)
        yield from _row_documents(rows, entry, label, problems)
    elif ending in TABLES:
        rows = table(parts, entry.name, columns, problems, TABLES[ending])
        yield from _row_documents(rows, entry, label, problems)
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
    rows: Iterable[list[str]], entry: Entry, label: str | None, problems: Problems
) -> Iterator[Document]:
    for texts in rows:
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
    """Yield (speaker, speech) of a play. A speech begins after an empty line with "NAME:" or "NAME." alone on a line,
    and ends with the next empty line; all else is left out."""
    speaker, speech, blank = "", list[str](), True
    for line, _ in text_files.lines(parts, text_files.LONGEST_PIECE):
        match = _SPEAKER.fullmatch(line.strip()) if blank else None
        blank = not line.strip()
        if speaker and not blank and match is None:
            speech.append(line)
            continue
        if speech:
            yield speaker, "\n".join(speech)
        speaker, speech = match[1] if match else "", []
    if speech:
        yield speaker, "\n".join(speech)
