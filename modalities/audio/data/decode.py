"""Decoding of one sound file of any rate and layout to a stream of float32 blocks, or to the reason why not.

Choices: formats are recognised by their content, not their name, and only some reach the decoder (`container/`). The
length in the header is a hint: the samples that can be decoded count, and what is wrong with the file is said beside
them. Three channels or more become mono as their mean, and stereo as the mean of the even-numbered (left) and of the
odd-numbered (right) ones. Memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from modalities.audio.data.container import sniff
from modalities.audio.data.container.parts import Container, PartReader, Piece, Unreadable, seconds
from toolkit.console import printable
from toolkit.errors import DataError

EXTENSIONS = frozenset({".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd",
                        ".flac", ".ogg", ".oga", ".opus", ".mp3"})  # fmt: skip
MAX_CHANNELS = 64
RATES = (1_000, 768_000)
MAX_SECONDS = 12 * 3600
LARGEST = 1e10
"""Largest magnitude of a sample; full scale is 1, but 32-bit integers that were saved as fractions are accepted."""
_BLOCK = 1 << 18
_FEW = 4096
"""Frames that may be missing from the end without a word: less than a page of OGG."""
_BY_NUMBER = sys.platform != "win32"
"""True where libsndfile can take an open file by its number; else it calls Python back for every read."""
_DENSEST = 64
"""Largest number of frames in a byte of a compressed file: Opus at 6 kbit/s."""
_FAMILY = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "W64": "WAV", "AIFF": "AIFF", "CAF": "CAF", "AU": "AU",
           "FLAC": "FLAC", "OGG": "OGG", "MP3": "MP3", "MPEG": "MP3"}  # fmt: skip
_PLAIN = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Beginnings of the names of codecs that take at least a byte for each sample."""


class About(NamedTuple):
    """Header of a file."""

    rate: int
    channels: int
    frames: int
    """Length, a hint, limited to the number of frames that a file of this size usually holds."""
    format: str
    """The format, and how the samples are coded: "WAV PCM_16"."""


def about(path: Path) -> About:
    """Return the header. Raises Unreadable, OSError."""
    header, rest = begin(path)
    rest.close()
    return header


def begin(path: Path, faults: list[str] | None = None) -> tuple[About, Generator[np.ndarray, None, None]]:
    """Return the header, and the sound in blocks (frames, n) float32 at its own rate, with all its n channels.

    Streams one after the other in one file are joined, at the rate and with the channels of the first. mended: gets a
    line for each thing that is wrong with a file that can be decoded. Raises Unreadable or OSError, perhaps only after
    the last block: use none of them before.
    """
    events = _events(path, [] if faults is None else faults)
    header = next(events)
    assert isinstance(header, About)
    return header, events  # type: ignore[return-value]  # nothing but blocks follows


def blocks(path: Path, faults: list[str] | None = None) -> Iterator[np.ndarray]:
    """Yield the sound in blocks, as `begin` does. Raises as it does."""
    yield from begin(path, faults)[1]


def stream(path: Path, rate: int | None, channels: int) -> Iterator[np.ndarray]:
    """Yield the sound in blocks (frames, channels) float32 at `rate` Hz (None: its own); channels: 1 or 2.

    Raises as `begin`.
    """
    header, own = begin(path)
    yield from resample(own, header.rate, rate or header.rate, channels)


def _events(path: Path, faults: list[str]) -> Generator[About | np.ndarray, None, None]:
    """Yield the header of the first stream, then the blocks of all."""
    with _open_container(path) as (file, container):
        size = os.fstat(file.fileno()).st_size
        first: About | None = None
        total = 0
        for number, piece in enumerate(container.pieces):
            try:
                with _decoder(file, container, piece) as sound:
                    header = _about(sound, container, size)
                    if first is None:
                        first = header
                        yield header
                    parts = _decode(sound, header, piece, faults, "cut off" in container.mended)
                    if header[:2] != first[:2]:
                        parts = resample(parts, header.rate, first.rate, first.channels, all_channels=True)
                    for block in parts:
                        total += len(block)
                        if total > MAX_SECONDS * first.rate:
                            raise Unreadable(f"longer than {MAX_SECONDS // 3600} hours; cut it into parts")
                        yield block
            except soundfile.LibsndfileError as error:
                if not number:
                    raise
                faults.append(f"stream {number + 1} cannot be read ({reason(error)})")
        if not total:
            raise Unreadable("no samples")
        faults += container.mended


