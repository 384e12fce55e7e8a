"""The encoding of a text file: by its mark, by NULs, by UTF-8's own rules, else by the letters of languages.

A file is read once in blocks and never held. Whether it is UTF-8 is known of all its bytes; an older encoding is chosen
on stretches around those that are no ASCII, spread over the file.
"""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterator
from difflib import get_close_matches
from encodings.aliases import aliases
from pathlib import Path
from typing import NamedTuple

from modalities.text.data.alphabets import best_of

_BLOCK = 1 << 18
_WINDOW = 2048
_MOST_WINDOWS = 48
_SAMPLE = 1 << 16
_NO_TEXTS = {"idna", "punycode", "undefined", "mbcs", "oem", "raw_unicode_escape", "unicode_escape"}
_COUNTED = "modalities.text.counted"
_bad = threading.local()
MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
"""Byte order marks; that of UTF-32 LE begins with that of UTF-16 LE."""
SIGNATURES = (
    (b"\x89PNG", "a PNG picture"), (b"\xff\xd8\xff", "a JPEG picture"), (b"GIF8", "a GIF picture"), (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive, perhaps of a word processor or spreadsheet"), (b"\x1f\x8b", "gzip, unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"), (b"BZh", "bzip2, unpack it"), (b"\xfd7zXZ", "xz, unpack it"),
    (b"7z\xbc\xaf", "a 7z archive"), (b"SQLite format 3", "a database"), (b"\x7fELF", "a program"),
    (b"RIFF", "a sound or film"), (b"OggS", "a sound"), (b"fLaC", "a sound"), (b"ID3", "a sound"),
    (b"PAR1", "a Parquet table"), (b"Rar!", "a RAR archive"),
)  # fmt: skip
_CONTROL_BYTES = [bytes([i]) for i in (*range(32), 127) if i not in b"\0\t\n\v\f\r\b\x0e\x0f\x1a\x1b"]
_SCRIPTS = (
    (0x20, 0x7E), (0x0A, 0x0A), (0xA0, 0x24F), (0x370, 0x6FF), (0x900, 0xE7F), (0x2010, 0x203A), (0x3000, 0x30FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFF65),
)  # fmt: skip
_MOSTLY_USUAL = 0.95
_MOST_CONTROLS, _MOST_NULS = 0.02, 0.3
_BEYOND = [bytes([i]) for i in range(0x80, 0x100)]


class Encoding(NamedTuple):
    """Way to decode a file."""

    codec: str
    """A name that Python knows."""
    title: str
    """The name for people: "utf-8 with mark"."""
    skip: int = 0
    """Bytes of the mark before the text."""
    unsure: bool = False
    """True where the bytes do not say it themselves."""


class NotText(Exception):
    """The file is no text; the message says why."""


def check(name: str) -> str:
    """Return the name of an encoding in Python's spelling, "auto" included. Raises ValueError."""
    if name == "auto":
        return name
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not getattr(codec, "_is_text_encoding", True) or codec.name.replace("-", "_") in _NO_TEXTS:
        known = {*aliases, *aliases.values()} - _NO_TEXTS
        near = get_close_matches(name.lower().replace("-", "_"), known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; auto, utf-8, cp1252, shift_jis ... are known"
        raise ValueError(f"no encoding is called '{name[:40]}'{hint}")
    return codec.name


def find(path: Path) -> Encoding:
    """Return the encoding of a file. Raises NotText, OSError."""
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
    for mark, codec in MARKS:
        if head.startswith(mark):
            return Encoding(codec, f"{codec.removesuffix('-le').removesuffix('-be')} with mark", len(mark))
    for start, what in SIGNATURES:
        if head.startswith(start):
            raise NotText(f"not text but {what}")
    if wide := _wide(head):
        return Encoding(wide, wide, unsure=True)
    check_controls(head)
    for mark, codec in ((b"\x1b$B", "iso2022_jp"), (b"\x1b$@", "iso2022_jp"), (b"\x1b$)C", "iso2022_kr")):
        if mark in head and head.isascii():
            return Encoding(codec, codec)
    return _narrow(path)


def check_controls(head: bytes) -> None:
    """Refuse bytes of which many are NUL or other control characters. Raises NotText."""
    size = max(1, len(head))
    controls, nuls = _controls(head), head.count(0)
    if controls > _MOST_CONTROLS * size or nuls > _MOST_NULS * size:
        raise NotText(f"not text: {(controls + nuls) / size:.0%} of its bytes are NUL or control characters")
    if not head.isascii() and max(map(head.count, _BEYOND)) > size / 2:
        raise NotText("not text: most of its bytes are one and the same, beyond ASCII")


def decode(decoder: codecs.IncrementalDecoder, data: bytes, final: bool) -> tuple[str, int]:
    """Return decoded text, U+FFFD for what is not of the encoding, and how many bytes that was."""
    _bad.count = 0
    text = decoder.decode(data, final)
    return text, _bad.count


def decoder_of(codec: str) -> codecs.IncrementalDecoder:
    """Return a decoder that counts what it cannot decode."""
    return codecs.getincrementaldecoder(codec)(_COUNTED)


def _count(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    _bad.count = getattr(_bad, "count", 0) + error.end - error.start
    return "\ufffd", error.end


codecs.register_error(_COUNTED, _count)


def _wide(head: bytes) -> str:
    """Return the encoding of two or four bytes a character that NULs give away, or ""."""
    whole = head[: len(head) // 4 * 4]
    if len(whole) >= 8:
        at = [whole[i::4].count(0) / (len(whole) // 4) for i in range(4)]
        if min(at[2], at[3]) > 0.9 and at[0] < 0.1:
            return _if_decodes(whole, "utf-32-le")
        if min(at[0], at[1]) > 0.9 and at[3] < 0.1:
            return _if_decodes(whole, "utf-32-be")
    pairs = head[: len(head) // 2 * 2]
    if len(pairs) < 4:
        return ""
    even, odd = (pairs[i::2].count(0) * 2 / len(pairs) for i in (0, 1))
    codec = "utf-16-le" if odd > even else "utf-16-be"
    low, high = sorted((even, odd))
    rest = pairs.replace(b"\0", b"")
    # English in UTF-16: every second byte is NUL; else it is a text with stray NULs. Cyrillic has control characters
    if rest.isascii() and _controls(rest) <= _MOST_CONTROLS * len(rest):
        return _if_decodes(pairs, codec) if high > 0.9 and low < 0.05 else ""
    # spaces and line ends have a NUL in any language, always on the same side
    if high > 0.02 and low <= high / 20 and (encoding := _if_decodes(pairs, codec)):
        return encoding
    if high or _controls(pairs) <= _MOST_CONTROLS * len(pairs) or _is_utf8(pairs):
        return ""
    best = max(("utf-16-le", "utf-16-be"), key=lambda codec: _usual(pairs, codec))
    return best if _usual(pairs, best) > _MOSTLY_USUAL else ""


def _controls(data: bytes) -> int:
    return sum(map(data.count, _CONTROL_BYTES))


def _usual(pairs: bytes, codec: str) -> float:
    """Return the share of characters that are of the scripts of large languages."""
    text = pairs.decode(codec, "replace")
    return sum(any(low <= ord(c) <= high for low, high in _SCRIPTS) for c in text) / max(1, len(text))


def _if_decodes(data: bytes, codec: str) -> str:
    try:
        text = data[:-2].decode(codec) if codec.startswith("utf-16") and len(data) > 64 else data.decode(codec)
    except UnicodeDecodeError:
        return ""
    odd = sum(not (c.isprintable() or c in "\r\n\t\f") for c in text)
    return codec if odd <= 0.02 * len(text) else ""


def _is_utf8(data: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _narrow(path: Path) -> Encoding:
    """Return UTF-8 where all bytes say so, or most that are no ASCII; else an older encoding of one or two bytes."""
    decoder = decoder_of("utf-8")
    windows: list[bytes] = []
    whole = bad = end = 0
    for data, last in _blocks(path):
        if data.isascii() and not last:
            decoder.decode(data)
            continue
        text, lost = decode(decoder, data, False)
        signs = len(text.encode("utf-8", "replace")) - len(text)  # a rough number of bytes beyond ASCII
        whole += max(0, signs - 2 * text.count("\ufffd"))
        bad += lost
        if last:
            end = decode(decoder, b"", True)[1]  # a character that the end of the file cuts
        if lost:
            windows += _around(data)
    if not bad and (not end or whole or path.stat().st_size > end + 4):
        return Encoding("utf-8", "utf-8")
    if whole >= bad > 0 or (whole and not bad):  # by chance older encodings hold hardly a character of UTF-8
        return Encoding("utf-8", "utf-8", unsure=True)
    sample = b"\n".join(windows[:: max(1, len(windows) // _MOST_WINDOWS)][:_MOST_WINDOWS])
    codec = best_of(sample)
    if not codec:
        raise NotText("not text in any encoding that is known; say which with --encoding")
    return Encoding(codec, codec, unsure=True)


def _around(data: bytes) -> Iterator[bytes]:
    """Yield up to a few stretches of a block that hold bytes beyond ASCII."""
    place, step = 0, max(_WINDOW, len(data) // 8)
    while place < len(data):
        stretch = data[place : place + step]
        ascii = stretch.lstrip(_ASCII)
        if ascii:
            # from a little before the first such byte, after a byte of ASCII
            start = place + len(stretch) - len(ascii)
            yield data[max(place, start - 64) : start + _WINDOW]
        place += step


_ASCII = bytes(range(128))


def _blocks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield a file's bytes in blocks, and whether a block is the last."""
    with path.open("rb") as file:
        data = file.read(_BLOCK)
        while True:
            after = file.read(_BLOCK)
            yield data, not after
            if not after:
                return
            data = after
