"""Decoded pictures on disk: one uint8 array (N, C, H, W), memory-mapped, so that a second start is instant.

    CACHE/image/<key>/pixels.npy  labels.npy  test.npy  about.json

The key is a hash of the source's listing, the options that change pixels, and VERSION. A folder is staged under
another name, synced and renamed, so that one that exists is whole. Deleting any of it is always safe.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modalities.image import picture
from modalities.image.folder import Entry, Listing, label_names, test_mask
from toolkit.errors import StorageError

VERSION = 1
NOTIFY_EVERY = 5_000
_CHUNK = 16
_STALE_SECONDS = 86_400


@dataclass(frozen=True)
class Corpus:
    """All usable pictures of a source."""

    pixels: np.ndarray
    """(N, C, H, W) uint8, perhaps memory-mapped."""
    labels: np.ndarray
    """(N,) int64; all zero when `names` is ()."""
    test: np.ndarray
    """(N,) bool: the pictures for testing; the others train."""
    names: tuple[str, ...]
    rejected: tuple[str, ...]
    mean: float
    std: float
    """Of pixels / 127.5 - 1 over the training pictures; std is 1 when all pixels are equal."""


def key(signature: Sequence[str], **options: object) -> str:
    """The name under which pictures with this listing and these options are kept."""
    text = "\n".join([f"version {VERSION}", json.dumps(options, sort_keys=True), *signature])
    return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()


def load(folder: Path) -> Corpus | None:
    """The corpus kept in `folder`; None when there is none or it is damaged."""
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
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(
    listing: Listing, size: int, channels: int | None, folder: Path, notify: Callable[[str], None]
) -> Corpus | None:
    """Decode everything in `listing` into `folder`, and open it; None when no picture is readable.

    channels: 1, 3, or None to look. What cannot be read is added to listing.rejected.
    Raises StorageError when the cache cannot be written.
    """
    staging = folder.parent / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        _make_room(folder, len(listing.entries) * (channels or 3) * size**2 * (1 if channels else 2))
        staging.mkdir()
        accepted = _decode_all(listing, size, channels, staging, notify)
        if not accepted:
            return None
        _describe(accepted, listing, staging)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)  # damaged, or load() would have taken it
        try:
            staging.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.EACCES):
                raise
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"cannot keep decoded pictures in {folder.parent}: {why}; set TOOLKIT_CACHE") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    corpus = load(folder)  # ours, or that of another process that was faster
    if corpus is None:
        raise StorageError(f"the pictures just written to {folder} cannot be read back; set TOOLKIT_CACHE")
    return corpus


def moments(pixels: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of pixels / 127.5 - 1 over the rows that are not `test`, exact to float64."""
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


def _make_room(folder: Path, needed: int) -> None:
    """Create the parent of `folder`, clear what killed processes left there a day ago, check the space."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(".tmp-*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(old)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed // 2**20:,} MB needed, {free // 2**20:,} MB free")


def _decode_all(
    listing: Listing, size: int, channels: int | None, staging: Path, notify: Callable[[str], None]
) -> list[Entry]:
    """Write pixels.npy, and return the entries that are in it, in its order; the others are rejected."""
    accepted: list[Entry] = []
    coloured = False
    with (staging / "pixels.npy").open("wb") as file, picture.quiet():
        _header(file, (0, channels or 3, size, size))
        for number, (entry, result) in enumerate(_decoded(listing.entries, size, channels or 3), start=1):
            if isinstance(result, str):
                listing.reject(entry.name, result)
            else:
                accepted.append(entry)
                file.write(result.data)
                coloured = coloured or channels is not None or picture.has_colour(result)
            if number % NOTIFY_EVERY == 0:
                notify(f"read {number:,} of {len(listing.entries):,} pictures")
        file.seek(0)
        _header(file, (len(accepted), channels or 3, size, size))  # numpy leaves space for a longer shape
        _sync(file)
    if accepted and not coloured:  # only ever so when channels is None
        _collapse(staging, len(accepted), size)
    return accepted


def _decoded(entries: Sequence[Entry], size: int, channels: int) -> Iterator[tuple[Entry, np.ndarray | str]]:
    """Each entry in order with its pixels or the reason why there are none; decoders run without Python's lock."""
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[Sequence[Entry], Future[list[np.ndarray | str]]]] = deque()
        starts = iter(range(0, len(entries), _CHUNK))
        while True:
            while len(waiting) < 2 * workers and (start := next(starts, None)) is not None:
                chunk = entries[start : start + _CHUNK]
                waiting.append((chunk, pool.submit(lambda c: [_decode(e, size, channels) for e in c], chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            yield from zip(chunk, future.result(), strict=True)


def _decode(entry: Entry, size: int, channels: int) -> np.ndarray | str:
    try:
        with open_entry(entry) as stream:
            return picture.pixels(stream, size, channels)
    except Exception as error:  # damaged files make Pillow raise nearly everything
        return picture.reason(error)


def open_entry(entry: Entry) -> BinaryIO:
    """The bytes of one picture; a member of a shard is read into memory."""
    stream = entry.path.open("rb")
    if entry.offset is None:
        return stream
    with stream:
        stream.seek(entry.offset)
        return io.BytesIO(stream.read(entry.size))


def _describe(accepted: list[Entry], listing: Listing, staging: Path) -> None:
    """Write labels.npy, test.npy and about.json."""
    names = label_names(accepted, listing.label_order)
    number = {name: i for i, name in enumerate(names)}
    test = test_mask(accepted)
    pixels = np.load(staging / "pixels.npy", mmap_mode="r", allow_pickle=False)
    mean, std = moments(pixels, test)
    about = {
        "names": [picture.printable(name) for name in names],
        "rejected": sorted(listing.rejected),
        "mean": mean,
        "std": std,
    }
    labels = np.array([number.get(entry.label or "", 0) for entry in accepted], dtype=np.int64)
    for name, array in (("labels", labels), ("test", test)):
        with (staging / f"{name}.npy").open("wb") as file:
            np.save(file, array, allow_pickle=False)
            _sync(file)
    with (staging / "about.json").open("wb") as file:
        file.write(json.dumps(about, ensure_ascii=False, indent=1).encode())
        _sync(file)


def _collapse(staging: Path, count: int, size: int) -> None:
    """Rewrite pixels.npy from RGB to grey."""
    rgb = np.load(staging / "pixels.npy", mmap_mode="r", allow_pickle=False)
    with (staging / "grey.npy").open("wb") as file:
        _header(file, (count, 1, size, size))
        for start in range(0, count, 1024):
            file.write(picture.to_grey(rgb[start : start + 1024]).tobytes())
        _sync(file)
    del rgb
    (staging / "grey.npy").replace(staging / "pixels.npy")


def _header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
