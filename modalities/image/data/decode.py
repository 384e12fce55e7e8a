"""Decoding of one picture of any size, mode and depth to a uint8 array, or to the reason why not.

Choices: EXIF orientation is applied; colour profiles are ignored; what `Plan` says otherwise.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from modalities.image.data.canvas import SIDEWAYS, UPRIGHT, Picture, Plan, finish, orientation, resizable
from modalities.image.data.formats import arrays, deep, strips
from modalities.image.data.formats.arrays import Unreadable
from modalities.image.data.geometry import Size
from modalities.image.data.levels import NOT_NUMBERS, Extent, as_bytes, extent
from toolkit.console import printable
from toolkit.data.listing import Entry

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")
"""Parsers of Pillow that a file may reach, whatever its name; HEIF too where pillow-heif is installed."""
_OURS = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"}
_OURS |= {".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".apng", arrays.ENDING}
HEIC = frozenset({".heic", ".heif", ".hif"})
"""Endings that need pillow-heif."""
EXTENSIONS = frozenset(_OURS) | HEIC
"""All endings by which a folder is recognised as one of pictures."""
MAX_PIXELS = arrays.MAX_PIXELS
"""Largest number of pixels; larger pictures are refused by their header, before anything is allocated."""
MAX_FRAMES = 1_000
"""Most pictures that are read of one animation or stack."""
_LARGE_PIXELS = 8_000_000
"""Pixels from which on one picture at a time is decoded."""
_BANDED_PIXELS = 2_000_000
"""Pixels from which on a picture is decoded in bands; more than any target has."""
_one_large = threading.Lock()


class Look(NamedTuple):
    """Facts about a file that are known before it is decoded."""

    size: Size
    """Width and height of the upright picture."""
    frames: int
    """Pictures in the file."""
    extents: list[Extent]
    """The values of those that are asked for."""


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the parsers there are; pillow-heif adds its own to Pillow."""
    if importlib.util.find_spec("pillow_heif") is None:
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def names() -> str:
    """Return the formats that can be read here, for messages."""
    return f"PNG, JPEG, WEBP, AVIF, {'HEIC, ' if 'HEIF' in formats() else ''}BMP, TIFF, GIF, PPM and NPY"


def readable() -> frozenset[str]:
    """Return the endings that can be read here."""
    return EXTENSIONS if "HEIF" in formats() else EXTENSIONS - HEIC


def look(stream: BinaryIO, every_frame: bool = False) -> Look:
    """Return what a header says, and the values of pictures of more than 8 bits, which are decoded for that.

    Raises Unreadable, or any exception of Pillow.
    """
    with _open(stream) as image:
        width, height = image.size
        # PNG may have its EXIF behind the pixels; TIFF is upright already
        if image.format != "TIFF" and "exif" in image.info and orientation(image) in SIDEWAYS:
            width, height = height, width
        frames, extents = _frames(image), []
        for frame in range(min(frames, MAX_FRAMES) if every_frame else 1):
            if frame or deep.is_deep(image):
                image.seek(frame)
            extents.append(_extent(image, stream, frame) if deep.is_deep(image) else Extent())
        return Look((width, height), frames, extents)


def pictures(stream: BinaryIO, plan: Plan, frames: Sequence[int] = (0,)) -> Iterator[Picture | str]:
    """Decode some pictures of a file, frames in rising order, or give the reason why not."""
    try:
        with _open(stream) as image:
            for frame in frames:
                try:
                    image.seek(frame)
                    yield _decode(image, stream, frame, plan)
                except Exception as error:
                    yield reason(error)
    except Exception as error:  # damaged files make Pillow raise nearly everything
        yield from (reason(error) for _ in frames)


def array_pictures(entry: Entry, stream: BinaryIO, plan: Plan, numbers: Sequence[int]) -> Iterator[Picture | str]:
    """Decode some pictures of a .npy file."""
    try:
        array = arrays.open_array(entry, stream)
    except Exception as error:
        yield from (reason(error) for _ in numbers)
        return
    size = (array.shape[2], array.shape[1])
    if in_bands(size):
        del array  # as long as it is mapped, what was read of it counts as memory
        for i in numbers:
            large = strips.Large(functools.partial(arrays.bands, entry, stream, i), lambda: (size, 1))
            try:
                with _alone(size):
                    result: Picture | str = strips.decode(large, plan)
            except Exception as error:
                result = reason(error)
            yield result
        return
    for i in numbers:
        yield finish(Image.fromarray(np.ascontiguousarray(as_bytes(np.asarray(array[i]), plan.ranges))), plan)


