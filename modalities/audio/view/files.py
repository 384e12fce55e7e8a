"""Sounds as files: 16-bit WAV and FLAC, 32-bit float WAV; whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from modalities.audio.codec import ends
from toolkit.errors import UsageError
from toolkit.imports import require
from toolkit.training.storage.files import make_folder, write_bytes_atomic

FORMATS = {"wav": ("WAV", "PCM_16", ".wav"), "flac": ("FLAC", "PCM_16", ".flac"), "float": ("WAV", "FLOAT", ".wav")}
"""Name in `SampleOptions.format`: container, sample type, file ending."""
_FULL_SCALE = 32768


def write(raw: Tensor, rate: int, folder: Path, stems: Sequence[str], format: str = "wav") -> list[Path]:
    """Save raw (B, C, L) float in [-1, 1] as folder/STEM.wav or .flac, without the zeros at each clip's end.

    Returns the paths. Raises StorageError, and then the file it names is absent or as it was; UsageError.
    """
    paths = []
    for clip, end, stem in zip(raw, ends(raw).tolist(), stems, strict=True):
        content = to_bytes(clip[:, :end], rate, format)
        path = folder / f"{stem}{FORMATS[format][2]}"
        make_folder(folder)
        write_bytes_atomic(path, content, durable=False)
        paths.append(path)
    return paths


def to_bytes(clip: Tensor, rate: int, format: str = "wav") -> bytes:
    """Return the file of one clip (C, L) float, C = 1 or 2; the same bytes for the same clip. Raises UsageError.

    16 bits: round(32768 x) within -32768..32767, so that samples of a 16-bit file come back exactly; no dither, and
    louder samples are clipped, never wrapped around. float: unchanged, also beyond [-1, 1]. NaN becomes 0.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown sound format '{format}'; known: {', '.join(FORMATS)}")
    container, subtype, _ = FORMATS[format]
    samples = np.nan_to_num(clip.detach().cpu().float().numpy().T)
    if subtype == "PCM_16":
        samples = to_int16(samples)
    buffer = io.BytesIO()
    require("soundfile").write(buffer, samples, rate, format=container, subtype=subtype)
    content = bytearray(buffer.getvalue())
    # libsndfile stamps the time of day into a PEAK chunk: name, size, version, time
    peak = content.find(b"PEAK", 0, 128) if format == "float" else -1
    if peak >= 0:
        content[peak + 12 : peak + 16] = bytes(4)
    return bytes(content)


def to_int16(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Return float samples of any shape as 16 bits: rounded to nearest, clipped."""
    whole = np.rint(np.clip(samples, -1, 1) * _FULL_SCALE)
    return np.minimum(whole, _FULL_SCALE - 1).astype(np.int16)
