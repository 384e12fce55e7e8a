"""Decoded sounds on disk: all samples one after the other as int16, memory-mapped, and where each clip lies in them.

    CACHE/audio/<key>/audio.npy  clips.npy  labels.npy  test.npy  about.json

A file longer than an example becomes several clips that overlap by half, read by position, so that nothing is stored
twice. int16 at full scale 32,768: 16-bit files that are neither resampled nor turned up or down come back exactly.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalities.audio.data.prepare import SILENT_CLIP_DB, prepare
from modalities.audio.options import Data
from toolkit.data import listing as files
from toolkit.data import store
from toolkit.data.listing import Entry, Listing
from toolkit.data.locate import Pace

VERSION = 1
GRAIN = 256
"""Examples are a multiple of so many samples long."""
LONGEST_DEFAULT_SECONDS = 1.0
USUAL_SHARE = 0.95
"""This share of the files fits into an example of default length."""
_NOUN = "decoded sounds"


@dataclass(frozen=True)
class Corpus:
    """All usable clips of a source."""

    audio: np.ndarray
    """(frames, C) int16, perhaps memory-mapped; full scale is 32,768."""
    clips: np.ndarray
    """(N, 2) int64: first frame and number of frames of each."""
    labels: np.ndarray
    """(N,) int64; all zero when `names` is ()."""
    test: np.ndarray
    """(N,) bool: the clips for testing; the others train. Clips of one file are on one side."""
    names: tuple[str, ...]
    rejected: tuple[str, ...]
    notes: tuple[str, ...]
    rate: int
    length: int
    """Samples of an example; no clip is longer."""
    files: int
    """How many the clips come from."""
    std: float
    """Root of the mean power of the training clips, full scale 1, after pre-emphasis."""


def load(folder: Path) -> Corpus | None:
    """The corpus kept in `folder`; None when there is none or it is damaged."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        audio = np.load(folder / "audio.npy", mmap_mode="r", allow_pickle=False)
        clips = np.load(folder / "clips.npy", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        test = np.load(folder / "test.npy", allow_pickle=False)
        if not (audio.ndim == 2 and audio.dtype == np.int16 and clips.shape == (len(test), 2) and len(test)):
            return None
        if len(labels) != len(test) or clips.min() < 0 or clips.sum(axis=1).max() > len(audio):
            return None
        rest: dict[str, Any] = {name: tuple(about[name]) for name in ("names", "rejected", "notes")}
        rest |= {name: about[name] for name in ("rate", "length", "files", "std")}
        return Corpus(audio, clips, labels, test, **rest)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def build(
    listing: Listing,
    options: Data,
    rate: int,
    folder: Path,
    notify: Callable[[str], None],
    seconds: float | None = None,
    whole: bool = True,
    needed: int = 0,
) -> Corpus | None:
    """Decode everything in `listing` into `folder`, and open it; None when nothing in it is usable.

    rate: samples a second. seconds: of an example; None = so that 95 % of the files fit, and 1 s at most.
    whole: longer files become several clips; otherwise only their beginning is used. needed: bytes, about.
    What cannot be read is added to listing.rejected. Raises StorageError when the cache cannot be written.
    """

    def fill(staging: Path) -> bool:
        accepted = _decode_all(listing, options, rate, staging, notify)
        if accepted:
            _describe(accepted, listing, options, rate, seconds, whole, staging)
        return bool(accepted)

    return store.opened(folder, load, needed, fill, _NOUN)


def _decode_all(
    listing: Listing, options: Data, rate: int, staging: Path, notify: Callable[[str], None]
) -> list[tuple[Entry, int]]:
    """Write audio.npy, and return the entries that are in it, in its order, with their frames; reject the others."""
    accepted: list[tuple[Entry, int]] = []
    pace = Pace()
    work = store.in_order(lambda entry: prepare(entry, options, rate, staging), listing.entries)
    with (staging / "audio.npy").open("wb") as file, contextlib.closing(work) as takes:
        store.header(file, (0, options.channels), "<i2")
        for number, (entry, take) in enumerate(takes, start=1):
            if isinstance(take, str):
                listing.reject(entry.name, take)
            else:
                for block in take.blocks():
                    file.write(_to_int16(block * np.float32(take.gain)).data)
                accepted.append((entry, take.stop - take.start))
                take.path.unlink(missing_ok=True)
            if pace.due():
                notify(f"read {number:,} of {len(listing.entries):,} sounds")
        file.seek(0)
        store.header(file, (sum(frames for _, frames in accepted), options.channels), "<i2")
        store.sync(file)
    return accepted


def _to_int16(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.clip(np.rint(block * 32768), -32768, 32767).astype("<i2"))


def example_length(frames: np.ndarray, seconds: float | None, rate: int) -> int:
    """Samples of an example: `seconds`, or as long as 95 % of files of so many `frames` and 1 s at most; rounded up."""
    if seconds is None:
        samples = min(float(np.quantile(frames, USUAL_SHARE, method="inverted_cdf")), LONGEST_DEFAULT_SECONDS * rate)
    else:
        samples = seconds * rate
    return max(1, math.ceil(round(samples, 3) / GRAIN)) * GRAIN


def windows(frames: int, length: int) -> list[tuple[int, int]]:
    """First frame and frames of each clip of a file: a new one each half length until the end is reached.

    So every frame is in a clip, and only the last may be shorter than `length`, though longer than half of it.
    """
    starts = range(0, max(1, frames - length // 2), length // 2)
    return [(start, min(length, frames - start)) for start in starts]


def power(audio: np.ndarray, clips: np.ndarray, emphasis: float) -> float:
    """Mean of y^2, y[n] = x[n] - emphasis x[n-1], over all frames of `clips`, full scale 1, in float64."""
    total = count = 0.0
    for start, frames in clips:
        x = audio[start : start + frames] / 32768
        if emphasis:
            x[1:] -= emphasis * x[:-1].copy()
        total += float(np.square(x).sum())
        count += x.size
    return total / count if count else 0.0


def _describe(
    accepted: list[tuple[Entry, int]],
    listing: Listing,
    options: Data,
    rate: int,
    seconds: float | None,
    whole: bool,
    staging: Path,
) -> None:
    """Write clips.npy, labels.npy, test.npy and about.json."""
    entries = [entry for entry, _ in accepted]
    frames = np.array([frames for _, frames in accepted])
    length = example_length(frames, seconds, rate)
    names, labels = files.labelled(entries)
    audio = np.load(staging / "audio.npy", mmap_mode="r", allow_pickle=False)
    in_test = files.test_mask(entries)
    rows: list[tuple[int, int, int, int]] = []  # file, which clip of it, start, frames
    silent, offset = 0, 0
    quietest = 32768 * 10 ** (SILENT_CLIP_DB / 20)
    for i, count in enumerate(frames):
        parts = windows(count, length)[: None if whole else 1]
        for part, (start, size) in enumerate(parts):
            clip = audio[offset + start : offset + start + size]
            if len(parts) > 1 and max(int(clip.max()), -int(clip.min())) < quietest:
                silent += 1
            else:
                rows.append((i, part, offset + start, size))
        offset += count
    table = np.array(_limited(rows, entries, in_test, options.limit), dtype=np.int64)
    file, clips = table[:, 0], table[:, 2:]
    test = in_test[file]
    notes = list(listing.notes)
    if silent:
        notes.append(f"{silent:,} of {len(rows) + silent:,} clips are silent and are left out")
    about = {
        "names": names,
        "rejected": sorted(listing.rejected),
        "notes": notes,
        "rate": rate,
        "length": length,
        "files": len(np.unique(file)),
        "std": math.sqrt(power(audio, clips[~test], options.emphasis)) or 1.0,
    }
    store.save_array(staging / "clips.npy", clips)
    store.save_array(staging / "labels.npy", labels[file])
    store.save_array(staging / "test.npy", test)
    store.save_json(staging / "about.json", about)


def _limited(
    rows: list[tuple[int, int, int, int]], entries: list[Entry], in_test: np.ndarray, limit: int | None
) -> list[tuple[int, int, int, int]]:
    """At most `limit` clips of each split, chosen by a hash of their file's name and their number."""
    if limit is None:
        return rows
    kept: set[int] = set()
    for split in (False, True):
        mine = [k for k, row in enumerate(rows) if in_test[row[0]] == split]
        kept.update(sorted(mine, key=lambda k: files.score(f"limit/{entries[rows[k][0]].name}/{rows[k][1]}"))[:limit])
    return [row for k, row in enumerate(rows) if k in kept]
