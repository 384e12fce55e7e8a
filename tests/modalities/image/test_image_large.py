"""Large pictures: what is read in bands is what is read as a whole, in little memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from modalities.image.data import decode, survey
from modalities.image.data.canvas import Picture, Plan
from modalities.image.data.formats import bands, whole
from modalities.image.data.geometry import Fit, Size, place
from tests.modalities.image.corpus import encoded, png_chunk
from tests.modalities.image.test_image_levels import tiff_of_16_bits
from toolkit.data.listing import Entry

WIDTH, HEIGHT = 101, 77
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    if dtype == "f4":
        return draw.random(shape).astype(dtype)
    return draw.integers(0, 256 if dtype == "u1" else 65536, shape).astype(dtype)


def png(colour: int, depth: int, *more: bytes, behind: bytes = b"") -> bytes:
    """A PNG of noise, each row filtered by the one above it or by what is left of it, its stream in three chunks."""
    row_bytes, step = (WIDTH * CHANNELS[colour] * depth + 7) // 8, max(1, CHANNELS[colour] * depth // 8)
    rows = noise(HEIGHT, row_bytes).astype(int)
    above = np.concatenate([np.zeros((1, row_bytes), int), rows[:-1]])
    left = np.concatenate([np.zeros((HEIGHT, step), int), rows], 1)[:, :row_bytes]
    kinds = np.arange(HEIGHT) % 4
    guess = np.choose(kinds[:, None], [0 * rows, left, above, (left + above) // 2])
    filtered = np.concatenate([kinds[:, None], (rows - guess) % 256], 1).astype("u1")
    packed = zlib.compress(filtered.tobytes())
    third = len(packed) // 3 + 1
    chunks = [png_chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0))]
    chunks += [png_chunk(b"PLTE", noise(768).tobytes())] if colour == 3 else []
    chunks += [*more, *(png_chunk(b"IDAT", packed[i : i + third]) for i in range(0, len(packed), third)), behind]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, png_chunk(b"IEND", b"")])


def strips(values: np.ndarray, rows: int, packing: str | None = None, guess: int = 1) -> bytes:
    """A TIFF in strips of so many rows; guess: 2 predicts a pixel from the one on its left, 3 does so of fractions."""
    image = Pillow.fromarray(values)
    return encoded(image, "TIFF", compression=packing, tiffinfo={278: rows, 317: guess}, strip_size=1 << 30)


def array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def picture(kind: str, values: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    image = Pillow.fromarray(values)
    return encoded(image.convert(mode) if mode else image, kind, **options)


def turned(number: int) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = number
    return png_chunk(b"eXIf", exif.tobytes()[6:])


GREY, RGB, RGBA = noise(HEIGHT, WIDTH), noise(HEIGHT, WIDTH, 3), noise(HEIGHT, WIDTH, 4)
WORDS, FLOATS = noise(HEIGHT, WIDTH, dtype="u2"), noise(HEIGHT, WIDTH, dtype="f4")
CONTENTS: dict[str, bytes] = {
    **{f"{colour}-{depth}.png": png(colour, depth) for colour, depths in DEPTHS.items() for depth in depths},
    "key.png": png(2, 8, png_chunk(b"tRNS", b"\0\x07\0\x07\0\x07")),
    "palette-alpha.png": png(3, 4, png_chunk(b"tRNS", bytes(range(0, 160, 10)))),
    "turned.png": png(6, 16, turned(6)),
    "turned-behind.png": png(2, 8, behind=turned(8)),
    "animated.png": picture("PNG", RGB, save_all=True, append_images=[Pillow.fromarray(255 - RGB)]),
    "one-strip.tif": strips(FLOATS, HEIGHT),
    "some-strips.tif": strips(RGB, 30, "tiff_lzw", 2),
    "deflate.tif": strips(WORDS, HEIGHT, "tiff_adobe_deflate", 2),
    "fractions.tif": strips(FLOATS, 40, "tiff_adobe_deflate", 3),
    "lzw.tif": strips(FLOATS, HEIGHT, "tiff_lzw"),
    "alpha.tif": strips(RGBA, 5),
    "bits.tif": picture("TIFF", GREY, "1", compression="group4", tiffinfo={278: 8}),
    "turned.tif": picture("TIFF", RGB, tiffinfo={274: 6}),
    "16-colour.tif": tiff_of_16_bits(noise(HEIGHT, WIDTH, 3, dtype="u2"), ">"),
    "16-alpha.tif": tiff_of_16_bits(noise(HEIGHT, WIDTH, 4, dtype="u2"), "<"),
    "up.bmp": picture("BMP", RGB),
    "palette.bmp": picture("BMP", GREY, "P"),
    "a.ppm": picture("PPM", RGB),
    "bits.pbm": picture("PPM", GREY, "1"),
    "words.pgm": picture("PPM", WORDS),
    "fractions.pfm": picture("PPM", FLOATS),
    "a.gif": picture("GIF", GREY),
    "cmyk.jpg": picture("JPEG", RGB, "CMYK"),
    "progressive.jpg": picture("JPEG", RGB, progressive=True),
    "a.webp": picture("WEBP", RGB, lossless=True),
    "alpha.webp": picture("WEBP", RGBA, lossless=True, exif=turned(6)[8:-4]),
    "animated.webp": picture("WEBP", RGB, save_all=True, append_images=[Pillow.fromarray(255 - RGB)]),
    "words.npy": array(noise(HEIGHT, WIDTH, 3, dtype="u2")),
    "first.npy": array(noise(3, HEIGHT, WIDTH)),
    "fortran.npy": array(np.asfortranarray(FLOATS)),
    "truth.npy": array(GREY > 99),
    "stack.npy": array(noise(5, HEIGHT, WIDTH)),
}
PLANS = [Plan((9, 7)), Plan((40, 64), 4, "pad"), Plan((16, 16), 1, "stretch"), Plan((12, 31), 2)]


def seen(path: Path) -> list[Any]:
    """The survey's look at a file, and the file decoded."""
    entry = Entry(path.name, path, path.stat().st_size)
    return [survey._look(entry, False), *(decode.one(path, plan) for plan in PLANS)]


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("band", [1, 1700, 1 << 20])
def test_what_is_read_in_bands_is_what_is_read_as_a_whole(
    name: str, band: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENTS[name])
    wholes = seen(path)
    monkeypatch.setattr(decode, "_BANDED_PIXELS", 0)
    monkeypatch.setattr(bands, "_BYTES", band)
    parts = seen(path)
    assert str(parts[0]) == str(wholes[0]) and not isinstance(wholes[0], str)
    for ours, theirs in zip(parts[1:], wholes[1:], strict=True):
        assert isinstance(ours, Picture) and isinstance(theirs, Picture), (ours, theirs)
        assert np.array_equal(ours.pixels, theirs.pixels) and ours[1:] == theirs[1:]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", ["2-8.png", "6-16.png", "one-strip.tif", "deflate.tif", "some-strips.tif", "up.bmp"])
