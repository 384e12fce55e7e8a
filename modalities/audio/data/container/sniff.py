"""Tell the format of a sound file by its content, not its name; only formats that may reach the decoder pass."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Iterator
from typing import BinaryIO

from modalities.audio.data.container import chunks, flac, mp3, ogg
from modalities.audio.data.container.parts import Container, Content, Unreadable

FORMATS = "WAV, AIFF, CAF, AU, FLAC, OGG and MP3"
_HELD = 1 << 24
"""Files up to this size are held; larger ones are mapped."""
_MOST_TAGS = 16
_SKIPPED = 1 << 16
"""Bytes of junk that may stand before a sound."""
_MARKS = [re.compile(mark, re.DOTALL) for mark in
          (rb"RIFF....WAVEfmt ", rb"FORM....AIF[FC]", rb"fLaC\0\0\0\x22", rb"OggS\0\x02")]  # fmt: skip
_OTHERS = {
    b"MThd": "MIDI",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"RIFF": "RIFF without WAVE",
    b"FORM": "IFF without AIFF",
    b"\x30\x26\xb2\x75": "WMA",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"PK\x03\x04": "a zip archive",
    b"\0\5\26\7": "a note of macOS about a file",
}


def find(file: BinaryIO, size: int) -> Container:
    """Return the format of a file of `size` bytes, and its streams. Raises Unreadable for everything else."""
    start = _past_tags(file, size)
    file.seek(start)
    head = file.read(512)
    try:
        return _identify(file, start, size, head)
    except _Unknown:
        pass
    if not any(head.startswith(magic) for magic in _OTHERS) and head[4:8] != b"ftyp":
        file.seek(start)
        if (skipped := _first_mark(file.read(_SKIPPED))) > 0:
            file.seek(start + skipped)
            container = _identify(file, start + skipped, size, file.read(512))
            return container._replace(mended=(f"{skipped:,} bytes before the sound are skipped", *container.mended))
        with _map(file, size) as data, contextlib.suppress(Unreadable):
            return mp3.find(data, start, size)
    raise Unreadable(_what_it_is(head, size))


class _Unknown(Exception):
    pass


def _first_mark(content: bytes) -> int:
    """Return where the first format begins in content, or -1."""
    places = [match.start() for mark in _MARKS if (match := mark.search(content))]
    return min(places, default=-1)


def _identify(file: BinaryIO, start: int, size: int, head: bytes) -> Container:
    """Return what begins with `head` at `start`. Raises Unreadable; _Unknown for no known format."""
    if (form := chunks.form_of(head)) is not None:
        try:
            return chunks.find(file, start, size, form)
        except chunks.Inside as inside:
            start, size = inside.start, inside.stop
            file.seek(start)
            head = file.read(512)
    if head[:4] == b".snd":
        return chunks.find_au(file, start, size)
    with _map(file, size) as data:
        if head[:4] == b"fLaC":
            return flac.find(data, start, size)
        if head[:4] == b"OggS":
            return ogg.find(data, start, size)
        if mp3.is_frame(head):
            return mp3.find(data, start, size)
    raise _Unknown


def _past_tags(file: BinaryIO, size: int) -> int:
    """Return the first byte behind the ID3 tags, whose sizes have 7 bits in each byte; 0 when a size cannot be true."""
    start = 0
    for _ in range(_MOST_TAGS):
        file.seek(start)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return start
        start += 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
        if start >= size:
            return 0
    return start


@contextlib.contextmanager
def _map(file: BinaryIO, size: int) -> Iterator[Content]:
    if size > _HELD:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    else:
        file.seek(0)
        yield file.read()


def _what_it_is(head: bytes, size: int) -> str:
    if not head:
        return "nothing behind its tags" if size else "empty file"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return f"{name}; only {FORMATS} are read"
    if head[4:8] == b"ftyp":
        return f"MP4 or M4A; only {FORMATS} are read"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    with contextlib.suppress(UnicodeDecodeError):
        text = head[: -3 if len(head) > 256 else None].decode()  # a character may be cut
        if all(c.isprintable() or c.isspace() for c in text):
            return "text, not a sound"
    return f"not a {FORMATS.replace(' and ', ' or ')} file"
