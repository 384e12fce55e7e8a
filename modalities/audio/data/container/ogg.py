"""OGG: its links, one after the other, and its last page, when the file ends inside it."""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

from modalities.audio.data.container.parts import Container, Content, Part, Piece, Unreadable

_MARK = b"OggS"
_HEADER = 27
_BEGIN, _END = 2, 4


class _Page(NamedTuple):
    at: int
    end: int
    """First byte behind it; beyond the file when it is cut off."""
    flags: int
    body: int
    """First byte of its content."""


def find(data: Content, start: int, size: int) -> Container:
    """Return the links of an OGG file whose first page is at `start`. Raises Unreadable."""
    links: list[list[_Page]] = []
    began, lost, at = False, 0, start
    while (page := _page(data, at, size)) is not None:
        lost += page.at - at
        begins = bool(page.flags & _BEGIN)
        if not links or (begins and not began):  # several begin together where sound and pictures are interleaved
            links.append([])
        began = begins
        links[-1].append(page)
        at = page.end
    lost += max(0, size - at)
    faults = []
    pieces = []
    others = 0
    for pages in links:
        head = data[pages[0].body : pages[0].body + 8]
        if not (head[:7] == b"\x01vorbis" or head == b"OpusHead" or (len(pages) > 1 and _inside(data, pages))):
            others += 1
            continue
        first, last = pages[0], pages[-1]
        parts: tuple[Part, ...] = (range(first.at, min(last.end, size)),)
        if last.end > size:
            parts = (range(first.at, last.at), _whole_packets(data[last.at : size]))
        if last.end > size or not last.flags & _END:
            faults.append("cut off")
        whole = len(links) == 1 and first.at == 0 and last.end <= size
        pieces.append(Piece(() if whole else tuple(part for part in parts if len(part))))
    if not pieces:
        raise Unreadable("OGG with something other than Vorbis or Opus")
    if len(pieces) > 1:
        faults.append(f"{len(pieces):,} streams, one after the other")
    if others:
        faults.append(f"{others:,} streams are neither Vorbis nor Opus and are left out")
    if lost > 1000:
        faults.append(f"{lost:,} bytes between its pages are skipped")
    return Container("OGG", tuple(pieces), tuple(faults))


def _inside(data: Content, pages: list[_Page]) -> bool:
    """Return True where a sound begins beside something else."""
    heads = [data[page.body : page.body + 8] for page in pages[:8] if page.flags & _BEGIN]
    return any(head[:7] == b"\x01vorbis" or head == b"OpusHead" for head in heads)


def _page(data: Content, at: int, size: int) -> _Page | None:
    """Return the next page at or behind `at`; None when there is none."""
    while (at := data.find(_MARK, at, size)) >= 0:
        if at + _HEADER > size:
            return None
        count = data[at + 26]
        table = data[at + _HEADER : min(at + _HEADER + count, size)]
        if data[at + 4] == 0 and len(table) == count:
            body = at + _HEADER + count
            return _Page(at, body + sum(table), data[at + 5], body)
        at += len(_MARK)
    return None


def _whole_packets(page: bytes) -> bytes:
    """Return a page that is cut off with those of its packets that are whole; nothing when none is."""
    count = page[26]
    table, body = page[_HEADER : _HEADER + count], page[_HEADER + count :]
    packets = length = whole = 0
    for i, lacing in enumerate(table):
        length += lacing
        if length > len(body):
            break
        if lacing < 255:  # a packet ends
            packets, whole = i + 1, length
    if not packets:
        return b""
    head = bytearray(page[:_HEADER])
    head[5] &= ~_END  # its place in time is that of its last packet, which is lost: it must not be cut there
    head[22:26] = bytes(4)
    head[26] = packets
    result = bytes(head) + table[:packets] + body[:whole]
    return result[:22] + struct.pack("<I", _crc(result)) + result[26:]


@functools.cache
def _table() -> tuple[int, ...]:
    rows = []
    for value in range(256):
        crc = value << 24
        for _ in range(8):
            crc = crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1
        rows.append(crc & 0xFFFFFFFF)
    return tuple(rows)


def _crc(content: bytes) -> int:
    table, crc = _table(), 0
    for byte in content:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc
