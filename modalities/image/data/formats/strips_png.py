"""PNG in bands of rows: each band becomes a small PNG of its own, which Pillow decodes.

The rows of a PNG are filtered, each by the one above it, then packed as one stream. The stream is unpacked here, a band
at a time; the row above a band, which is decoded already, stands before it as a first row without a filter.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from modalities.image.data.formats import deep
from modalities.image.data.formats.bands import Band, rows_at_once
from modalities.image.data.formats.inflated import InflateStream

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOURS = (b"PLTE", b"tRNS")
_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_ANIMATED = (b"acTL", b"fcTL", b"fdAT")
_MAX_KEPT = 16 << 20


class Header(NamedTuple):
    """The header of a PNG whose rows can be read in bands."""

    width: int
    height: int
    depth: int
    colour: int
    colours: bytes
    """Its chunks of palette and transparency."""
    about: tuple[bytes, bytes]
    """Its chunks of texts and EXIF before its pixels, and behind them."""
    spans: list[tuple[int, int]]
    """Offsets and lengths of its pixels, in bytes."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, without the one that names its filter."""
        return (self.width * _CHANNELS[self.colour] * self.depth + 7) // 8


def header(stream: BinaryIO) -> Header | None:
    """Return the header of a PNG, or None where it is not one that is read in bands: interlaced, animated, damaged."""
    stream.seek(len(_SIGNATURE))
    start, colours, about, ended = b"", b"", [b"", b""], False
    spans: list[tuple[int, int]] = []
    while True:
        head = stream.read(8)
        if len(head) < 8 or not head[4:].isalpha():
            break
        length, kind = struct.unpack(">I4s", head)
        place = stream.tell()
        if kind == b"IEND":
            break
        if kind in _ANIMATED or (kind in _COLOURS and spans):
            return None
        if kind == b"IDAT" and not ended:
            spans.append((place, length))
        elif spans:
            ended = True
        if kind == b"IHDR":
            start = stream.read(length)
        elif kind in _COLOURS + _TEXTS:
            if length + sum(map(len, about)) > _MAX_KEPT:
                return None
            body = stream.read(length)
            if kind in _COLOURS:
                colours += _chunk(kind, body)
            elif len(body) == length:
                about[bool(spans)] += _chunk(kind, body)
        stream.seek(place + length + 4)
    if len(start) != 13 or not spans:
        return None
    width, height, depth, colour, packing, filters, interlaced = struct.unpack(">IIBBBBB", start)
    if packing or filters or interlaced or colour not in _CHANNELS:
        return None
    return Header(width, height, depth, colour, colours, (about[0], about[1]), spans)


def without_pixels(header: Header) -> Image.Image:
    """Return a picture of one pixel with the texts and EXIF of a file, those behind its pixels too; it is loaded."""
    one = header._replace(width=1, height=1)
    image = Image.open(io.BytesIO(_file(one, 1, bytes(1 + one.row_bytes), *header.about)), formats=("PNG",))
    image.load()
    return image


def bands(stream: BinaryIO, header: Header) -> Iterator[Band]:
    """Yield the rows. Raises OSError, as Pillow does where a file is damaged."""
    packed = InflateStream(stream, header.spans)
    step = rows_at_once(header.width, max(4.0, header.row_bytes / header.width))
    above = b""
    for top in range(0, header.height, step):
        rows = min(step, header.height - top)
        filtered = above + packed.take(rows * (1 + header.row_bytes))
        count = rows + bool(above)
        first = count - rows
        band = _decode(header, count, filtered)
        if header.depth < 8:  # rows of bytes are filtered alike, whatever the bits in them
            bytes_ = header._replace(width=header.row_bytes, depth=8, colour=0, colours=b"")
            last = _decode(bytes_, count, filtered)
        else:
            last = band
        above = b"\0" + _raw(last)
        yield band[first:] if isinstance(band, np.ndarray) else band.crop((0, first, header.width, count))
    packed.finish()


def _decode(header: Header, rows: int, filtered: bytes) -> Band:
    file = _file(header, rows, filtered)
    return deep.load(lambda: Image.open(io.BytesIO(file), formats=("PNG",)))


def _raw(band: Band) -> bytes:
    """Return the last row as a PNG has it."""
    if isinstance(band, np.ndarray):
        return band[-1].astype(">u2").tobytes()
    width, height = band.size
    return band.crop((0, height - 1, width, height)).tobytes()


def _file(header: Header, rows: int, filtered: bytes, before: bytes = b"", behind: bytes = b"") -> bytes:
    start = struct.pack(">IIBBBBB", header.width, rows, header.depth, header.colour, 0, 0, 0)
    pixels = _chunk(b"IDAT", zlib.compress(filtered, 0))
    return b"".join([_SIGNATURE, _chunk(b"IHDR", start), header.colours, before, pixels, behind, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))])
