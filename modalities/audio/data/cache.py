"""Decoded sounds on disk: all samples in one memory-mapped int16 array, and the place of each clip in it.

    CACHE/audio/<key>/audio.npy  clips.npy  labels.npy  test.npy  files.json  about.json

about.json holds the block about the data, made from what was measured while decoding; files.json has that of each file.

A file longer than an example becomes several clips that overlap by half, read by position, so that nothing is stored
twice. int16 at full scale 32,768: 16-bit files without resampling and gain come back exactly.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalities.audio.data import understand
from modalities.audio.data.measure import Measured
from modalities.audio.data.reader import Reader
from modalities.audio.data.treatment import Treatment
from modalities.audio.data.understand import LONGEST_DEFAULT_SECONDS, USUAL_SHARE
from modalities.audio.options import Data
from toolkit.data import listing as files
from toolkit.data import selection, store
from toolkit.data.dataset import check_identity, identity_of
from toolkit.data.listing import Entry, Listing
from toolkit.data.locate import Pace
from toolkit.data.understood import Understood

DYING = 0.8
"""Share of a file's energy in its first clip from which on it dies away."""
QUIETER = 0.25
"""Most power that what follows may have, as a share of that of the first clip."""
VERSION = 4
GRAIN = 256
"""Lengths of examples are multiples of it, in samples."""
_NOUN = "decoded sounds"


@dataclass(frozen=True)
class Corpus:
    """All usable clips of a source."""

    audio: np.ndarray
    """(frames, C) int16, perhaps memory-mapped; full scale is 32,768."""
    clips: np.ndarray
    """(N, 2) int64: first frame and number of frames of each clip."""
    labels: np.ndarray
    """(N,) int64; all zero when `names` is ()."""
    test: np.ndarray
    """(N,) bool: True for clips of the test split. Clips of one file are in one split."""
    names: tuple[str, ...]
    rejected: tuple[str, ...]
    rate: int
    length: int
    """Samples of an example; no clip is longer."""
    files: int
    """Number of files that the clips come from."""
    std: float
    """Root of the mean power of the training clips, full scale 1, after pre-emphasis."""
    identity: str
    """Hash of all samples, clips, labels and splits."""
    understood: Understood
    """The block about the source."""


def load(folder: Path) -> Corpus | None:
    """Return the corpus in `folder`; None when there is none or it is damaged."""
    if not store.whole(folder):
        return None
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
        rest: dict[str, Any] = {name: tuple(map(str, about[name])) for name in ("names", "rejected")}
        rest |= {"std": float(about["std"]), "identity": check_identity(about["identity"])}
        rest |= {name: int(about[name]) for name in ("rate", "length", "files")}
        numbered = labels.dtype == clips.dtype == np.int64 and test.dtype == bool
        if not numbered or labels.min() < 0 or labels.max() >= max(1, len(rest["names"])):
            return None
        if (
            not 0 < rest["std"] < math.inf
            or not 0 < rest["rate"] < 1 << 31
            or not clips[:, 1].max() <= rest["length"] < 1 << 40
        ):
            return None
        rest["understood"] = Understood.model_validate(about["understood"])
        return Corpus(audio, clips, labels, test, **rest)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def build(
    listing: Listing,
    options: Data,
    rate: int,
    folder: Path,
    reader: Reader,
    notify: Callable[[str], None],
    seconds: float | None = None,
    needed: int = 0,
) -> Corpus | None:
    """Decode all of `listing` by `reader` into `folder`, and return the corpus; None when nothing in it is usable.

    rate: in Hz. seconds: duration of an example; None: 95 % of the files fit, 1 s at most. needed: estimated size in
    bytes. Unreadable files are added to listing.rejected. Raises StorageError when the cache cannot be written.
    """

    def fill(staging: Path) -> bool:
        accepted = _decode_all(listing, Treatment.of(options, rate), reader, staging, notify)
        if accepted:
            _describe(accepted, listing, options, rate, seconds, staging)
        return bool(accepted)

    return store.build_and_load(folder, load, needed, fill, _NOUN)


def _decode_all(
    listing: Listing, treatment: Treatment, reader: Reader, staging: Path, notify: Callable[[str], None]
) -> list[tuple[Entry, int, Measured]]:
    """Write audio.npy; return the entries in it, in its order, their frames and measurements; reject the others."""
    accepted: list[tuple[Entry, int, Measured]] = []
    pace = Pace()
    work = reader.prepare_all(listing.entries, treatment, staging)
    with (staging / "audio.npy").open("wb") as file, contextlib.closing(work) as sounds:
        store.header(file, (0, treatment.channels), "<i2")
        for number, (entry, sound) in enumerate(sounds, start=1):
            if isinstance(sound, str):
                listing.reject(entry.name, sound)
            else:
                for block in sound.blocks():
                    file.write(block)
                accepted.append((entry, sound.frames, sound.measured))
                sound.path.unlink(missing_ok=True)
            if pace.due():
                notify(f"read {number:,} of {len(listing.entries):,} sounds")
        file.seek(0)
        store.header(file, (sum(frames for _, frames, _ in accepted), treatment.channels), "<i2")
        store.sync(file)
    return accepted


def example_length(frames: np.ndarray, seconds: float | None, rate: int) -> int:
    """Return the samples of an example, rounded up: `seconds`, or 95 % of files of `frames` fit, 1 s at most."""
    if seconds is None:
        samples = min(float(np.quantile(frames, USUAL_SHARE, method="inverted_cdf")), LONGEST_DEFAULT_SECONDS * rate)
    else:
        samples = seconds * rate
    return max(1, math.ceil(round(samples, 3) / GRAIN)) * GRAIN


