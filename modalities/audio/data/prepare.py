"""Decoding, measuring and resampling of one file for the cache; a long one goes through a scratch file."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modalities.audio.data import decode, loudness
from modalities.audio.data.measure import Measured, Meter
from modalities.audio.data.treatment import Treatment
from toolkit.errors import StorageError

_CANCELLED = 10.0
"""Factor by which a peak shrinks where channels that are mixed cancel each other."""

Alive = Callable[[], object]
"""Called before each block: a sign of life of what takes long."""


@dataclass
class DecodedFile:
    """One decoded file, in memory or in a scratch file."""

    array: np.ndarray | None
    path: Path
    frames: int
    channels: int
    peak: float
    held: int
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
            for at in range(self.start, self.stop, self.held):
                count = min(self.held, self.stop - at) * self.channels
                yield np.fromfile(file, np.float32, count).reshape(-1, self.channels)

    def samples(self) -> Iterator[np.ndarray]:
        """Yield the same with its gain, (frames, channels) little-endian int16, full scale 32,768."""
        for block in self.blocks():
            yield _to_int16(block * np.float32(self.gain))


def prepare(path: Path, name: str, treatment: Treatment, scratch: Path, alive: Alive) -> DecodedFile | str:
    """Return one decoded file with its bounds and gain, or the reason why it cannot be used. Raises StorageError.

    name: as it is shown. scratch: place of a scratch file, which holds `samples` in the end.
    """
    try:
        sound, measured = _decode(path, name, treatment, scratch, alive)
        if sound.peak == 0 or sound.peak < 10 ** (treatment.silence / 20):
            raise decode.Unreadable(_silence(sound, measured, treatment))
        rate, blocks = treatment.rate, functools.partial(_watch, sound.blocks, alive)
        sound.start, sound.stop = loudness.bounds(blocks, sound.peak, treatment.trim, rate)
        sound.gain = loudness.gain(blocks, sound.peak, treatment)
        before, after = sound.start / rate, (sound.frames - sound.stop) / rate
        sound.measured = replace(measured, before=before, after=after, gain=sound.gain)
        if sound.array is None:
            _narrow(sound, alive)
        return sound
    except StorageError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly everything
        scratch.unlink(missing_ok=True)
        return decode.reason(error)


def _watch(blocks: Callable[[], Iterable[np.ndarray]], alive: Alive) -> Iterator[np.ndarray]:
    for block in blocks():
        alive()
        yield block


def _to_int16(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.clip(np.rint(block * 32768), -32768, 32767).astype("<i2"))


def _silence(sound: DecodedFile, measurements: Measured, treatment: Treatment) -> str:
    if measurements.peak > _CANCELLED * sound.peak and measurements.peak >= 10 ** (treatment.silence / 20):
        return f"silence: its channels cancel each other when they are mixed to {treatment.channels}"
    why = f" (its peak is {20 * math.log10(sound.peak):.0f} dB)" if sound.peak else ""
    return f"silence{why}" + (f" beside a constant offset of {measurements.offset:+.2g}" if measurements.offset else "")


def _decode(path: Path, name: str, treatment: Treatment, scratch: Path, alive: Alive) -> tuple[DecodedFile, Measured]:
    """Return a file at its new rate without its constant offset, and its measurements."""
    faults: list[str] = []
    header, own = decode.begin(path, faults)
    meter = Meter(header)
    sound = _collect((meter.add(block) for block in own), header.rate, treatment, scratch, alive)
    measurements = meter.result(name, faults)
    if treatment.dc and measurements.offset:  # it goes before the resampler, which would ring where it begins and ends
        offset = meter.offset()
        scratch.unlink(missing_ok=True)
        parts = (block - offset for block in decode.blocks(path))
        sound = _collect(parts, header.rate, treatment, scratch, alive)
    if not sound.frames:
        raise decode.Unreadable(f"too short: not one sample is left at {treatment.rate:,} Hz")
    return sound, measurements


def _collect(
    own: Iterable[np.ndarray], own_rate: int, treatment: Treatment, scratch: Path, alive: Alive
) -> DecodedFile:
    channels, held = treatment.channels, treatment.held
    parts: list[np.ndarray] = []
    frames, peak = 0, 0.0
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        for block in decode.resample(_watch(lambda: own, alive), own_rate, treatment.rate, channels):
            if not len(block):
                continue
            frames += len(block)
            peak = max(peak, float(np.abs(block).max()))
            parts.append(block)
            if file is None and frames * channels > held:
                file = stack.enter_context(scratch.open("wb"))
            if file is not None:
                _write(file, parts)
    array = np.concatenate(parts) if file is None and parts else None
    return DecodedFile(array, scratch, frames, channels, peak, held, stop=frames)


def _narrow(sound: DecodedFile, alive: Alive) -> None:
    """Put `samples` in place of the content of a scratch file; half as long, they stay behind what is read."""
    with sound.path.open("r+b") as file:
        for block in _watch(sound.samples, alive):
            _write(file, [block])
        file.truncate()


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
