"""Post-processing of samples: a fade where sounds are cut, and Griffin-Lim for a vocoder's spectrogram.

A network that samples phase and power of each cell matches the spectrogram only nearly. Magnitudes that agree with it
exactly are computed from the network's output, and phases that agree with them and with each other by fast
Griffin-Lim, which here begins with the network's phases; that of librosa and torchaudio begins with random ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modalities.audio.mel import FLOOR, MelSpec, filters

FADE = 0.005
"""Duration of the fade, in seconds."""
ROUNDS = 32
MOMENTUM = 0.99
_FITTING = 50
"""Multiplicative updates of the magnitudes, which then match the spectrogram to within a hundredth."""
_MAX_FACTOR = 1e3
"""Largest factor in one update, so that steps away from silence are finite."""


def fade_ends(x: Tensor, mask: Tensor, rate: int) -> Tensor:
    """Return x (B, C, L) with the last 5 ms before the end of each mask (B, 1, L) faded to nearly 0 (sine squared).

    A sound that dies away is not changed audibly; one that is cut at its duration ends without a click.
    """
    to_end = mask.sum(-1, keepdim=True) - torch.arange(x.shape[-1], device=x.device) - 0.5
    return x * torch.sin(math.pi / 2 * (to_end / (FADE * rate)).clamp(0, 1)).square()


@torch.no_grad()
def match_mel(sound: Tensor, log_mel: Tensor, spec: MelSpec, rounds: int = ROUNDS) -> Tensor:
    """Return `sound` (B, C, L) moved close to the spectrogram `log_mel` (B, mels, L / hop) of `mel.log_mel`, float32.

    Magnitudes of the mean channel: the geometric mean of the sound's own and of the pseudo-inverse of the filters,
    made to agree with the spectrogram (`agreeing`); all channels take the same factors. Phases: fast Griffin-Lim
    (Perraudin, Balazs & Sondergaard 2013). rounds = 0 returns the sound.
    """
    if rounds == 0:
        return sound.float()
    bank = filters(spec, sound.device)
    target, size = log_mel.float().exp(), sound.shape
    window = torch.hann_window(spec.n_fft, device=sound.device)

    def analyse(x: Tensor) -> Tensor:
        flat = x.float().flatten(0, 1)
        spectrum = torch.stft(flat, spec.n_fft, spec.hop, window=window, pad_mode="constant", return_complex=True)
        return spectrum.unflatten(0, size[:2])

    def synthesise(spectrum: Tensor) -> Tensor:
        flat = torch.istft(spectrum.flatten(0, 1), spec.n_fft, spec.hop, window=window, length=size[-1])
        return flat.unflatten(0, size[:2])

    spectrum = analyse(sound)
    own = spectrum.mean(1).abs().clamp_min(FLOOR)
    inverse = torch.linalg.pinv(bank.double()).to(target) @ target
    goal = agreeing((own[..., :-1] * inverse.clamp_min(FLOOR)).sqrt(), target, bank)
    # the spectrogram has no frame that is centred on the end
    factor = torch.cat([goal / own[..., :-1], torch.ones_like(own[..., -1:])], -1)[:, None]
    magnitudes, phase, before = spectrum.abs() * factor, _phase(spectrum), torch.zeros_like(spectrum)
    for _ in range(rounds):
        now = analyse(synthesise(magnitudes * phase))
        phase = _phase(now - MOMENTUM / (1 + MOMENTUM) * before)
        before = now
    return synthesise(magnitudes * phase)


def agreeing(magnitudes: Tensor, target: Tensor, bank: Tensor, updates: int = _FITTING) -> Tensor:
    """Return magnitudes (B, bins, frames) > 0, scaled until bank (mels, bins) maps them to target (B, mels, frames).

    Each is multiplied by the mean ratio of target to magnitude in the bands around it, weighted by the filters: the
    multiplicative update of Lee & Seung (2000) for the Kullback-Leibler divergence. Ratios within a band are kept.
    """
    share = bank.T / bank.sum(0)[:, None].clamp_min(1e-12)
    in_a_band = bank.sum(0)[:, None] > 0
    for _ in range(updates):
        ratio = target / (bank @ magnitudes).clamp_min(1e-9)
        magnitudes = magnitudes * torch.where(in_a_band, (share @ ratio).clamp(1 / _MAX_FACTOR, _MAX_FACTOR), 1.0)
    return magnitudes


def _phase(spectrum: Tensor) -> Tensor:
    return spectrum / spectrum.abs().clamp_min(1e-12)
