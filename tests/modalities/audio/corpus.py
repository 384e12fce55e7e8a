"""Odd sounds, each made here, with what must become of it; and shorthands."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from modalities.audio.data.cache import Corpus
from modalities.audio.data.container.sniff import FORMATS
from modalities.audio.data.dataset import Clips, read
from modalities.audio.options import Data
from toolkit.data.understood import Row
from toolkit.modality import Examples

RATE = 8_000


def sine(frequency: float, seconds: float, rate: int = RATE, amplitude: float = 0.5, phase: float = 0.0) -> np.ndarray:
    """(frames,) float64."""
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate + phase)


def noise(frames: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """(frames, channels) float64 on the 16-bit grid, within [-1, 1), and its peak is one half exactly."""
    values = np.random.default_rng(seed).integers(-(2**13), 2**13, (frames, channels))
    values[frames // 2] = 2**14
    return values / 2**15


def save(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def encoded(samples: np.ndarray, rate: int, kind: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def wave(samples: np.ndarray, rate: int = RATE, size: int | None = None) -> bytes:
    """A plain 16-bit WAV file of (frames, channels) int16; size: what its header claims that the samples take."""
    data = samples.astype("<i2").tobytes()
    channels = samples.shape[1]
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    claimed = len(data) if size is None else size
    riff = min(claimed + 36, 2**32 - 1)
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt \x10\0\0\0" + form
    return head + b"data" + struct.pack("<I", claimed) + data


def with_more_frames(flac: bytes, frames: int) -> bytes:
    """A FLAC file whose header claims so many frames: 36 bits that begin in the middle of byte 21."""
    head = bytearray(flac)
    head[21] = head[21] & 0xF0 | frames >> 32 & 15
    head[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    return bytes(head)


def good_sounds() -> dict[str, bytes]:
    """File name to content; each is 0.25 s or longer and readable."""
    found = {}
    for rate in (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000):
        found[f"rates/{rate}.wav"] = encoded(sine(440, 0.25, rate), rate, "WAV", "PCM_16")
    for channels in (2, 3, 6, 8):
        wide = np.stack([sine(440, 0.25, 48_000, 0.5 / (i + 1)) for i in range(channels)], axis=1)
        found[f"channels/{channels}.wav"] = encoded(wide, 48_000, "WAV", "PCM_24")
    kinds = [("WAV", subtype) for subtype in ("PCM_U8", "PCM_32", "FLOAT", "DOUBLE")]
    for kind, subtype in (*kinds, ("RF64", "PCM_16"), ("WAVEX", "PCM_16")):
        found[f"kinds/{kind} {subtype}.wav"] = encoded(sine(440, 0.25), RATE, kind, subtype)
    found["kinds/a.flac"] = encoded(sine(440, 0.25), RATE, "FLAC", "PCM_24")
    found["kinds/vorbis.ogg"] = encoded(sine(440, 0.25, 16_000), 16_000, "OGG", "VORBIS")
    found["kinds/opus.opus"] = encoded(sine(440, 0.25, 48_000), 48_000, "OGG", "OPUS")
    found["kinds/layer three.mp3"] = encoded(sine(440, 0.25, 16_000), 16_000, "MP3", "MPEG_LAYER_III")
    found["kinds/flac called.wav"] = found["kinds/a.flac"]
    samples = (sine(440, 0.25) * 2**15).astype(np.int16)[:, None]
    for kind in ("AIFF", "CAF", "AU", "W64"):
        found[f"kinds/{kind}.{kind.lower()}"] = encoded(sine(440, 0.25), RATE, kind, "PCM_16")
    found["kinds/AIFF called.WAV"] = found["kinds/AIFF.aiff"]
    found["streamed.wav"] = wave(samples, size=2**32 - 1)  # what a program writes into a pipe
    found["claims 4 GB.wav"] = wave(samples, size=2**32 - 100)
    found["Geräusch 音 🥁.wav"] = wave(samples)
    return found


def bad_sounds() -> dict[str, tuple[bytes, str]]:
    """File name to (content, the reason that must be given)."""
    fine = noise(20_000)
    flac = encoded(fine, RATE, "FLAC", "PCM_16")
    holes = fine.copy()
    holes[[5, 7, 19_000]] = np.nan
    holes[9] = np.inf
    g721 = encoded(fine, RATE, "WAV", "G721_32")
    return {
        "nothing.wav": (b"", "empty file"),
        "one sample.wav": (wave(np.full((1, 1), 900), 192_000), "too short: not one sample is left at 8,000 Hz"),
        "no samples.wav": (wave(np.ones((0, 1), np.int16)), "no samples"),
        "holes.wav": (encoded(holes, RATE, "WAV", "FLOAT"), "4 samples are not numbers (NaN or infinite)"),
        "cut off.flac": (flac[:3000], "damaged: decoding stops after 0 samples"),
        "text.wav": ("Grüße, das ist kein Ton.\n".encode() * 30, "text, not a sound"),
        "page.mp3": (b"<!DOCTYPE html><html><title>404</title></html>", "text, not a sound"),
        "g721.wav": (g721, "compressed WAV (codec 64); save it as PCM"),
        "dwvw.aiff": (encoded(fine, RATE, "AIFF", "DWVW_16"), "compressed AIFF (DWVW); save it as PCM"),
        "g721.au": (encoded(fine, RATE, "AU", "G721_32"), "compressed AU (codec 23); save it as PCM"),
        "no format.wav": (b"RIFF\x20\0\0\0WAVEdata\x04\0\0\0abcd", "WAV that does not state its format"),
        "midi.wav": (b"MThd" + bytes(99), f"MIDI; only {FORMATS} are read"),
        "video.mp3": (b"\0\0\0\x20ftypisom" + bytes(600), f"MP4 or M4A; only {FORMATS} are read"),
        "cut off.ogg": (encoded(fine, RATE, "OGG", "VORBIS")[:900], "damaged (cut off): no sound is left"),
        "flac in.ogg": (b"OggS" + bytes(24) + b"\x7fFLAC" + bytes(99), "OGG with something other than Vorbis or Opus"),
        "blank.wav": (bytes(5000), "nothing but zeros"),
        "random.flac": (np.random.default_rng(0).bytes(5000), "not a WAV, AIFF, CAF, AU, FLAC, OGG or MP3 file"),
        "header only.flac": (b"fLaC" + bytes(30), "damaged: "),
        "tagged text.mp3": (b"ID3\x04\0\0\0\0\0\x05hello" + b"some words\n" * 99, "text, not a sound"),
        "huge.wav": (encoded(fine * 1e30, RATE, "WAV", "FLOAT"), "samples of up to 5e+29, where full scale is 1"),
        "silent.wav": (wave(np.zeros((4000, 1), np.int16)), "silence"),
    }


def write_all(root: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def opened(root: Path | str, cache: Path, **options: object) -> tuple[Corpus, list[str]]:
    """The corpus of a source, and what was said."""
    said: list[str] = []
    return read(Data(source=str(root), **options), cache, said.append), said  # type: ignore[arg-type]


def everything(corpus: Corpus, test: bool = False) -> Examples:
    import torch

    clips = Clips(corpus, test)
    return clips.take(torch.arange(len(clips)))


def in_blocks(samples: np.ndarray, size: int) -> Callable[[], list[np.ndarray]]:
    return lambda: [samples[i : i + size] for i in range(0, len(samples), size)]


def row(corpus: Corpus, name: str) -> Row:
    """The row of that name in the block about a corpus."""
    found = corpus.understood.row(name)
    assert found is not None, [row.name for row in corpus.understood.rows]
    return found