def windows(frames: int, length: int) -> list[tuple[int, int]]:
    """Return first frame and number of frames of each clip of a file: a new one each half length up to the end.

    So every frame is in a clip, and only the last may be shorter than `length`, though longer than half of it.
    """
    starts = range(0, max(1, frames - length // 2), length // 2)
    return [(start, min(length, frames - start)) for start in starts]


def beginnings(audio: np.ndarray, frames: np.ndarray, length: int, clips: str) -> np.ndarray:
    """Return the files of which only the beginning is used, (N,) bool: all longer ones, none, or those that die away.

    A later clip of a sound that dies away is another sound under the same label: of drum packs most clips would be
    the tails of cymbals. clips: as in options.Data.
    """
    longer = frames > length
    if clips != "auto":
        return longer & (clips == "first")
    first = np.zeros(len(frames), bool)
    starts = np.cumsum(frames) - frames
    for i in np.flatnonzero(longer):
        whole = audio[starts[i] : starts[i] + frames[i]]
        energy = sum(
            float(np.square(whole[at : at + 2**20], dtype=np.float64).sum()) for at in range(0, len(whole), 2**20)
        )
        begun = float(np.square(whole[:length], dtype=np.float64).sum())
        steady = (energy - begun) / (frames[i] - length) > QUIETER * begun / length  # only a little longer than a clip
        first[i] = begun >= DYING * energy and not steady
    return first


def power(audio: np.ndarray, clips: np.ndarray, emphasis: float) -> float:
    """Return the mean of y^2, y[n] = x[n] - emphasis x[n-1], over all frames of `clips`, full scale 1, in float64."""
    total = count = 0.0
    for start, frames in clips:
        x = audio[start : start + frames] / 32768
        if emphasis:
            x[1:] -= emphasis * x[:-1].copy()
        total += float(np.square(x).sum())
        count += x.size
    return total / count if count else 0.0


def _describe(
    accepted: list[tuple[Entry, int, Measured]],
    listing: Listing,
    options: Data,
    rate: int,
    seconds: float | None,
    staging: Path,
) -> None:
    """Write clips.npy, labels.npy, test.npy, files.json and about.json."""
    entries, sounds = [entry for entry, _, _ in accepted], [sound for _, _, sound in accepted]
    frames = np.array([frames for _, frames, _ in accepted])
    length = example_length(frames, seconds, rate)
    names, labels = files.label_numbers(entries, listing.label_order)
    audio = np.load(staging / "audio.npy", mmap_mode="r", allow_pickle=False)
    copies = np.unique([sound.digest for sound in sounds], return_inverse=True)[1]
    in_test = selection.test_mask(entries, copies)
    first = beginnings(audio, frames, length, options.clips)
    rows, silent = _clips(audio, frames, sounds, length, first, options.silence)
    table = np.array(_limit_clips(rows, entries, in_test, options.limit), dtype=np.int64)
    file, clips = table[:, 0], np.ascontiguousarray(table[:, 2:])
    test = in_test[file]
    counts = np.bincount([row[0] for row in rows], minlength=len(entries))
    read = understand.SoundSet(listing, entries, sounds, in_test, options, rate, length / rate, first, counts, silent)
    about = {
        "names": names,
        "rejected": sorted(listing.rejected),
        "rate": rate,
        "length": length,
        "files": len(np.unique(file)),
        "std": math.sqrt(power(audio, clips[~test], options.emphasis)) or 1.0,
        "identity": identity_of(names, audio, clips, labels[file], test, np.array([rate, length])),
        "understood": understand.block(read).model_dump(mode="json"),
    }
    store.save_array(staging / "clips.npy", clips)
    store.save_array(staging / "labels.npy", labels[file])
    store.save_array(staging / "test.npy", test)
    store.save_json(staging / "files.json", [asdict(sound) for sound in sounds])
    store.save_json(staging / "about.json", about)


def _clips(
    audio: np.ndarray, frames: np.ndarray, sounds: list[Measured], length: int, first: np.ndarray, silence: float
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Return (file, clip of it, first frame, frames) of each clip, and how many of long files are silent.

    first: (N,) bool, files of which only the beginning is used. silence: dB relative to full scale as a file
    was recorded, before its gain.
    """
    rows, silent, offset = [], 0, 0
    for i, (count, sound) in enumerate(zip(frames.tolist(), sounds, strict=True)):
        parts = windows(count, length)[: 1 if first[i] else None]
        quietest = max(1, 32768 * sound.gain * 10 ** (silence / 20))
        for part, (start, size) in enumerate(parts):
            clip = audio[offset + start : offset + start + size]
            if len(parts) > 1 and max(int(clip.max()), -int(clip.min())) < quietest:
                silent += 1
            else:
                rows.append((i, part, offset + start, size))
        offset += count
    return rows, silent


def _limit_clips(
    rows: list[tuple[int, int, int, int]], entries: list[Entry], in_test: np.ndarray, limit: int | None
) -> list[tuple[int, int, int, int]]:
    """Return at most `limit` clips of each split, chosen by a hash of their file's name and their number."""
    if limit is None:
        return rows
    first: set[int] = set()
    for split in (False, True):
        ks = [k for k, row in enumerate(rows) if in_test[row[0]] == split]
        names = {k: f"limit/{entries[rows[k][0]].name}/{rows[k][1]}" for k in ks}
        first.update(sorted(ks, key=lambda k: selection.score(names[k]))[:limit])
    return [row for k, row in enumerate(rows) if k in first]
