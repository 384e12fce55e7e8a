"""FLAC: how many samples the last frame ends at, whatever the header says.

A program that writes into a pipe leaves the total at 0; a file that was cut off or added to has a wrong one. Such a
file is decoded with the total set to 0, which means unknown.
"""

from __future__ import annotations

from typing import NamedTuple

from modalities.audio.data.container.parts import Container, Content, Part, Piece, patch, seconds

_MARK = b"fLaC\0\0\0\x22"
_WINDOWS = (1 << 16, 1 << 23)
"""Bytes at the end in which the last frame's header is looked for; the second holds the longest frame there is."""
_TAG = 128
"""Bytes of an ID3v1 tag at the end."""


class _Header(NamedTuple):
    rate: int
    total: int
    """Samples as the header says; 0: unknown."""
    block: int
    """Samples of a frame when all are equal, or 0."""
    at: int
    """Byte that begins with the upper four bits of the total in its lower half."""


def find(data: Content, start: int, size: int) -> Container:
    """Return the streams of a FLAC file whose marker is at `start`; several when files were joined."""
    starts = [start]
    while (at := data.find(_MARK, starts[-1] + len(_MARK), size)) > 0:
        starts.append(at)
    pieces, faults = [], []
    for first, stop in zip(starts, [*starts[1:], size], strict=True):
        piece, lines = _one(data, first, stop, size)
        pieces.append(piece)
        faults += lines
    if len(pieces) > 1:
        faults.append(f"{len(pieces):,} files, one after the other")
    return Container("FLAC", tuple(pieces), tuple(faults))


def _one(data: Content, start: int, stop: int, size: int) -> tuple[Piece, list[str]]:
    header = _header(data, start)
    whole = stop == size and not start
    if header is None:
        return Piece(() if whole else (range(start, stop),)), []  # the decoder says what is wrong
    if data[max(start, stop - _TAG) :][:3] == b"TAG":
        stop -= _TAG
    last = _last(data, start, stop, header)
    if last is None or last == header.total:
        return Piece(() if whole else (range(start, stop),)), []
    if not header.total:
        line = "its header does not say how long it is"
    elif last > header.total:
        line = f"its header says {seconds(header.total, header.rate)}, and more follows"
    else:
        line = f"cut off: its header says {seconds(header.total, header.rate)}"
    byte = bytes([data[header.at] & 0xF0]) + bytes(4)
    parts: tuple[Part, ...] = patch(range(start, stop), [(header.at, byte)])
    return Piece(parts), [line]


def _header(data: Content, start: int) -> _Header | None:
    """Return what STREAMINFO says, which must be the first block."""
    info = data[start + 8 : start + 42]
    if len(info) < 34 or data[start + 4] & 127:
        return None
    least, most = int.from_bytes(info[:2], "big"), int.from_bytes(info[2:4], "big")
    rate = int.from_bytes(info[10:13], "big") >> 4
    total = (info[13] & 15) << 32 | int.from_bytes(info[14:18], "big")
    return _Header(rate, total, most if least == most else 0, start + 8 + 13)


def _last(data: Content, start: int, stop: int, header: _Header) -> int | None:
    """Return the sample after the last frame's, as its header says; None when no frame is found."""
    for window in _WINDOWS:
        first = max(start + 42, stop - window)
        tail, at = data[first:stop], stop - first
        while (at := tail.rfind(b"\xff", 0, at)) >= 0:
            end = _frame_end(tail[at : at + 20], header)
            if end is not None:
                return end
        if first == start + 42:
            break
    return None


def _frame_end(head: bytes, header: _Header) -> int | None:
    """Return the sample after a frame's, when `head` is a frame's header and its check sum is right."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[2] & 15 == 15:
        return None
    ones = 8 - (~head[4] & 0xFF).bit_length()  # the number is coded as in UTF-8
    if ones == 1 or ones > 7:
        return None
    number = head[4] & (0x7F >> ones)
    more = max(0, ones - 1)
    for byte in head[5 : 5 + more]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 63
    at = 5 + more
    code = head[2] >> 4
    if code in (6, 7):
        block = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        block = 192 if code == 1 else 576 << (code - 2) if 2 <= code <= 5 else 256 << (code - 8) if code >= 8 else 0
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if not block or len(head) <= at or _crc8(head[:at]) != head[at]:
        return None
    if head[1] & 1:  # it counts samples, otherwise frames
        return number + block
    return number * (header.block or block) + block


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 7) & 0xFF if crc & 0x80 else crc << 1
    return crc
