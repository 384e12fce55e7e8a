"""Decoded pictures on disk: one uint8 array (N, C, H, W), memory-mapped, so that a second start is instant.

    CACHE/image/<key>/pixels.npy  labels.npy  test.npy  about.json

toolkit.data.store makes the folder whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modalities.image.data import decode
from toolkit.data import store
from toolkit.data.listing import Entry, Listing, labelled, test_mask

VERSION = 1
NOTIFY_EVERY = 5_000
_CHUNK = 16
_NOUN = "decoded pictures"


@dataclass(frozen=True)
class Corpus:
    """All usable pictures of a source."""

    pixels: np.ndarray
    """(N, C, H, W) uint8, perhaps memory-mapped."""
    labels: np.ndarray
    """(N,) int64; all zero when `names` is ()."""
    test: np.ndarray
    """(N,) bool: True for pictures of the test split."""
    names: tuple[str, ...]
    rejected: tuple[str, ...]
    mean: float
    std: float
    """Mean and deviation of pixels / 127.5 - 1 over the training pictures; std is 1 when all pixels are equal."""


def load(folder: Path) -> Corpus | None:
    """Return the corpus in `folder`; None when there is none or it is damaged."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        test = np.load(folder / "test.npy", allow_pickle=False)
        if not (pixels.ndim == 4 and pixels.dtype == np.uint8 and labels.shape == test.shape == pixels.shape[:1]):
            return None
        return Corpus(
            pixels, labels, test, tuple(about["names"]), tuple(about["rejected"]), about["mean"], about["std"]
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def build(
    listing: Listing, size: int, channels: int | None, folder: Path, notify: Callable[[str], None]
) -> Corpus | None:
    """Decode all of `listing` into `folder`, and return the corpus; None when no picture is readable.

    channels: 1, 3, or None: 3 as soon as one picture has colour. Unreadable files are added to listing.rejected.
    Raises StorageError when the cache cannot be written.
    """

    def fill(staging: Path) -> bool:
        accepted = _decode_all(listing, size, channels, staging, notify)
        if accepted:
            _describe(accepted, listing, staging)
        return bool(accepted)

    needed = len(listing.entries) * (channels or 3) * size**2 * (1 if channels else 2)
    return store.opened(folder, load, needed, fill, _NOUN)


def moments(pixels: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of pixels / 127.5 - 1 over the rows that are not `test`, exact to float64."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(pixels), 1024):
        rows = pixels[start : start + 1024][~test[start : start + 1024]]
        counts += np.bincount(rows.reshape(-1), minlength=256)
    values = np.arange(256) / 127.5 - 1
    share = counts / max(int(counts.sum()), 1)
    mean = float(share @ values)
    if np.count_nonzero(counts) < 2:
        return mean, 1.0
    return mean, float(np.sqrt(share @ (values - mean) ** 2))


def _decode_all(
    listing: Listing, size: int, channels: int | None, staging: Path, notify: Callable[[str], None]
) -> list[Entry]:
    """Write pixels.npy, and return the entries that are in it, in its order; the others are rejected."""
    accepted: list[Entry] = []
    coloured = False
    work = store.in_order(lambda entry: _decode(entry, size, channels or 3), listing.entries, _CHUNK)
    with (staging / "pixels.npy").open("wb") as file, decode.quiet(), contextlib.closing(work) as decoded:
        store.header(file, (0, channels or 3, size, size), "|u1")
        for number, (entry, result) in enumerate(decoded, start=1):
            if isinstance(result, str):
                listing.reject(entry.name, result)
            else:
                accepted.append(entry)
                file.write(result.data)
                coloured = coloured or channels is not None or decode.has_colour(result)
            if number % NOTIFY_EVERY == 0:
                notify(f"read {number:,} of {len(listing.entries):,} pictures")
        file.seek(0)
        store.header(file, (len(accepted), channels or 3, size, size), "|u1")  # numpy leaves space for a longer shape
        store.sync(file)
    if accepted and not coloured:  # only ever so when channels is None
        _collapse(staging, len(accepted), size)
    return accepted


def _decode(entry: Entry, size: int, channels: int) -> np.ndarray | str:
    try:
        with open_entry(entry) as stream:
            return decode.pixels(stream, size, channels)
    except Exception as error:  # damaged files make Pillow raise nearly everything
        return decode.reason(error)


def open_entry(entry: Entry) -> BinaryIO:
    """Open the bytes of one picture; a member of a shard is read into memory."""
    stream = entry.path.open("rb")
    if entry.offset is None:
        return stream
    with stream:
        stream.seek(entry.offset)
        return io.BytesIO(stream.read(entry.size))


def _describe(accepted: list[Entry], listing: Listing, staging: Path) -> None:
    """Write labels.npy, test.npy and about.json."""
    names, labels = labelled(accepted, listing.label_order)
    test = test_mask(accepted)
    pixels = np.load(staging / "pixels.npy", mmap_mode="r", allow_pickle=False)
    mean, std = moments(pixels, test)
    about = {
        "names": names,
        "rejected": sorted(listing.rejected),
        "mean": mean,
        "std": std,
    }
    store.save_array(staging / "labels.npy", labels)
    store.save_array(staging / "test.npy", test)
    store.save_json(staging / "about.json", about)


def _collapse(staging: Path, count: int, size: int) -> None:
    """Rewrite pixels.npy from RGB to grey."""
    rgb = np.load(staging / "pixels.npy", mmap_mode="r", allow_pickle=False)
    with (staging / "grey.npy").open("wb") as file:
        store.header(file, (count, 1, size, size), "|u1")
        for start in range(0, count, 1024):
            file.write(decode.to_grey(rgb[start : start + 1024]).tobytes())
        store.sync(file)
    del rgb
    (staging / "grey.npy").replace(staging / "pixels.npy")