def one(path: Path, plan: Plan) -> Picture | str:
    """Decode the first picture of a file, or give the reason why not. Raises OSError."""
    entry = Entry(path.name, path, path.stat().st_size)
    with path.open("rb") as stream:
        if path.suffix.lower() == arrays.ENDING:
            return next(array_pictures(entry, stream, plan, [0]))
        return next(pictures(stream, plan))


def has_colour(rgb: np.ndarray, tolerance: int = 8) -> bool:
    """Return True where any pixel of (3, H, W) uint8 is not grey; lossy formats miss grey by a few levels."""
    return bool((rgb.max(axis=0) - rgb.min(axis=0)).max() > tolerance)


def to_grey(rgb: np.ndarray) -> np.ndarray:
    """Return the luma (ITU-R BT.601, in Pillow's integers) of (N, 3, H, W) uint8 as (N, 1, H, W); grey stays exact."""
    red, green, blue = (rgb[:, i].astype(np.uint32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[:, None]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about odd metadata and size; errors are raised. Enter it in one thread only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason(error: Exception) -> str:
    """Return one short line, without addresses or line breaks, on why a picture could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return f"not a {names().replace(' and ', ' or ')} picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS // 10**6} million pixels allowed"
    if isinstance(error, PermissionError):
        return "permission denied"
    return printable(" ".join(str(error).split()))[:160] or type(error).__name__


@contextlib.contextmanager
def _open(stream: BinaryIO) -> Iterator[Image.Image]:
    """Open a picture whose size is allowed. Raises Unreadable, or any exception of Pillow."""
    try:
        image = Image.open(stream, formats=formats())
    except UnidentifiedImageError:
        stream.seek(0)
        start = stream.read(12)
        if start[:4] in (b"II*\0", b"MM\0*"):
            raise Unreadable("a TIFF of a kind that is not read; save it as 8 or 16 bits a channel") from None
        if start[4:8] == b"ftyp" and "HEIF" not in formats():
            raise Unreadable("not a picture that is read here, or HEIC: pip install diffusion-toolkit[heic]") from None
        raise
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Unreadable(f"{width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million allowed")
        yield image


def _decode(opened: Image.Image, stream: BinaryIO, frame: int, plan: Plan) -> Picture:
    with _alone(opened.size):
        is_deep = deep.is_deep(opened)
        if not is_deep:
            longest = 2 * max(plan.size)
            opened.draft(None, (longest, longest))  # JPEG only: decodes at 1/2, 1/4 or 1/8 when that is enough
        if in_bands(opened.size):
            return strips.decode(strips.of(opened, stream, frame, _reopener(stream, frame)), plan)
        if is_deep:
            values = deep.values(opened, _reopener(stream, frame))
            if not np.isfinite(extent(values)[1:]).all():
                raise Unreadable(NOT_NUMBERS)
            image = Image.fromarray(as_bytes(values, plan.ranges))
        else:
            opened.load()
            image = resizable(opened)
        return finish(image, plan, UPRIGHT.get(orientation(opened)))


def in_bands(size: Size) -> bool:
    """Return True where a picture is decoded in bands of rows."""
    return size[0] * size[1] > _BANDED_PIXELS


def _alone(size: Size) -> contextlib.AbstractContextManager[object]:
    """Return what bounds the memory of large pictures: one at a time is decoded."""
    return _one_large if size[0] * size[1] > _LARGE_PIXELS else contextlib.nullcontext()


def _extent(image: Image.Image, stream: BinaryIO, frame: int) -> Extent:
    """Return the values of a deep picture, which is decoded for that."""
    again = _reopener(stream, frame)
    with _alone(image.size):
        if in_bands(image.size):
            return strips.extent_of(strips.of(image, stream, frame, again).bands())
        return extent(deep.values(image, again))


def _reopener(stream: BinaryIO, frame: int) -> deep.Again:
    """Return a function that opens the same picture of a file anew."""

    def again() -> Image.Image:
        stream.seek(0)
        image = Image.open(stream, formats=formats())
        image.seek(frame)
        return image

    return again


def _frames(image: Image.Image) -> int:
    """Return the number of pictures in a file; photographs of telephones, which add small ones, have one."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # damaged behind the first picture, which may be whole
        return 1