def test_what_is_cut_off_is_refused_in_bands_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_BANDED_PIXELS", 0)
    monkeypatch.setattr(bands, "_BYTES", 1700)
    for share in (0.5, 0.9):
        (tmp_path / name).write_bytes(CONTENTS[name][: int(share * len(CONTENTS[name]))])
        assert isinstance(decode.one(tmp_path / name, PLANS[0]), str)


def test_no_number_in_the_last_band_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = FLOATS.copy()
    values[-1, -1] = np.nan
    monkeypatch.setattr(decode, "_BANDED_PIXELS", 0)
    monkeypatch.setattr(bands, "_BYTES", 1700)
    for name, content in (("nan.tif", strips(values, 16)), ("nan.npy", array(values))):
        (tmp_path / name).write_bytes(content)
        assert "not numbers" in str(decode.one(tmp_path / name, PLANS[0])), name


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1000, 30), (30, 1000), (333, 257)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("target", [(8, 8), (17, 64), (200, 9)])
def test_resized_in_bands_is_resized(mode: str, size: Size, fit: Fit, target: Size) -> None:
    image = Pillow.fromarray(noise(size[1], size[0], 4)).convert(mode)
    box, inner = place(size, target, fit)
    exact = image.resize(inner, Pillow.Resampling.BICUBIC, box, reducing_gap=bands.GAP)
    for rows in (1, 7, 1000):
        parts = (image.crop((0, top, size[0], min(top + rows, size[1]))) for top in range(0, size[1], rows))
        assert np.array_equal(np.asarray(bands.resize(parts, size, inner, box)), np.asarray(exact))


