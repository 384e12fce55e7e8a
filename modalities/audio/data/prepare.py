"""Decoding, resampling and measuring of one file for the cache; a long one goes through a scratch file."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modalities.audio.data import decode, loudness
from modalities.audio.inspect import file as file_stats
from modalities.audio.options import Data
from toolkit.data.listing import Entry
from toolkit.errors import StorageError

HELD = 1 << 20
"""Largest number of samples of one file in memory."""
SILENT_CLIP_DB = -60.0
"""Peak below which a sound at its final level is silence, in dB."""


@dataclass
class DecodedFile:
    """One decoded file, in memory or in a scratch file."""

    array: np.ndarray | None
    path: Path
    frames: int
    channels: int
    peak: float
    start: int = 0
    stop: int = 0
    gain: float = 1.0

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield frames start to stop, (frames, channels) float32."""
        if self.array is not None:
            yield self.array[self.start : self.stop]
            return
        with self.path.open("rb") as file:
            file.seek(4 * self.channels * self.start)
            for at in range(self.start, self.stop, HELD):
                count = min(HELD, self.stop - at) * self.channels
                yield np.fromfile(file, np.float32, count).reshape(-1, self.channels)


def prepare(entry: Entry, options: Data, rate: int, staging: Path) -> DecodedFile | str:
    """Return one decoded file with its bounds and gain, or the reason why it cannot be used. Raises StorageError."""
    scratch = staging / f"{uuid.uuid4().hex}.f32"
    try:
        sound = _decode(entry.path, options.channels, rate, scratch)
        if sound.peak < 10 ** (file_stats.SILENT_FILE_DB / 20):
            raise decode.Unreadable("silence")
        sound.start, sound.stop = loudness.bounds(sound.blocks, sound.peak, options.trim, rate)
        sound.gain = loudness.gain(sound.blocks, sound.peak, options, rate)
        if (level := 20 * math.log10(sound.peak * sound.gain)) < SILENT_CLIP_DB:
            raise decode.Unreadable(f"silence (its peak is {level:.0f} dB)")
        return sound
    except StorageError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly everything
        scratch.unlink(missing_ok=True)
        return decode.reason(error)


def _decode(path: Path, channels: int, rate: int, scratch: Path) -> DecodedFile:
    parts: list[np.ndarray] = []
    frames, peak = 0, 0.0
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        for block in decode.stream(path, rate, channels):
            if not len(block):
                continue
            frames += len(block)
            peak = max(peak, float(np.abs(block).max()))
            parts.append(block)
            if file is None and frames * channels > HELD:
                file = stack.enter_context(scratch.open("wb"))
            if file is not None:
                _write(file, parts)
    if not frames:
        raise decode.Unreadable(f"too short: not one sample is left at {rate:,} Hz")
    array = np.concatenate(parts) if file is None else None
    return DecodedFile(array, scratch, frames, channels, peak, stop=frames)


def _write(file: BinaryIO, parts: list[np.ndarray]) -> None:
    """Move blocks to a file. Raises StorageError: a full disk is no fault of the sound."""
    try:
        for block in parts:
            file.write(np.ascontiguousarray(block).data)
        file.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            file.close()  # which tries to write once more
        raise StorageError(f"cannot keep decoded sounds in {file.name}: {error.strerror}; set TOOLKIT_CACHE") from error
    parts.clear()
