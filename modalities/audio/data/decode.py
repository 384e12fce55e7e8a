"""Decoding of one sound file of any rate and layout to a stream of float32 blocks, or to the reason why not.

Choices: only PCM and float WAV, FLAC, Vorbis and Opus in OGG, and MP3 are decoded, recognised by their content, not
their name. The length in the header is a hint: the samples that can be decoded count. Three channels or more become
mono as their mean, and stereo as the mean of the even-numbered (left) and of the odd-numbered (right) ones.
Memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import functools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from toolkit.data.listing import printable
from toolkit.errors import DataError, ToolkitError

EXTENSIONS = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
FORMATS = "WAV, FLAC, OGG and MP3"
MAX_CHANNELS = 64
RATES = (1_000, 768_000)
MAX_SECONDS = 12 * 3600
LARGEST = 1e10
"""Largest magnitude of a sample; full scale is 1, but 32-bit integers that were saved as fractions are accepted."""
_BLOCK = 1 << 18
_BY_NUMBER = sys.platform != "win32"
"""True where libsndfile can take an open file by its number; else it calls Python back for every read."""
_DENSEST = 64
"""Largest number of frames in a byte of a compressed file: Opus at 6 kbit/s."""
_SEARCHED = 1 << 20
"""Number of bytes at the start of a WAV file that must state its format."""
_WAVE_GUID = bytes.fromhex("000000001000800000aa00389b71")
_FAMILY = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "FLAC": "FLAC", "OGG": "OGG", "MP3": "MP3", "MPEG": "MP3"}
_OTHERS = {
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"MThd": "MIDI",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"RIFX": "big-endian WAV",
    b"\x30\x26\xb2\x75": "WMA",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
}


class Unreadable(ToolkitError):
    """Reason why one sound cannot be used."""


class About(NamedTuple):
    """Header of a file."""

    rate: int
    channels: int
    frames: int
    """Length, a hint, limited to the number of frames that a file of this size usually holds."""
    format: str
    """WAV, FLAC, OGG or MP3, and how the samples are coded: "WAV PCM_16"."""


def about(path: Path) -> About:
    """Return the header. Raises Unreadable, OSError."""
    with _opened(path) as sound:
        return _about(sound, path.stat().st_size)


def blocks(path: Path) -> Iterator[np.ndarray]:
    """Yield the sound in blocks (frames, n) float32 at its own rate, with all its n channels. Raises as `stream`."""
    with _opened(path) as sound:
        header = _about(sound, path.stat().st_size)
        yield from _decoded(sound, header, max(1, _BLOCK // header.channels))


def stream(path: Path, rate: int | None, channels: int) -> Iterator[np.ndarray]:
    """Yield the sound in blocks (frames, channels) float32 at `rate` Hz (None: its own); channels: 1 or 2.

    Raises Unreadable or OSError, perhaps only after the last block: use none of them before.
    """
    header = about(path)
    rate = rate or header.rate
    if rate == header.rate:
        yield from (mix(block, channels) for block in blocks(path))
        return
    resampler = soxr.ResampleStream(header.rate, rate, channels, dtype="float32", quality="HQ")
    most = max(1, _BLOCK * header.rate // (rate * channels))  # upsampled blocks must not grow large
    for block in blocks(path):
        for start in range(0, len(block), most):
            yield resampler.resample_chunk(mix(block[start : start + most], channels))
    yield resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def read(path: Path, rate: int, channels: int, max_seconds: float | None = None) -> np.ndarray:
    """Return the sound as (frames, channels) float32, its first `max_seconds` or all. Raises DataError."""
    most = None if max_seconds is None else round(max_seconds * rate)
    parts, frames = [np.zeros((0, channels), np.float32)], 0
    try:
        for block in stream(path, rate, channels):
            parts.append(block)
            frames += len(block)
            if most is not None and frames >= most:
                break
    except FileNotFoundError:
        raise DataError(f"no such file: {path}") from None
    except Exception as error:  # damaged files make decoders raise nearly everything
        raise DataError(f"{path} cannot be read: {reason(error)}") from None
    return np.concatenate(parts)[:most]


def mix(block: np.ndarray, channels: int) -> np.ndarray:
    """Return block (frames, n) as (frames, channels), by the rule above; mono plays on both sides."""
    if block.shape[1] == channels:
        return block
    if block.shape[1] == 1:
        return np.repeat(block, 2, axis=1)
    return np.stack([_mean(block[:, i::channels]) for i in range(channels)], axis=1)


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


def sniff(file: BinaryIO) -> str:
    """Return WAV, FLAC, OGG or MP3, by the first bytes. Raises Unreadable for everything else, with the reason."""
    start = 0
    head = file.read(512)
    if head[:3] == b"ID3" and len(head) > 10:  # a tag before the sound: its size has 7 bits in each byte
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
        file.seek(start)
        head = file.read(512)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        _check_wave(file, start + 12)
        return "WAV"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        if b"\x01vorbis" in head[:64] or b"OpusHead" in head[:64]:
            return "OGG"
        raise Unreadable("OGG with something other than Vorbis or Opus")
    if _is_mpeg_frame(head) or (start and not head.strip(b"\0")):  # a tag may be padded
        return "MP3"
    raise Unreadable(_what_it_is(head))


def _is_mpeg_frame(head: bytes) -> bool:
    """Return True where an MPEG audio layer III frame begins."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, bitrate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer == 1 and bitrate != 15 and rate != 3


