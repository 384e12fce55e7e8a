"""Rows of JSON Lines, and of JSON that is one array, an object around one, or columns; values one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from modalities.text.data import text_files
from modalities.text.data.text_files import Problems

DAMAGED = "arrays that are damaged, read up to there"
_LARGEST = 1 << 28
"""Characters of an object around the rows, which is parsed as a whole."""


def values(parts: Iterable[str], name: str, ending: str, problems: Problems) -> Iterator[object]:
    """Yield the rows of a JSON file, of whatever type they are; lines that are no JSON are counted."""
    stream = iter(parts)
    start = ""
    while not start.strip():
        part = next(stream, None)
        if part is None:
            return
        start += part
    stream = chain([start], stream)
    first = start.lstrip()
    if first[0] == "[" and (ending == ".json" or not _parses(first.split("\n")[0])):
        yield from _array(stream, name, problems)
    elif (first[0] == "{" and not _parses(first.split("\n")[0]) and ending == ".json") or (
        ending == ".json" and first[0] == "{" and "\n" not in first.strip()
    ):
        yield from _object("".join(_up_to(stream, _LARGEST)), name, problems)
    else:
        yield from _lines(stream, name, problems)


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _up_to(parts: Iterable[str], most: int) -> Iterator[str]:
    size = 0
    for part in parts:
        size += len(part)
        yield part
        if size > most:
            return


def _lines(parts: Iterable[str], name: str, problems: Problems) -> Iterator[object]:
    loads = json.loads
    for line in text_files.rows(parts, name, problems):
        if not line or line.isspace():
            continue
        try:
            yield loads(line)
        except (ValueError, RecursionError):
            problems.note_loss(name, text_files.BAD_JSON)


def _array(parts: Iterator[str], name: str, problems: Problems) -> Iterator[object]:
    """Yield the elements of an array, of which no more than one is held."""
    decode = json.JSONDecoder().raw_decode
    buffer, place, more = next(parts).lstrip(), 1, True
    while True:
        while place < len(buffer) and buffer[place] in " \t\n,":
            place += 1
        if place < len(buffer) and buffer[place] == "]":
            return
        try:
            value, place = decode(buffer, place)
        except (ValueError, RecursionError):
            buffer, place = buffer[place:], 0
            size = 2 * len(buffer) + 1  # doubled, so that a long element is not parsed over and over
            while more and len(buffer) < size:
                part = next(parts, None)
                more = part is not None
                buffer += part or ""
            if (not more and len(buffer) < size) or len(buffer) > text_files.LONGEST_ROW:
                try:
                    value, place = decode(buffer, 0)
                except (ValueError, RecursionError):
                    if buffer.strip(" \t\n,") not in ("", "]"):
                        problems.note_loss(name, DAMAGED)
                    return
            else:
                continue
        yield value


def _object(text: str, name: str, problems: Problems) -> Iterator[object]:
    """Yield the rows of {"data": [...]}, or of columns {"a": [...], "b": [...]}."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.reject(name, f"no JSON: {str(error)[:100]}")
        return
    if not isinstance(value, Mapping):
        yield value
        return
    lists = {key: each for key, each in value.items() if isinstance(each, list) and each}
    rows = [each for each in lists.values() if isinstance(each[0], Mapping)]
    if rows:
        yield from max(rows, key=len)
    elif lists and len({len(each) for each in lists.values()}) == 1 and len(lists) > 1:
        yield from (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
    elif lists:
        yield from max(lists.values(), key=len)
    else:
        yield value
