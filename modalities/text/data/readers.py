"""Readers of documents: whole files, their lines, parts between separators, speeches, and rows of tables and JSON."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from modalities.text.data import formats, row_files, text_files
from modalities.text.data.text_files import Problems
from modalities.text.options import Data
from toolkit.data.listing import Entry, Listing
from toolkit.data.understood import Row

_SPEAKER = re.compile(r"([A-Z][A-Za-z' .-]{0,30})[:.]")


class Document(NamedTuple):
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
    why: str = ""
    """Sentence about what an example is made of, and why."""
    whole: bool = False
    """True where items that do not fit into an example are left out rather than cut, as pairs always are."""
    test: float = 0.05
    rows: tuple[Row, ...] = ()
    """Rows about files that were passed over."""


def source_of(path: Path, listing: Listing, options: Data, test: float | None = None) -> Source:
    """Return the files of `listing`, read by `options`, as a source. test: held-out share, in place of theirs."""
    texts = [entry for entry in listing.entries if formats.kind(entry.name) == "text"]
    rows = options.items == "auto" and not options.separator and options.labels != "speaker"
    tabular = rows and bool(texts) and formats.tabular(listing.entries)
    packed = options.items == "none" or (rows and not tabular and (bool(texts) or not listing.entries))

    def read(entry: Entry, problems: Problems) -> Iterator[Document]:
        return _read(entry, options, packed, tabular, problems)

    why = _why(options, packed, tabular)
    return Source(path, listing, read, packed, why, test=options.test if test is None else test)


def _why(options: Data, packed: bool, tabular: bool) -> str:
    if packed:
        return "running text, cropped anywhere" + (": text files hold no items" if options.items == "auto" else "")
    if options.labels == "speaker":
        return "items: each speech of a play"
    if options.separator:
        return f"items: what stands between lines that say {options.separator}"
    if options.items in ("line", "file"):
        return f"items: each {options.items} of a text file"
    return "items: each row" + (", as every line has equally many tabs" if tabular else "")


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
            yield from source.read(entry, problems)
        except OSError as error:
            problems.reject(entry.name, error.strerror or type(error).__name__)


def _read(entry: Entry, options: Data, packed: bool, tabular: bool, problems: Problems) -> Iterator[Document]:
    encoding = text_files.encoding_of(entry.path, entry.name, problems, options.encoding)
    if encoding is None:
        return
    parts = text_files.blocks(entry.path, entry.name, problems, encoding)
    label = {"file": entry.name, "folder": entry.label}.get(options.labels)
    kind = "table" if tabular else formats.kind(entry.name)
    if kind != "text":
        rows = (row_files.table if kind == "table" else row_files.json)(parts, entry.name, options, problems)
        yield from _row_documents(rows, entry, label, options.labels.startswith("column:"), problems)
    elif options.labels == "speaker":
        for speaker, text in speeches(parts):
            yield Document(entry.name, (text,), text, entry.split, speaker)
    elif options.separator:
        for text in between(parts, options.separator):
            yield Document(entry.name, (text,), text, entry.split, label)
    elif options.items == "line":
        for line, ends in text_files.lines(parts, text_files.LONGEST_PIECE):
            if not ends:
                problems.note_repair(entry.name, text_files.CUT_LINES)
            if line:
                yield Document(entry.name, (line,), line, entry.split, label)
            else:
                problems.guessed["empty"]["lines"] += 1
    else:
        yield Document(entry.name, parts, "" if packed else entry.name, entry.split, label)


def _row_documents(
    rows: Iterable[row_files.Row], entry: Entry, label: str | None, labelled: bool, problems: Problems
) -> Iterator[Document]:
    for texts, value in rows:
        if not all(text.isascii() for text in texts):
            try:
                "".join(texts).encode()
            except UnicodeEncodeError:
                problems.note_loss(entry.name, text_files.HALVES)
                continue
        if not all(texts):
            problems.note_loss(entry.name, text_files.EMPTY)
        elif labelled and not value.strip():
            problems.note_loss(entry.name, "rows without a label, left out")
        else:
            given = texts[0] if len(texts) == 2 else None
            known = unicodedata.normalize("NFC", value.strip()) if labelled else label
            yield Document(entry.name, (texts[-1],), texts[0], entry.split, known, given)


def between(parts: Iterable[str], separator: str) -> Iterator[str]:
    """Yield what stands between lines that are `separator`, spaces at its ends aside, without empty lines around it."""
    item: list[str] = []
    wanted = separator.strip()
    for line, _ in text_files.lines(parts, text_files.LONGEST_PIECE):
        if line.strip() == wanted:
            if text := "\n".join(item).strip("\n"):
                yield text
            item = []
        else:
            item.append(line)
    if text := "\n".join(item).strip("\n"):
        yield text


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