def _check_wave(file: BinaryIO, start: int) -> None:
    """Raise Unreadable unless the samples are plain integers or fractions."""
    while start < _SEARCHED:
        file.seek(start)
        name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if name == b"fmt ":
            form = file.read(40)[:size]
            if len(form) < 16:
                break
            codec = int.from_bytes(form[:2], "little")
            if codec == 0xFFFE and form[26:40] == _WAVE_GUID:
                codec = int.from_bytes(form[24:26], "little")
            if codec not in (1, 3):
                raise Unreadable(f"compressed WAV (codec {codec}); save it as PCM")
            return
        start += 8 + size + size % 2
    raise Unreadable("WAV that does not state its format")


def _what_it_is(head: bytes) -> str:
    if not head:
        return "empty file"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return f"{name}; only {FORMATS} are read"
    if head[4:8] == b"ftyp":
        return f"MP4 or M4A; only {FORMATS} are read"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    with contextlib.suppress(UnicodeDecodeError):
        text = head[: -3 if len(head) > 256 else None].decode()  # a character may be cut
        if all(c.isprintable() or c.isspace() for c in text):
            return "text, not a sound"
    return f"not a {FORMATS.replace(' and ', ' or ')} file"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the file by libsndfile when it is of a format that may reach it. Raises Unreadable, OSError."""
    with path.open("rb", buffering=0) as file:  # unbuffered: libsndfile reads on from the file's own position
        kind = sniff(file)
        file.seek(0)
        with soundfile.SoundFile(file.fileno() if _BY_NUMBER else file, closefd=False) as sound:
            if _FAMILY.get(sound.format) != kind:
                raise Unreadable(f"not the {kind} file it seems to be")
            if not (1 <= sound.channels <= MAX_CHANNELS and RATES[0] <= sound.samplerate <= RATES[1]):
                raise Unreadable(f"{sound.channels} channels at {sound.samplerate:,} Hz")
            yield sound


def _about(sound: Any, size: int) -> About:
    kind = _FAMILY[sound.format]
    frames = min(max(0, sound.frames), size // sound.channels if kind == "WAV" else size * _DENSEST)
    return About(sound.samplerate, sound.channels, frames, f"{kind} {sound.subtype}")


def _decoded(sound: Any, header: About, frames: int) -> Iterator[np.ndarray]:
    """Yield blocks (frames, n) float32 up to the end. Raises Unreadable."""
    total = bad = 0
    while True:
        try:
            block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            raise Unreadable(f"damaged: decoding stops after {total:,} samples") from None
        if not len(block):
            break
        peak = np.abs(block).max()
        if not peak <= LARGEST:  # also true for NaN
            bad += int(np.count_nonzero(~np.isfinite(block)))
            if not bad:
                raise Unreadable(f"samples of up to {peak:.0e}, where full scale is 1")
            block = np.zeros_like(block)
        total += len(block)
        if total > MAX_SECONDS * header.rate:
            raise Unreadable(f"longer than {MAX_SECONDS // 3600} hours; cut it into parts")
        yield block
    if bad:
        raise Unreadable(f"{bad:,} samples are not numbers (NaN or infinite)")
    if not total:
        raise Unreadable("no samples")
