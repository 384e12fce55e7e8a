"""Metrics of a resynthesised sound beside its original, and the classical vocoder (Griffin-Lim).

reference, estimate: arrays (L,) or (C, L), float in [-1, 1], of equal shape and rate; at least one sample. All spectra
are of Hann windows, centred, with zeros beyond the ends, and of each channel by itself. Every function raises
UsageError for sounds that do not pair.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modalities.audio.mel import MelSpec, default
from toolkit.errors import UsageError

Array = npt.NDArray[np.float64]

FLOOR = 1e-5
"""Smallest magnitude, a sine of full scale being 1: -100 dB. Softer sound is inaudible, and without a floor the
distance between two silences would outweigh everything."""
_CEPSTRA = 13
_BANDS = 40
_RESOLUTIONS, _THEIR_RATE = (512, 1024, 2048), 22_050


class MultiResolution(NamedTuple):
    """Two parts of the multi-resolution STFT distance, each a mean over the resolutions."""

    spectral_convergence: float
    """||S - S'|| / ||S||, Frobenius norms of magnitudes; 1 for silence."""
    log_magnitude: float
    """Mean |ln S - ln S'|."""

    @property
    def total(self) -> float:
        return self.spectral_convergence + self.log_magnitude


def pair_metrics(
    reference: npt.ArrayLike, estimate: npt.ArrayLike, rate: int, estimate_rate: int | None = None
) -> dict[str, float]:
    """Return every metric of this module for one pair, by name. `estimate_rate` is checked against `rate`."""
    if estimate_rate is not None and estimate_rate != rate:
        raise UsageError(f"cannot compare sounds of {rate} and {estimate_rate} samples a second; resample one of them")
    spectra = multi_resolution_stft(reference, estimate, rate)
    return {
        "log_spectral_distance_db": log_spectral_distance(reference, estimate, rate),
        "mel_cepstral_distortion_db": mel_cepstral_distortion(reference, estimate, rate),
        "spectral_convergence": spectra.spectral_convergence,
        "log_magnitude": spectra.log_magnitude,
        "si_sdr_db": si_sdr(reference, estimate),
    }


def log_spectral_distance(reference: npt.ArrayLike, estimate: npt.ArrayLike, rate: int) -> float:
    """Return the root mean square over frequency of the difference of log spectra, in dB, mean over frames; 0 is best.

    d_2 of Gray & Markel, Distance measures for speech processing, 1976, on windows of about 32 ms.
    """
    x, y = _pair(reference, estimate)
    n_fft = default(rate, _BANDS).n_fft
    difference = 20 * np.log10(_magnitudes(x, n_fft) / _magnitudes(y, n_fft))
    return float(np.sqrt((difference**2).mean(-2)).mean())


def mel_cepstral_distortion(reference: npt.ArrayLike, estimate: npt.ArrayLike, rate: int) -> float:
    """Return the difference of the shapes of mel spectra, without loudness, in dB, mean over frames; 0 is best.

    10 / ln 10 * sqrt(2 sum_{d=1}^{13} (c_d - c'_d)^2), Kubichek, Mel-cepstral distance measure for objective speech
    quality assessment, 1993. Cepstra come in many scales; see `cepstra`. Frames are not aligned by time warping.
    """
    x, y = _pair(reference, estimate)
    return cepstral_distortion(cepstra(_log_mels(x, rate)), cepstra(_log_mels(y, rate)))


def cepstra(log_mels: npt.ArrayLike) -> Array:
    """Return c_1..c_13 (..., 13, frames) of natural-log mel magnitudes (..., bands, frames).

    Scaled such that ln|X_k| = c_0 + sum_d c_d cos(pi d (k + 1/2) / bands) up to higher d, as those of SPTK: then the
    distortion is the root mean square difference in dB of the two smoothed mel spectra.
    """
    from librosa.feature import mfcc

    values = np.asarray(log_mels, dtype=np.float64)
    # without a norm the DCT is 2 sum_k ln|X_k| cos(...)
    return np.asarray(mfcc(S=values, n_mfcc=_CEPSTRA + 1, norm=None)[..., 1:, :] / values.shape[-2])


