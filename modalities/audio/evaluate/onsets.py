"""Onsets of each sound: moments at which many bands of its spectrum rise at once."""

from __future__ import annotations

import torch
from torch import Tensor

from modalities.audio.codec import ends

HOP, WINDOW = 0.01, 0.03
"""Seconds from one frame to the next, and in a frame."""
BANDS = 32
"""Mel bands up to half the rate; fewer below 8 kHz, where some would lie between two bins."""
RANGE_DB = 60.0
"""Decibels from the loudest cell of a spectrogram to what counts as silence."""
RISE_DB = 3.0
"""Rise over 20 ms, mean over the bands, by which an onset stands out of its surroundings of 0.2 s."""
APART = 0.05
"""Seconds between two onsets, at least."""
LATE = 0.3
"""Seconds after the first onset from which on another one is late."""
_AT_ONCE = 100


def onsets(raw: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Return the number of onsets and of late ones of sounds (B, C, L) at `rate` Hz: (B,), (B,) float64.

    Spectral flux of mel bands in dB, a rise counted only where no neighbouring band had that level before (SuperFlux,
    Boeck and Widmer 2013), and the peaks above its moving mean. Power is the mean over channels. Silence lies before
    every sound, so one that begins at once has an onset there.
    """
    at = torch.cat([_peaks(strength(part, rate)) for part in raw.split(_AT_ONCE)])
    first = torch.where(at.any(1), at.int().argmax(1), at.shape[1])
    late = torch.arange(at.shape[1]) > (first + round(LATE / HOP))[:, None]
    return at.sum(1).double(), (at & late).sum(1).double()


def strength(raw: Tensor, rate: int) -> Tensor:
    """Return the mean rise of the bands in dB: (B, frames) float32, from 0.1 s before the sounds."""
    import librosa

    n_fft, hop = round(WINDOW * rate), round(HOP * rate)
    before = 10 * hop
    end = ends(raw)
    raw = torch.nn.functional.pad(raw.float(), (before, n_fft))
    window = torch.hann_window(n_fft)
    spectra = torch.stft(raw.flatten(0, 1), n_fft, hop, window=window, center=False, return_complex=True)
    power = spectra.abs().square().unflatten(0, raw.shape[:2]).mean(1)
    bank = torch.from_numpy(librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=min(BANDS, n_fft // 7)))
    level = 10 * (bank @ power).clamp(min=1e-30).log10()
    level = (level - level.amax((1, 2), keepdim=True)).clamp(min=-RANGE_DB)
    rise = librosa.onset.onset_strength(S=level.numpy(), sr=rate, hop_length=hop, lag=2, max_size=3, center=False)
    start = torch.arange(rise.shape[1]) * hop - before
    # where a sound is cut off, the edge would rise in every band
    return torch.from_numpy(rise).masked_fill((start >= 0) & (start + n_fft > end[:, None]), 0)


def _peaks(rise: Tensor) -> Tensor:
    """Return where the peaks are: (B, frames) bool."""
    import librosa

    wide, near = 10, 3
    peaks = librosa.util.peak_pick(
        rise.numpy(), pre_max=near, post_max=near + 1, pre_avg=wide, post_avg=wide + 1, delta=RISE_DB,
        wait=round(APART / HOP), sparse=False, axis=-1,
    )  # fmt: skip
    return torch.from_numpy(peaks)
