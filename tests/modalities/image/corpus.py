"""Odd pictures, each made here, with what must become of it; and two shorthands."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from modalities.image import Image
from modalities.image.data import canvas, decode
from modalities.image.options import Data, Model
from toolkit.data.understood import Row
from toolkit.modality import Examples, Facts

SIZE = 16


def encoded(image: Pillow.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, seed: int = 0) -> Pillow.Image:
    return Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def flat(mode: str, colour: object, size: tuple[int, int] = (SIZE, SIZE)) -> Pillow.Image:
    return Pillow.new(mode, size, colour)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(4_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def good_pictures() -> dict[str, tuple[bytes, tuple[int, int, int] | None]]:
    """File name to (content, the colour that all its pixels must have, or None when it is not flat)."""
    palette = Pillow.new("P", (SIZE, SIZE), 1)
    palette.putpalette([255, 0, 0, 0, 0, 200] + [0] * 762)
    wide16 = Pillow.fromarray(np.full((SIZE, SIZE), 200 * 257, dtype=np.uint16))
    frames = [flat("P", 0), flat("P", 1)]
    for frame in frames:
        frame.putpalette([0, 255, 0, 255, 0, 0] + [0] * 762)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return {
        "rgb.png": (encoded(flat("RGB", (10, 20, 30)), "PNG"), (10, 20, 30)),
        "grey.png": (encoded(flat("L", 77), "PNG"), (77, 77, 77)),
        "one bit.png": (encoded(flat("1", 1), "PNG"), (255, 255, 255)),
        "sixteen.png": (encoded(wide16, "PNG"), (200, 200, 200)),
        "sixteen.tiff": (encoded(wide16, "TIFF"), (200, 200, 200)),
        "float.tif": (encoded(Pillow.fromarray(np.full((9, 9), 0.6, dtype=np.float32)), "TIFF"), (153, 153, 153)),
        "palette.png": (encoded(palette, "PNG"), (0, 0, 200)),
        "palette-alpha.png": (encoded(palette, "PNG", transparency=1), (255, 255, 255)),
        "half.png": (encoded(flat("RGBA", (0, 0, 0, 128)), "PNG"), (127, 127, 127)),
        "la.png": (encoded(flat("LA", (0, 0)), "PNG"), (255, 255, 255)),
        "cmyk.jpg": (encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
        "animated.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), (0, 255, 0)),
        "one.bmp": (encoded(flat("RGB", (1, 2, 3), (1, 1)), "BMP"), (1, 2, 3)),
        "narrow.webp": (encoded(flat("RGB", (90, 90, 90), (300, 3)), "WEBP", lossless=True), (90, 90, 90)),
        "jpeg called.png": (encoded(flat("L", 128, (40, 30)), "JPEG"), (128, 128, 128)),
        "turned.jpg": (encoded(noise(40, 60), "JPEG", exif=exif), None),
        "größe 写真.JPEG": (encoded(noise(33, 20), "JPEG"), None),
        "deep/er/photo.jpg": (encoded(noise(900, 1200), "JPEG"), None),
    }


def bad_pictures() -> dict[str, tuple[bytes, str]]:
    """File name to (content, a part of the reason that must be given)."""
    jpeg, png = encoded(noise(64, 64), "JPEG"), encoded(noise(64, 64), "PNG")
    return {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "truncated.png": (png[: len(png) // 2], "truncated"),
        "truncated.gif": (encoded(noise(64, 64), "GIF")[:2000], ""),
        "truncated.bmp": (encoded(noise(64, 64), "BMP")[:6000], "truncated"),
        "truncated.webp": (encoded(noise(64, 64), "WEBP")[:900], ""),
        "truncated.tif": (encoded(noise(64, 64), "TIFF")[:6000], ""),
        "empty.png": (b"", "empty file"),
        "text.png": (b"this is a letter, not a picture\n" * 9, "not a PNG, JPEG, WEBP, AVIF, "),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not a PNG"),
        "bomb.png": (png_bomb(50_000, 50_000), "64 million"),
        "nearly.png": (png_bomb(8_001, 8_000), "64 million"),
        "nan.tiff": (encoded(Pillow.fromarray(np.full((9, 9), np.nan, dtype=np.float32)), "TIFF"), "32-bit pixels"),
    }


def opened(source: Path, cache: Path, **options: object) -> tuple[Image, Facts, list[str]]:
    said: list[str] = []
    modality = Image(Data(source=str(source), **options), Model())
    return modality, modality.open(cache, said.append), said


def everything(modality: Image, split: str = "train") -> Examples:
    dataset = modality.dataset(split)
    return dataset.take(torch.arange(len(dataset)))


def pixels_of(path: Path, size: int | tuple[int, int], channels: int = 3, **plan: Any) -> np.ndarray:
    """The pixels (C, H, W) of one picture file."""
    size = (size, size) if isinstance(size, int) else size
    result = decode.one(path, canvas.Plan(size, channels, **plan))
    assert not isinstance(result, str), result
    return result.pixels


def row_of(modality: Image, name: str) -> Row:
    assert modality.splits is not None
    row = modality.splits.understood.row(name)
    assert row is not None, [row.name for row in modality.splits.understood.rows]
    return row