def cepstral_distortion(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return `mel_cepstral_distortion` of cepstra (..., 13, frames)."""
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(10 / math.log(10) * np.sqrt(2 * (difference**2).sum(-2)).mean())


def multi_resolution_stft(reference: npt.ArrayLike, estimate: npt.ArrayLike, rate: int) -> MultiResolution:
    """Return spectral convergence and log-magnitude distance at three resolutions; 0 is best.

    Yamamoto, Song & Kim, Parallel WaveGAN, 2020, eqs. 4 to 6. Windows of 512, 1024 and 2048 samples at 22 kHz, and
    of the power of two nearest to the same duration at other rates; a hop is a quarter of a window.
    """
    x, y = _pair(reference, estimate)
    convergence, distance = [], []
    for size in _RESOLUTIONS:
        n_fft = 2 ** round(math.log2(size * rate / _THEIR_RATE))
        one, other = _magnitudes(x, n_fft), _magnitudes(y, n_fft)
        convergence.append(np.linalg.norm(one - other) / np.linalg.norm(one))
        distance.append(np.abs(np.log(one / other)).mean())
    return MultiResolution(float(np.mean(convergence)), float(np.mean(distance)))


def si_sdr(reference: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB over all channels; infinite for equal waveforms.

    10 log10(||a s||^2 / ||a s - s'||^2), a = <s', s> / ||s||^2: Le Roux et al., SDR - half-baked or well done?, 2019,
    eq. 3. A vocoder that gets the phase wrong scores badly here while it sounds right.
    """
    x, y = (sound.ravel() for sound in _pair(reference, estimate))
    power = float(x @ x)
    if power == 0:
        raise UsageError("SI-SDR needs a reference that is not silent; leave silent clips out")
    target = (float(y @ x) / power) * x
    signal, distortion = float(target @ target), float((target - y) @ (target - y))
    if signal == 0:
        return -math.inf
    return 10 * math.log10(signal / distortion) if distortion > 0 else math.inf


def griffin_lim(log_mel: Tensor, spec: MelSpec, iterations: int = 32, seed: int = 0) -> Tensor:
    """Return waveforms (B, L) with about the mel spectrograms `log_mel` (B, mels, L / hop) of `mel.log_mel`.

    Griffin & Lim, Signal estimation from modified short-time Fourier transform, 1984, with the momentum of Perraudin,
    Balazs & Sondergaard 2013. These are the two steps of librosa's mel_to_audio, which takes no seed.
    """
    import librosa

    magnitudes = log_mel.detach().cpu().double().exp().numpy()
    length = magnitudes.shape[-1] * spec.hop
    # `mel.log_mel` leaves out the last frame, half beyond the end, but the inverse needs it
    magnitudes = np.concatenate([magnitudes, magnitudes[..., -1:]], -1)
    linear = librosa.feature.inverse.mel_to_stft(magnitudes, sr=spec.rate, n_fft=spec.n_fft, power=1.0)
    sounds = [
        librosa.griffinlim(
            clip, n_iter=iterations, hop_length=spec.hop, n_fft=spec.n_fft, length=length, random_state=seed
        )
        for clip in linear
    ]
    return torch.from_numpy(np.stack(sounds)).float()


def _pair(reference: npt.ArrayLike, estimate: npt.ArrayLike) -> tuple[Array, Array]:
    x, y = (np.asarray(sound, dtype=np.float64) for sound in (reference, estimate))
    if x.shape != y.shape:
        raise UsageError(f"cannot compare sounds of shape {x.shape} and {y.shape}; cut both to the shorter one")
    if x.ndim not in (1, 2) or x.size == 0:
        raise UsageError(f"a sound to compare is (L,) or (C, L) with at least one sample, not {x.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError("cannot compare sounds with samples that are not finite; leave them out")
    return x, y


def _magnitudes(sound: Array, n_fft: int) -> Array:
    """Return magnitudes (..., bins, frames), at least FLOOR, 1 for a sine of full scale."""
    return np.maximum(np.abs(_stft(sound, n_fft)) / (n_fft / 4), FLOOR)


def _log_mels(sound: Array, rate: int) -> Array:
    """Return natural-log magnitudes (..., bands, frames) of bands with peak 1."""
    from librosa.feature import melspectrogram

    n_fft = default(rate, _BANDS).n_fft
    power = np.abs(_stft(sound, n_fft)) ** 2
    bands = melspectrogram(S=power, sr=rate, n_fft=n_fft, n_mels=_BANDS, norm=None) / (n_fft / 4) ** 2
    return np.asarray(0.5 * np.log(np.maximum(bands, FLOOR**2)))


def _stft(sound: Array, n_fft: int) -> npt.NDArray[np.complex128]:
    from librosa import stft

    short = max(0, n_fft - sound.shape[-1])
    padded = np.pad(sound, [(0, 0)] * (sound.ndim - 1) + [(0, short)])
    return np.asarray(stft(padded, n_fft=n_fft, hop_length=n_fft // 4))
