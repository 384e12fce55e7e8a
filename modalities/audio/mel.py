"""Log-mel spectrogram that a vocoder is conditioned on, computed the same way everywhere.

Filters are triangles on Slaney's mel scale (linear below 1 kHz, logarithmic above), each of unit area in Hz; that is
the default of librosa, so `vocoder.griffin_lim` inverts exactly the network's condition. On the HTK scale the lowest
filters would be narrower than the bins of these short windows, and some would be empty.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.imports import require

FLOOR = 1e-5
"""Magnitudes below it count as silence: ln(FLOOR) = -11.5."""
MEAN, STD = -7.0, 3.0
"""Log-mels of peak-normalised sound, rounded. Measured: drums at 16 kHz -7.1 and 3.0, spoken digits at 8 kHz -5.4 and
2.0; with the silence that fills them up to one second, -9.2 and 3.1, -8.5 and 3.4; the same for 40 to 80 bands."""
_WINDOW = 0.032
_MAX_HOP = 256
"""Clip lengths are multiples of it."""


@dataclass(frozen=True)
class MelSpec:
    """Parameters of a mel spectrogram."""

    rate: int
    """Sample rate in Hz."""
    mels: int
    """Bands between 0 Hz and rate / 2."""
    n_fft: int
    """Samples in a window, a power of two; the window is Hann's."""
    hop: int
    """Samples from one frame to the next, a power of two that divides 256."""


def default(rate: int, mels: int) -> MelSpec:
    """Return windows of about 32 ms, hops of a quarter: 256 / 64 at 8 kHz, 512 / 128 at 16, 1024 / 256 at 44.1."""
    n_fft = 2 ** round(math.log2(rate * _WINDOW))
    return MelSpec(rate, mels, n_fft, min(n_fft // 4, _MAX_HOP))


def log_mel(raw: Tensor, spec: MelSpec) -> Tensor:
    """Return the natural logarithm of the mel magnitudes of the mean channel, at least ln(FLOOR).

    raw: (B, C, L) float in [-1, 1], L a multiple of spec.hop. Returns (B, mels, L / hop) float32, without gradient.
    Frame i is centred on sample i * hop, with zeros beyond both ends. Raises ValueError.
    """
    if raw.ndim != 3 or raw.shape[-1] % spec.hop or raw.shape[-1] == 0:
        raise ValueError(f"a mel spectrogram needs (B, C, L), L a multiple of {spec.hop}, not {tuple(raw.shape)}")
    with torch.no_grad(), torch.autocast(raw.device.type, enabled=False):
        magnitudes = _transform(spec, str(raw.device))(raw.float().mean(1))
        # centring gives L / hop + 1 frames, the last of them half beyond the end
        return magnitudes[..., :-1].clamp_min(FLOOR).log()


def normalise(log_mel: Tensor) -> Tensor:
    """Return log-mels (any shape) scaled to about mean 0 and variance 1, for a network."""
    return (log_mel - MEAN) / STD


def denormalise(mel: Tensor) -> Tensor:
    """Return the inverse of `normalise`, float32."""
    return STD * mel.float() + MEAN


def filters(spec: MelSpec, device: torch.device) -> Tensor:
    """Return the filters that map magnitudes to bands: (mels, n_fft / 2 + 1) float32."""
    bank: Tensor = _transform(spec, str(device)).mel_scale.fb
    return bank.T


class Power(nn.Module):
    """Power estimated from a mel spectrogram: (B, mels, frames), normalised -> log power (B, bands, frames).

    Bands are centred on (k + 1/2) / (2 bands) of the rate. Magnitudes of the bins come from the pseudo-inverse of the
    filters, but are never less than a third of the filters' mean there; white noise of deviation `std` has power 1.
    """

    def __init__(self, spec: MelSpec, bands: int, std: float) -> None:
        super().__init__()
        with torch.device("cpu"):  # numbers even where a network is only counted: the filters are small, and kept
            self._measure(spec, bands, std)

    def _measure(self, spec: MelSpec, bands: int, std: float) -> None:
        bank = filters(spec, torch.device("cpu")).T.double()  # (bins, mels)
        mean = bank / bank.sum(1, keepdim=True).clamp_min(1e-12) / bank.sum(0).clamp_min(1e-12)
        share = spec.n_fft / (2 * bands)
        centre = (torch.arange(bands, dtype=torch.float64)[:, None] + 0.5) * share
        near = (1 - (torch.arange(len(bank)) - centre).abs() / max(1.0, share)).clamp_min(0)  # (bands, bins)
        noise = 3 / 8 * spec.n_fft * std**2  # the sum of a squared Hann window is 3 / 8 of its length
        self.register_buffer("exact", torch.linalg.pinv(bank).T.float(), persistent=False)
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("near", (near / near.sum(1, keepdim=True) / noise).float(), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, enabled=False):
            mel = denormalise(mel).exp()
            least = self.get_buffer("mean") @ mel
            magnitudes = torch.maximum(self.get_buffer("exact") @ mel, least / 3)
            return (self.get_buffer("near") @ magnitudes.square()).clamp_min(1e-20).log()


@lru_cache(maxsize=8)
def _transform(spec: MelSpec, device: str) -> Any:
    """Return the transform of `spec`, built once. Raises ToolkitError when torchaudio does not fit torch."""
    transforms = require("torchaudio.transforms")
    with warnings.catch_warnings():
        # at a low rate one of many bands may lie between two bins: it is empty and constant, which does no harm
        warnings.filterwarnings("ignore", message="At least one mel filterbank")
        return transforms.MelSpectrogram(
            sample_rate=spec.rate,
            n_fft=spec.n_fft,
            hop_length=spec.hop,
            n_mels=spec.mels,
            power=1.0,
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",  # a clip may be shorter than a window, which reflection does not allow
        ).to(device)
