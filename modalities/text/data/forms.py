"""Characters with accents, as one code point (NFC) or several (NFD): which a text has, and one form for all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

_REACH = 64
Form = Literal["", "nfc", "nfd"]


def normal(text: str, form: str) -> str:
    """Return `text` in a form, "nfc" or "nfd"; "" and "none" leave it as it is."""
    if form in ("", "none") or text.isascii():
        return text
    return unicodedata.normalize(cast("Literal['NFC', 'NFD']", form.upper()), text)


def normal_blocks(parts: Iterable[str], form: str) -> Iterator[str]:
    """Yield a text that comes in blocks in a form, as if it were one."""
    carry = ""
    for part in parts:
        text = carry + part
        if text.isascii():
            carry = ""
            yield text
            continue
        cut = _cut(text)
        carry = text[cut:]
        if cut:
            yield normal(text[:cut], form)
    if carry:
        yield normal(carry, form)


def _cut(text: str) -> int:
    """Return where a text can be cut so that nothing behind belongs to a character before: before the last ASCII."""
    for place in range(len(text) - 1, max(0, len(text) - _REACH), -1):
        if text[place] < "\x80":
            return place
    # no ASCII in reach, as in Chinese: before a character that is no mark and composes with nothing before it
    for place in range(len(text) - 1, max(0, len(text) - _REACH), -1):
        near = text[max(0, place - 8) : place], text[place : place + 8]
        if not unicodedata.combining(text[place]) and _apart(*near):
            return place
    return len(text)


def _apart(before: str, after: str) -> bool:
    joined = unicodedata.normalize("NFC", before + after)
    return joined == unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", after)


@dataclass
class Forms:
    """Counts of characters that can be written in two ways."""

    several: int = 0
    """Marks and the like that NFC would join with what is before them, or replace."""

    def see(self, text: str) -> None:
        """Count a text that is not ASCII."""
        if not unicodedata.is_normalized("NFC", text):
            self.several += max(1, len(text) - len(unicodedata.normalize("NFC", text)))

    def single(self, counts: np.ndarray) -> int:
        """Return how often characters occur that NFD would take apart. counts: by code point."""
        apart = [point for point in np.flatnonzero(counts).tolist() if point >= 0xC0 and _comes_apart(chr(point))]
        return int(counts[apart].sum()) if apart else 0

    def form(self, counts: np.ndarray) -> Form:
        """Return the form that changes nothing, "nfc" where all is composed or both occur, "nfd" where none is."""
        return "nfd" if self.several and not self.single(counts) else "nfc"


def _comes_apart(c: str) -> bool:
    return not unicodedata.is_normalized("NFD", c)
