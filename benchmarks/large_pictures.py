"""Memory and time of single large pictures: `python benchmarks/large_pictures.py --only png,webp`.

Each file is made in a temporary folder, then looked at and decoded alone, in a process of its own, by the reader that
a training uses. Printed are the peak of its memory above that of the same process after a small picture of the same
kind, and the seconds of processor time of looking and decoding together. Linux only: the peak is VmHWM of /proc.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Write = Callable[[Path, int, int], None]
"""Write a picture of width x height to a path."""
WIDE = (16383, 3900)
"""The widest that WEBP takes, just below the cap of 64 megapixels; files of other kinds are square."""
SQUARE = (7990, 7990)


def values(width: int, height: int, channels: int, dtype: str = "u1") -> np.ndarray:
    """Return (height, width, channels): ramps with a little noise that repeats, as files of few bytes have."""
    tile = np.random.default_rng(0).integers(0, 9, (64, 64, channels))
    rows = (np.arange(height) * 200 // height)[:, None, None]
    out = np.empty((height, width, channels), dtype)
    for start in range(0, height, 64):
        stop = min(start + 64, height)
        wide = np.tile(tile[: stop - start], (1, -(-width // 64), 1))[:, :width]
        part = rows[start:stop] + wide + (np.arange(width) * 40 // width)[None, :, None]
        out[start:stop] = part / 255 if dtype == "f4" else part * (257 if dtype == "u2" else 1)
    return out[..., 0] if channels == 1 else out


def png(colour: int, depth: int, interlace: bool = False) -> Write:
    """PNG by hand, since Pillow writes neither 16 bits of colour nor interlaced ones."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]

    def write(path: Path, width: int, height: int) -> None:
        array = values(width, height, channels, "u2" if depth == 16 else "u1").reshape(height, width, channels)
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        pack, packed = zlib.compressobj(1), []
        for top, left, down, across in steps if interlace else [(0, 0, 1, 1)]:
            part = array[top::down, left::across]
            rows = part.astype(">u2" if depth == 16 else "u1") if part.size else ()
            packed += [pack.compress(b"\0" + row.tobytes()) for row in rows]
        body = b"".join([*packed, pack.flush()])
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))]
        chunks += [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
        with path.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, data in [*chunks, (b"IDAT", body), (b"IEND", b"")]:
                file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    return write


def pillow(kind: str, channels: int, dtype: str = "u1", mode: str | None = None, **options: object) -> Write:
    """Anything that Pillow writes."""

    def write(path: Path, width: int, height: int) -> None:
        image = Image.fromarray(values(width, height, channels, dtype), None)
        (image.convert(mode) if mode else image).save(path, kind, **options)  # type: ignore[arg-type]

    return write


def tiff(channels: int, dtype: str, packing: str, tile: int = 0, rows: int = 64) -> Write:
    """TIFF by hand: tiles, 16 bits of colour, strips of any number of rows. packing: "none" or "deflate"."""

    def write(path: Path, width: int, height: int) -> None:
        array = values(width, height, channels, dtype).reshape(height, width, channels)
        parts = []
        for top in range(0, height, tile or rows):
            strip = array[top : top + (tile or rows)]
            for left in range(0, width, tile or width):
                part = strip[:, left : left + (tile or width)]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
                parts.append(part.tobytes() if packing == "none" else zlib.compress(part.tobytes(), 1))
        places = np.cumsum([8, *map(len, parts)])
        bits, form = 8 * array.itemsize, 3 if dtype == "f4" else 1
        shape = [(322, [tile]), (323, [tile])] if tile else [(278, [rows])]
        tags = [(256, [width]), (257, [height]), (258, [bits] * channels), (259, [1 if packing == "none" else 8])]
        tags += [(262, [2 if channels > 2 else 1]), (277, [channels]), (339, [form] * channels), *shape]
        tags += [(324 if tile else 273, places[:-1].tolist()), (325 if tile else 279, [len(part) for part in parts])]
        tags += [(338, [2])] if channels == 4 else []
        base = int(places[-1])
        after, table = base + 2 + 12 * len(tags) + 4, b""
        rest = b""
        for tag, numbers in sorted(tags):
            short = tag in (258, 339, 259, 262, 277, 338)
            data = struct.pack(f"<{len(numbers)}{'H' if short else 'I'}", *numbers)
            place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", after + len(rest))
            rest += data if len(data) > 4 else b""
            table += struct.pack("<HHI", tag, 3 if short else 4, len(numbers)) + place
        with path.open("wb") as file:
            file.writelines([b"II*\0" + struct.pack("<I", base), *parts])
            file.write(struct.pack("<H", len(tags)) + table + bytes(4) + rest)

    return write


def npy(channels: int, dtype: str, order: str = "C") -> Write:
    def write(path: Path, width: int, height: int) -> None:
        np.save(path, np.asarray(values(width, height, channels, dtype), order=order))  # type: ignore[call-overload]

    return write


FILES: dict[str, tuple[str, tuple[int, int], Write]] = {
    "png grey 8": ("png", SQUARE, png(0, 8)),
    "png rgb 8": ("png", SQUARE, png(2, 8)),
    "png rgba 8": ("png", SQUARE, png(6, 8)),
    "png palette": ("png", SQUARE, png(3, 8)),
    "png grey 16": ("png", SQUARE, png(0, 16)),
    "png rgb 16": ("png", SQUARE, png(2, 16)),
    "png rgba 16": ("png", SQUARE, png(6, 16)),
    "png rgb 8 interlaced": ("png", SQUARE, png(2, 8, True)),
    "png rgba 16 interlaced": ("png", SQUARE, png(6, 16, True)),
    "jpeg baseline": ("jpg", SQUARE, pillow("JPEG", 3)),
    "jpeg baseline, 65500 x 976": ("jpg", (65500, 976), pillow("JPEG", 3)),
    "jpeg progressive": ("jpg", SQUARE, pillow("JPEG", 3, progressive=True)),
    "jpeg progressive 4:4:4": ("jpg", SQUARE, pillow("JPEG", 3, progressive=True, subsampling=0)),
    "jpeg cmyk": ("jpg", SQUARE, pillow("JPEG", 3, mode="CMYK")),
    "jpeg cmyk, 65500 x 976": ("jpg", (65500, 976), pillow("JPEG", 3, mode="CMYK")),
    "jpeg progressive cmyk": ("jpg", SQUARE, pillow("JPEG", 3, mode="CMYK", progressive=True)),
    "webp lossy": ("webp", WIDE, pillow("WEBP", 3, method=0)),
    "webp lossless": ("webp", WIDE, pillow("WEBP", 3, lossless=True, method=0)),
    "webp alpha": ("webp", WIDE, pillow("WEBP", 4, method=0)),
    "webp lossy, 33 MP": ("webp", (7000, 4700), pillow("WEBP", 3, method=0)),
    "webp lossy, 24 MP": ("webp", (6000, 4000), pillow("WEBP", 3, method=0)),
    "webp lossless, 24 MP": ("webp", (6000, 4000), pillow("WEBP", 3, lossless=True, method=0)),
    "webp alpha, 24 MP": ("webp", (6000, 4000), pillow("WEBP", 4, method=0)),
    "avif": ("avif", SQUARE, pillow("AVIF", 3, speed=10)),
    "avif, 44 MP": ("avif", (8000, 5500), pillow("AVIF", 3, speed=10)),
    "avif, 24 MP": ("avif", (6000, 4000), pillow("AVIF", 3, speed=10)),
    "bmp": ("bmp", SQUARE, pillow("BMP", 3)),
    "gif": ("gif", SQUARE, pillow("GIF", 1)),
    "tiff 8 none": ("tif", SQUARE, tiff(3, "u1", "none")),
    "tiff 8 lzw": ("tif", SQUARE, pillow("TIFF", 3, compression="tiff_lzw")),
    "tiff 8 deflate tiles": ("tif", SQUARE, tiff(3, "u1", "deflate", tile=256)),
    "tiff rgb 16 none": ("tif", SQUARE, tiff(3, "u2", "none")),
    "tiff rgb 16 deflate": ("tif", SQUARE, tiff(3, "u2", "deflate")),
    "tiff 16 lzw": ("tif", SQUARE, pillow("TIFF", 1, "u2", compression="tiff_lzw")),
    "tiff float none": ("tif", SQUARE, tiff(1, "f4", "none")),
    "tiff float none, one strip": ("tif", SQUARE, tiff(1, "f4", "none", rows=SQUARE[1])),
    "tiff float none tiles": ("tif", SQUARE, tiff(1, "f4", "none", tile=256)),
    "tiff float lzw": ("tif", SQUARE, pillow("TIFF", 1, "f4", compression="tiff_lzw")),
    "tiff float deflate": ("tif", SQUARE, tiff(1, "f4", "deflate")),
    "tiff float deflate, one strip": ("tif", SQUARE, tiff(1, "f4", "deflate", rows=SQUARE[1])),
    "tiff float lzw, one strip": (
        "tif",
        SQUARE,
        pillow("TIFF", 1, "f4", compression="tiff_lzw", tiffinfo={278: SQUARE[1]}, strip_size=2**31 - 1),
    ),
    "ppm": ("ppm", SQUARE, pillow("PPM", 3)),
    "pgm 16": ("pgm", SQUARE, pillow("PPM", 1, "u2")),
    "npy 8": ("npy", SQUARE, npy(3, "u1")),
    "npy 16": ("npy", SQUARE, npy(3, "u2")),
    "npy float": ("npy", SQUARE, npy(1, "f4")),
}

_CHILD = """
import sys, time
from pathlib import Path
from modalities.image.data import canvas, decode, survey
from toolkit.data.listing import Entry

def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

def read(path):
    entry = Entry(path.name, path, path.stat().st_size)
    seen = survey._look(entry, False)
    return seen if isinstance(seen, str) else decode.one(path, canvas.Plan((int(sys.argv[3]),) * 2))

with decode.quiet():
    read(Path(sys.argv[1]))
    before, start = peak(), time.process_time()
    result = read(Path(sys.argv[2]))
    print(f"{peak() - before:.0f}\\t{time.process_time() - start:.2f}\\t{result if isinstance(result, str) else ''}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="beginnings of names, with commas between them")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures for the network")
    parser.add_argument("--keep", type=Path, help="folder where the files stay, for another start")
    options = parser.parse_args()
    print("| file | bytes | MB above the baseline | processor seconds |\n|---|---|---|---|", flush=True)
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        for name, (ending, (width, height), write) in FILES.items():
            if not any(name.startswith(one) for one in options.only.split(",")):
                continue
            small, large = (folder / f"{name} {kind}.{ending}" for kind in ("small", "large"))
            if not large.exists():
                write(small, 60, 40)
                write(large, width, height)
            command = [sys.executable, "-c", _CHILD, str(small), str(large), str(options.size)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            peak, seconds, why = done.stdout.strip("\n").split("\t")
            print(f"| {name} | {large.stat().st_size:,} | {peak} | {seconds} | {why}", flush=True)
            if not options.keep:
                large.unlink()


if __name__ == "__main__":
    main()
