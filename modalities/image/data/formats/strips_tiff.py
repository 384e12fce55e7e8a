"""TIFF in bands of rows: some strips, or a row of tiles, become a small TIFF of their own, which Pillow decodes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

from modalities.image.data.formats import deep
from modalities.image.data.formats.bands import Band, rows_at_once
from modalities.image.data.formats.inflated import InflateStream

_WIDTH, _LENGTH, _BITS, _PACKING, _LIGHT, _PLACES, _SAMPLES = 256, 257, 258, 259, 262, 273, 277
_ROWS, _SIZES, _PLANES, _TILE_LENGTH, _TILE_PLACES, _TILE_SIZES = 278, 279, 284, 323, 324, 325
_TILE_WIDTH, _TABLES = 322, 347
_COPIED = (
    _WIDTH,
    _BITS,
    _PACKING,
    _LIGHT,
    266,
    _SAMPLES,
    _PLANES,
    292,
    293,
    317,
    320,
    _TILE_WIDTH,
    338,
    339,
    _TABLES,
    530,
)
"""Tags that say how pixels are laid out; 266: order of bits, 292, 293: faxes, 317: predictor, 320: palette, 338: what
further samples are, 339: fractions or integers, 530: how colour is thinned."""
_LONG = (_WIDTH, _LENGTH, _PLACES, _ROWS, _SIZES, _TILE_WIDTH, _TILE_LENGTH, _TILE_PLACES, _TILE_SIZES, 292, 293)
_NONE, _DEFLATE, _JPEG = 1, (8, 32946), 7
_MAX_BAND = 32 << 20
"""Bytes of a strip, or of a row of tiles; what is larger is decoded as a whole."""
_LIGHTS = (0, 1, 2, 3, 5)
"""Grey, RGB, palettes and CMYK."""


class Layout(NamedTuple):
    """The places of the parts of a TIFF that can be read in bands."""

    tags: dict[int, Any]
    order: str
    """Byte order: "<" or ">"."""
    width: int
    height: int
    rows: int
    """Rows of a strip or tile."""
    planes: int
    """1, or one for each channel where they are stored apart."""
    across: int
    """Tiles beside each other; 1 for strips."""
    places: list[int]
    sizes: list[int]
    row_bytes: int
    """Bytes of a row without packing."""

    @property
    def down(self) -> int:
        """Strips, or rows of tiles."""
        return -(-self.height // self.rows)


def layout(image: Any) -> Layout | None:
    """Return the layout of the frame that a TIFF is at, or None where it is not one that is read in bands."""
    try:
        tiff = _layout(image, dict(image.tag_v2))
    except Exception:  # odd tags; whether the picture can be read is for Pillow to say
        return None
    if tiff is None or tiff.rows < 1 or len(tiff.places) != len(tiff.sizes):
        return None
    return tiff if len(tiff.places) == tiff.down * tiff.across * tiff.planes else None


def _layout(image: Any, tags: dict[int, Any]) -> Layout | None:
    width, height, packing = tags[_WIDTH], tags[_LENGTH], tags.get(_PACKING, 1)
    light, planes = tags.get(_LIGHT, 0), tags.get(_PLANES, 1)
    if (width, height) != image.size or (_PLACES in tags) == (_TILE_PLACES in tags):
        return None
    if not (light in _LIGHTS or (light == 6 and packing == _JPEG)) or packing == 6:
        return None
    bits = tags.get(_BITS, (1,))
    samples = tags.get(_SAMPLES, len(bits))
    if len(set(bits)) != 1 or (planes == 2 and samples != len(bits)):
        return None
    tiled = _PLACES not in tags
    keys = (_TILE_PLACES, _TILE_SIZES, _TILE_LENGTH) if tiled else (_PLACES, _SIZES, _ROWS)
    places, sizes = (list(tags.get(key, ())) for key in keys[:2])
    rows = min(tags.get(keys[2], height), height) if not tiled else tags[_TILE_LENGTH]
    across = -(-width // tags[_TILE_WIDTH]) if tiled else 1
    each = bits[0] * (1 if planes == 2 else samples)
    result = Layout(
        {key: tags[key] for key in _COPIED if key in tags},
        ">" if image.tag_v2.prefix == b"MM" else "<",
        width,
        height,
        rows,
        samples if planes == 2 else 1,
        across,
        places,
        sizes,
        (width * each + 7) // 8,
    )
    if packing == _NONE and not tiled:
        return result._replace(sizes=_exact(result))
    # what is packed is hardly larger; a file that says so would be read again and again
    unpacked = rows * (tags[_TILE_WIDTH] * each // 8 if tiled else result.row_bytes)
    if max(sizes) > 2 * unpacked + (1 << 16):
        return None
    return result if _can_be_cut(result) or unpacked * across <= _MAX_BAND else None


def _can_be_cut(layout: Layout) -> bool:
    """Return True where a strip can be read by its rows."""
    plain = layout.planes == 1 and _TILE_WIDTH not in layout.tags
    return plain and layout.tags.get(_PACKING, 1) in (_NONE, *_DEFLATE)


def bands(stream: BinaryIO, layout: Layout) -> Iterator[Band]:
    """Yield the rows. Raises OSError, or what Pillow raises where a file is damaged."""
    step = rows_at_once(layout.width, max(4.0, layout.row_bytes * layout.planes / layout.width))
    if layout.rows > 2 * step and _can_be_cut(layout):
        for number in range(layout.down):
            yield from _cut(stream, layout, number, step)
        return
    count = max(1, step // layout.rows)
    for first in range(0, layout.down, count):
        last = min(first + count, layout.down)
        rows = min(last * layout.rows, layout.height) - first * layout.rows
        parts = []
        for plane in range(layout.planes):
            begin = plane * layout.down * layout.across
            for i in range(begin + first * layout.across, begin + last * layout.across):
                stream.seek(layout.places[i])
                parts.append(stream.read(layout.sizes[i]))
                if len(parts[-1]) != layout.sizes[i]:
                    raise OSError("image file is truncated")
        yield _decode(layout, rows, layout.rows, parts)


def _cut(stream: BinaryIO, layout: Layout, number: int, step: int) -> Iterator[Band]:
    """Yield a long strip by its rows, each of which is predicted from its own pixels alone."""
    packed = layout.tags.get(_PACKING, 1) != _NONE
    place, size = layout.places[number], layout.sizes[number]
    unpacked = InflateStream(stream, [(place, size)])
    height = min(layout.rows, layout.height - number * layout.rows)
    for top in range(0, height, step):
        rows = min(step, height - top)
        count, start = rows * layout.row_bytes, top * layout.row_bytes
        if packed:
            data = zlib.compress(unpacked.take(count), 0)
        else:
            stream.seek(place + start)
            data = stream.read(min(count, size - start))
            if len(data) < count:
                raise OSError("image file is truncated")
        yield _decode(layout, rows, rows, [data])


def _exact(layout: Layout) -> list[int]:
    """Return the bytes of strips without packing, whatever the file says of them."""
    heights = [min(layout.rows, layout.height - number * layout.rows) for number in range(layout.down)]
    return [height * layout.row_bytes for height in heights] * layout.planes


def _decode(layout: Layout, rows: int, each: int, parts: list[bytes]) -> Band:
    file = _file(layout, rows, each, parts)
    return deep.load(lambda: Image.open(io.BytesIO(file), formats=("TIFF",)))


def _file(layout: Layout, rows: int, each: int, parts: list[bytes]) -> bytes:
    """Return a TIFF of the parts of a band."""
    places = [8]
    for part in parts:
        places.append(places[-1] + len(part) + len(part) % 2)
    tiled = layout.tags.get(_TILE_WIDTH) is not None
    tags = layout.tags | {_LENGTH: rows, _TILE_LENGTH if tiled else _ROWS: each}
    tags |= {_TILE_PLACES if tiled else _PLACES: tuple(places[:-1])}
    tags |= {_TILE_SIZES if tiled else _SIZES: tuple(len(part) for part in parts)}
    after, table, rest = places[-1] + 2 + 12 * len(tags) + 4, b"", b""
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, (tuple, bytes)) else (value,)
        kind, code = (7, "B") if isinstance(value, bytes) else (4, "I") if tag in _LONG else (3, "H")
        data = struct.pack(f"{layout.order}{len(numbers)}{code}", *numbers)
        table += struct.pack(f"{layout.order}HHI", tag, kind, len(numbers))
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(f"{layout.order}I", after + len(rest))
            rest += data + bytes(len(data) % 2)
    start = (b"II*\0" if layout.order == "<" else b"MM\0*") + struct.pack(f"{layout.order}I", places[-1])
    body = [one for part in parts for one in (part, bytes(len(part) % 2))]
    return b"".join([start, *body, struct.pack(f"{layout.order}H", len(tags)), table, bytes(4), rest])