def resample(
    parts: Iterable[np.ndarray], own: int, rate: int, channels: int, all_channels: bool = False
) -> Iterator[np.ndarray]:
    """Yield blocks of `own` Hz as (frames, channels) float32 at `rate` Hz. all_channels: it may be any number."""
    fit = _fit if all_channels else mix
    if rate == own:
        yield from (fit(block, channels) for block in parts)
        return
    resampler = soxr.ResampleStream(own, rate, channels, dtype="float32", quality="HQ")
    most = max(1, _BLOCK * own // (rate * channels))  # upsampled blocks must not grow large
    for block in parts:
        for start in range(0, len(block), most):
            yield resampler.resample_chunk(fit(block[start : start + most], channels))
    yield resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def read(path: Path, rate: int, channels: int, max_seconds: float | None = None) -> np.ndarray:
    """Return the sound as (frames, channels) float32, its first `max_seconds` or all. Raises DataError."""
    most = None if max_seconds is None else round(max_seconds * rate)
    parts, frames = [np.zeros((0, channels), np.float32)], 0
    for block in readable(path, rate, channels):
        parts.append(block)
        frames += len(block)
        if most is not None and frames >= most:
            break
    return np.concatenate(parts)[:most]


def readable(path: Path, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Yield the sound as `stream` does. Raises DataError alone."""
    try:
        yield from stream(path, rate, channels)
    except FileNotFoundError:
        raise DataError(f"no such file: {path}") from None
    except Exception as error:  # damaged files make decoders raise nearly everything
        raise DataError(f"{path} cannot be read: {reason(error)}") from None


def mix(block: np.ndarray, channels: int) -> np.ndarray:
    """Return block (frames, n) as (frames, channels), by the rule above; mono plays on both sides."""
    if block.shape[1] == channels:
        return block
    if block.shape[1] == 1:
        return np.repeat(block, 2, axis=1)
    return np.stack([_mean(block[:, i::channels]) for i in range(channels)], axis=1)


def _fit(block: np.ndarray, channels: int) -> np.ndarray:
    """Return block (frames, n) as (frames, channels): as it is, or else its mean on all of them."""
    if block.shape[1] == channels:
        return block
    return np.repeat(_mean(block)[:, None], channels, axis=1)


def envelope(block: np.ndarray) -> np.ndarray:
    """Return the largest absolute value of each frame: (frames, n) to (frames,)."""
    return functools.reduce(np.maximum, np.abs(block).T)


def _mean(block: np.ndarray) -> np.ndarray:
    """Return the mean of each frame, (frames,), by columns: several times as fast as numpy's along a short axis."""
    return functools.reduce(np.add, block.T) / np.float32(block.shape[1])


def reason(error: Exception) -> str:
    """Return one short line, without addresses or line breaks, on why a sound could not be read."""
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, soundfile.LibsndfileError):
        return f"damaged: {printable(error.error_string).rstrip('.')}"[:160]
    return printable(" ".join(str(error).split()))[:160] or type(error).__name__


@contextlib.contextmanager
def _open_container(path: Path) -> Iterator[tuple[BinaryIO, Container]]:
    """Open the file when it is of a format that may reach libsndfile. Raises Unreadable, OSError."""
    with path.open("rb", buffering=0) as file:  # unbuffered: libsndfile reads on from the file's own position
        yield file, sniff.find(file, os.fstat(file.fileno()).st_size)


@contextlib.contextmanager
def _decoder(file: BinaryIO, container: Container, piece: Piece) -> Iterator[Any]:
    """Open one piece by libsndfile. Raises Unreadable, OSError."""
    source: Any = PartReader(file, piece.parts) if piece.parts else file.fileno() if _BY_NUMBER else file
    file.seek(0)
    try:
        opened = soundfile.SoundFile(source, closefd=False)
    except soundfile.LibsndfileError:
        if not container.mended:
            raise
        raise Unreadable(f"damaged ({', '.join(container.mended)}): no sound is left") from None
    with opened as sound:
        if _FAMILY.get(sound.format) != container.kind:
            raise Unreadable(f"not the {container.kind} file it seems to be")
        if not (1 <= sound.channels <= MAX_CHANNELS and RATES[0] <= sound.samplerate <= RATES[1]):
            raise Unreadable(f"{sound.channels} channels at {sound.samplerate:,} Hz")
        # otherwise soundfile seeks after each block, which fails where the length is unknown, and is slow
        sound._info.seekable = 0
        yield sound


def _about(sound: Any, container: Container, size: int) -> About:
    plain = container.kind != "FLAC" and sound.subtype.startswith(_PLAIN)
    most = size // sound.channels if plain else size * _DENSEST
    return About(sound.samplerate, sound.channels, min(max(0, sound.frames), most), f"{container.kind} {sound.subtype}")


def _decode(sound: Any, header: About, piece: Piece, faults: list[str], cut: bool) -> Iterator[np.ndarray]:
    """Yield blocks (frames, n) float32 up to the end, or up to where decoding fails. Raises Unreadable."""
    total = bad = 0
    most = max(1, _BLOCK // header.channels)
    stated = sound.frames if 0 < sound.frames < 1 << 48 else None
    if stated is not None and piece.frames is not None and piece.frames <= stated < piece.frames + piece.surplus:
        stated = piece.frames
    failed = False
    while not failed:
        want = most if stated is None else min(most, stated - total)
        if want < 1:
            break
        # not a number where nothing was decoded: an error leaves the block's beginning in it
        block = np.full((want, header.channels), np.nan, np.float32)
        try:
            block = sound.read(out=block)
        except soundfile.LibsndfileError:
            failed = True
            holes = np.flatnonzero(np.isnan(block[:, 0]))
            block = block[: holes[0]] if len(holes) else block
            if not total + len(block):
                raise Unreadable("damaged: decoding stops after 0 samples") from None
        if not len(block):
            break
        peak = np.abs(block).max(initial=0)
        if not peak <= LARGEST:  # also true for NaN
            bad += int(np.count_nonzero(~np.isfinite(block)))
            if not bad:
                raise Unreadable(f"samples of up to {peak:.0e}, where full scale is 1")
            block = np.zeros_like(block)
        total += len(block)
        yield block
    if bad:
        raise Unreadable(f"{bad:,} samples are not numbers (NaN or infinite)")
    if failed:
        of = f" of {seconds(stated, header.rate)}" if stated is not None and stated > total else ""
        faults.append(f"decoding stops after {seconds(total, header.rate)}{of}")
    elif stated is not None and total < stated - _FEW and not cut:
        faults.append(f"{seconds(stated - total, header.rate)} of {seconds(stated, header.rate)} are damaged")
