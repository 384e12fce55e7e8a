"""Level of each sound: its power, offset and clipping, and what is left of it at its end.

raw: sounds (B, C, L), float, full scale 1; a sound ends before the exact zeros at its end. Powers are means over
channels, peaks are those of the loudest channel, so channels that cancel each other count in full.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from modalities.audio.codec import ends

SILENCE_DB = -100.0
"""Level below which nothing is told apart: 16 bits end at -98 dB."""
TAIL, END = 0.05, 0.005
"""Seconds of the last part and of the very end; both are at most a quarter of a sound."""
RUN = 3
"""Samples in a row at a sound's own peak that show that it was clipped."""
STEP = 2.0**-15
"""Distance of neighbouring 16-bit samples; full scale is one step less upwards than downwards."""


class Levels(NamedTuple):
    """One value a sound, (B,) float64."""

    rms: Tensor
    """Root mean square up to the end, in dB relative to full scale, at least SILENCE_DB."""
    dc: Tensor
    """Mean relative to the root mean square, 0 to 1; 0 for silence."""
    clipped: Tensor
    """Share of samples that lie in runs at the peak, 0 to 1; 0 for silence."""
    tail: Tensor
    """Power of the last 50 ms relative to the loudest 50 ms, in dB, SILENCE_DB to 0; NaN for silence."""
    end: Tensor
    """Peak of the last 5 ms relative to that of the sound, in dB, SILENCE_DB to 0; NaN for silence."""


def levels(raw: Tensor, rate: int) -> Levels:
    """Return the levels of sounds at `rate` Hz."""
    raw = raw.double()
    length = ends(raw)
    inside = torch.arange(raw.shape[-1]) < length[:, None]
    total = raw.square().mean(1).sum(-1)
    rms = (total / length).sqrt()
    offset = (raw.sum(-1) / length[:, None]).square().mean(1).sqrt()
    magnitude = raw.abs()
    peak = magnitude.amax((1, 2))
    full = (magnitude >= (peak - STEP)[:, None, None]) & inside[:, None] & (peak > STEP)[:, None, None]
    clipped = _in_runs(full).double().sum((1, 2)) / (length * raw.shape[1])
    silent = peak == 0
    tail = _decibels(_tail(raw, length, rate), 10).masked_fill(silent, torch.nan)
    last = torch.arange(raw.shape[-1]) >= (length - _part(length, END * rate))[:, None]
    end = (magnitude * last[:, None]).amax((1, 2)) / peak.clamp(min=1e-30)
    return Levels(
        _decibels(rms, 20), torch.where(silent, 0, offset / rms.clamp(min=1e-30)), clipped, tail,
        _decibels(end, 20).masked_fill(silent, torch.nan),
    )  # fmt: skip


def _part(length: Tensor, samples: float) -> Tensor:
    """Return `samples`, at most a quarter of each length, at least 1: (B,) int64."""
    return (length // 4).clamp(1, max(1, round(samples)))


def _tail(raw: Tensor, length: Tensor, rate: int) -> Tensor:
    """Return the energy of the last part over that of the loudest stretch of the same length: (B,)."""
    energy = torch.nn.functional.pad(raw.square().mean(1).cumsum(-1), (1, 0))
    part = _part(length, TAIL * rate)
    start = torch.arange(raw.shape[-1])[None]
    stop = torch.minimum(start + part[:, None], length[:, None])
    stretches = energy.gather(1, stop) - energy[:, :-1]
    last = energy.gather(1, length[:, None]) - energy.gather(1, (length - part)[:, None])
    return last[:, 0] / stretches.amax(1).clamp(min=1e-30)


def _in_runs(full: Tensor) -> Tensor:
    """Return which of full (..., L) bool lie in runs of at least RUN."""
    if full.shape[-1] < RUN:
        return torch.zeros_like(full)
    runs = full.unfold(-1, RUN, 1).all(-1)
    return torch.nn.functional.pad(runs, (RUN - 1, RUN - 1)).unfold(-1, RUN, 1).any(-1)


def _decibels(value: Tensor, factor: int) -> Tensor:
    return (factor * value.clamp(min=1e-30).log10()).clamp(min=SILENCE_DB)