@pytest.mark.parametrize(("name", "instead"), [("a.webp", "as JPEG"), ("alpha.webp", "as PNG")])
def test_what_takes_too_much_to_decode_is_refused_by_its_header(
    name: str, instead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    monkeypatch.setattr(decode, "_BANDED_PIXELS", 0)
    monkeypatch.setattr(whole, "MAX_BYTES", 12 * WIDTH * HEIGHT - 1)
    why = decode.one(tmp_path / name, PLANS[0])
    assert why == f"101 x 77 pixels of WEBP take 0 MB to decode; save it smaller or {instead}"
    monkeypatch.setattr(whole, "MAX_BYTES", 12 * WIDTH * HEIGHT)
    assert isinstance(decode.one(tmp_path / name, PLANS[0]), Picture)


def test_photographs_are_below_every_cap() -> None:
    """Up to the 64 megapixels that are allowed at all, of all but WEBP and AVIF; of these 33 and 45."""
    image: Any = Pillow.new("RGB", (1, 1))
    for kind, pixels in {"JPEG": 64, "MPO": 64, "HEIF": 64, "PNG": 64, "GIF": 64, "WEBP": 33, "AVIF": 45}.items():
        image._size, image.format, image.tile = (1000, 1000 * pixels), kind, []
        assert whole.bytes_of(image) <= whole.MAX_BYTES, kind
        image._size = (1000, 1000 * (pixels + 1))
        assert kind not in ("WEBP", "AVIF") or whole.bytes_of(image) > whole.MAX_BYTES, kind


MEMORY = """
import resource, sys
from pathlib import Path
from modalities.image.data import decode, survey
from modalities.image.data.canvas import Plan
from toolkit.data.listing import Entry

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)

def read(path):
    seen = survey._look(Entry(path.name, path, path.stat().st_size), False)
    assert not isinstance(seen, str), seen
    assert not isinstance(result := decode.one(path, Plan((64, 64))), str), result

folder = Path(sys.argv[1])
for path in sorted(folder.glob("small*")):
    read(path)
before = peak()
for path in sorted(folder.glob("large*")):
    read(path)
    print(path.name, round((peak() - before) / 2**20))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells no peak")
def test_large_pictures_take_little_memory(tmp_path: Path) -> None:
    """12 megapixels each; as a whole, colours of 16 bits take 1 GB more and fractions 0.3 GB."""
    for kind, (width, height) in {"small": (60, 40), "large": (4000, 3000)}.items():
        for name, colour, depth in (("rgb8", 2, 8), ("rgb16", 2, 16), ("grey16", 0, 16)):
            row = 1 + width * CHANNELS[colour] * depth // 8
            packer = zlib.compressobj(1)
            packed = b"".join([packer.compress(bytes(row * 10)) for _ in range(height // 10)]) + packer.flush()
            head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            file = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
            (tmp_path / f"{kind} {name}.png").write_bytes(file)
        values = np.zeros((height, width), "f4")
        np.save(tmp_path / f"{kind}.npy", values)
        for packing in ("tiff_lzw", "tiff_adobe_deflate"):
            Pillow.fromarray(values).save(tmp_path / f"{kind} {packing}.tif", compression=packing)
        Pillow.fromarray(values).convert("RGB").save(tmp_path / f"{kind}.bmp")
    # a process of pytest's own would begin with the peak of pytest
    command = ["sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in done.stdout.splitlines()}
    assert len(grown) == 7 and max(grown.values()) < 120, grown
