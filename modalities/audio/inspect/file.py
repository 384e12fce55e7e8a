"""Measurements of one sound file before any processing, read once, in blocks."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modalities.audio.data import decode
from toolkit.data.listing import Entry

SILENT_FILE_DB = -80.0
"""Peak below which a file is silent, in dB."""
TRIM_DB = 60.0
"""Decibels below a file's peak that are silence at its ends."""
CLIPPED_RUN = 3
"""Number of consecutive samples at full scale that are clipping."""
_FULL_SCALE = 1 - 2**-11
_SIDES_DIFFER = 2**-10
_HOP_SECONDS = 0.01


@dataclass(frozen=True)
class Measured:
    """Measurements of one readable file."""

    name: str
    about: decode.About
    frames: int
    """Number of frames that could be decoded."""
    peak: float
    power: float
    """Mean square over all samples and channels, full scale 1."""
    dc: float
    """Channel mean that is furthest from zero."""
    before: float
    after: float
    """Seconds at both ends that are more than 60 dB below the peak, in steps of 10 ms."""
    clipped: bool
    differs: bool
    """True where its channels are unequal."""
    digest: bytes
    """Hash of the decoded samples and the rate."""

    @property
    def seconds(self) -> float:
        return self.frames / self.about.rate

    @property
    def silent(self) -> bool:
        return self.peak < 10 ** (SILENT_FILE_DB / 20)


def measure(entry: Entry) -> Measured | str:
    """Return the measurements of one file, or the reason why it cannot be read."""
    try:
        about = decode.about(entry.path)
        hop = max(1, round(_HOP_SECONDS * about.rate))
        digest = hashlib.blake2b(f"{about.rate} {about.channels}".encode(), digest_size=16)
        peaks, rest = [np.zeros(0, np.float32)], np.zeros(0, np.float32)
        total, square, frames, clipped, differs = np.zeros(about.channels), 0.0, 0, False, False
        for block in decode.blocks(entry.path):
            digest.update(np.ascontiguousarray(block).data)
            frames += len(block)
            total += [column.sum(dtype=np.float64) for column in block.T]
            square += float(np.square(block, dtype=np.float64).sum())
            loudest = decode.envelope(block)
            clipped = clipped or (bool(loudest.max() >= _FULL_SCALE) and _has_run(np.abs(block) >= _FULL_SCALE))
            differs = differs or bool((np.abs(block - block[:, :1]) > _SIDES_DIFFER).any())
            rest = np.concatenate([rest, loudest])
            whole = len(rest) // hop * hop
            peaks.append(rest[:whole].reshape(-1, hop).max(axis=1))
            rest = rest[whole:]
        if len(rest):
            peaks.append(rest.max(keepdims=True))
        hops = np.concatenate(peaks)
        peak = float(hops.max())
        loud = np.flatnonzero(hops >= max(peak, 1e-9) * 10 ** (-TRIM_DB / 20))
        first, last = (int(loud[0]), int(loud[-1])) if len(loud) else (len(hops), len(hops) - 1)
        mean = total / frames
        return Measured(
            entry.name,
            about,
            frames,
            peak,
            square / (frames * about.channels),
            float(mean[np.abs(mean).argmax()]),
            min(first * hop, frames) / about.rate,
            max(0, frames - (last + 1) * hop) / about.rate,
            clipped,
            differs,
            digest.digest(),
        )
    except Exception as error:  # damaged files make decoders raise nearly everything
        return decode.reason(error)


def _has_run(full: np.ndarray) -> bool:
    """Return True where any channel of `full` (frames, n) bool is true CLIPPED_RUN times in a row."""
    if len(full) < CLIPPED_RUN or not full.any():
        return False
    run = full[CLIPPED_RUN - 1 :].copy()
    for i in range(CLIPPED_RUN - 1):
        run &= full[i : len(full) - CLIPPED_RUN + 1 + i]
    return bool(run.any())


def copies(sounds: Sequence[Measured]) -> list[list[str]]:
    """Return the names of files that decode to the same samples, in groups of two or more."""
    groups = defaultdict(list)
    for sound in sounds:
        groups[sound.digest].append(sound.name)
    return [names for names in groups.values() if len(names) > 1]


def decibels(power: float) -> float:
    """Return a mean square, full scale 1, in decibels, at least -120."""
    return 10 * math.log10(max(power, 1e-12))
