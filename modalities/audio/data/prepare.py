"""Decoding, measuring and resampling of one file for the cache; a long one goes through a scratch file."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modalities.audio.data import decode, loudness
from modalities.audio.data.measure import Measured, Meter
from modalities.audio.options import Data
from toolkit.console import printable
from toolkit.data.listing import Entry
from toolkit.errors import StorageError

HELD = 1 << 20
"""Largest number of samples of one file in memory."""
_CANCELLED = 10.0
"""Factor by which a peak shrinks where channels that are mixed cancel each other."""


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
    measured: Measured | None = None

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
        sound, measured = _decode(entry, options, rate, scratch)
        if sound.peak == 0 or sound.peak < 10 ** (options.silence / 20):
            raise decode.Unreadable(_silence(sound, measured, options))
        sound.start, sound.stop = loudness.bounds(sound.blocks, sound.peak, options.trim, rate)
        sound.gain = loudness.gain(sound.blocks, sound.peak, options, rate)
        before, after = sound.start / rate, (sound.frames - sound.stop) / rate
        sound.measured = replace(measured, before=before, after=after, gain=sound.gain)
        return sound
    except StorageError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly everything
        scratch.unlink(missing_ok=True)
        return decode.reason(error)


def _silence(sound: DecodedFile, measured: Measured, options: Data) -> str:
    if measured.peak > _CANCELLED * sound.peak and measured.peak >= 10 ** (options.silence / 20):
        return f"silence: its channels cancel each other when they are mixed to {options.channels}"
    why = f" (its peak is {20 * math.log10(sound.peak):.0f} dB)" if sound.peak else ""
    return f"silence{why}" + (f" beside a constant offset of {measured.offset:+.2g}" if measured.offset else "")


def _decode(entry: Entry, options: Data, rate: int, scratch: Path) -> tuple[DecodedFile, Measured]:
    """Return a file at `rate` without its constant offset, and its measurements."""
    mended: list[str] = []
    header, own = decode.begin(entry.path, mended)
    meter = Meter(header)
    parts = (meter.add(block) for block in own)
    sound = _collect(decode.resampled(parts, header.rate, rate, options.channels), options.channels, scratch)
    measured = meter.done(printable(entry.name), mended)
    if options.dc and measured.offset:  # it goes before the resampler, which would ring where it begins and ends
        offset = meter.offset()
        scratch.unlink(missing_ok=True)
        parts = (block - offset for block in decode.blocks(entry.path))
        sound = _collect(decode.resampled(parts, header.rate, rate, options.channels), options.channels, scratch)
    if not sound.frames:
        raise decode.Unreadable(f"too short: not one sample is left at {rate:,} Hz")
    return sound, measured


def _collect(blocks: Iterable[np.ndarray], channels: int, scratch: Path) -> DecodedFile:
    parts: list[np.ndarray] = []
    frames, peak = 0, 0.0
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        for block in blocks:
            if not len(block):
                continue
            frames += len(block)
            peak = max(peak, float(np.abs(block).max()))
            parts.append(block)
            if file is None and frames * channels > HELD:
                file = stack.enter_context(scratch.open("wb"))
            if file is not None:
                _write(file, parts)
    array = np.concatenate(parts) if file is None and parts else None
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
