"""Sounds that fade where they end, and sounds that are moved to where they have a given mel spectrogram."""

from __future__ import annotations

import numpy as np
import soundfile
import torch
from torch import Tensor

from modalities.audio import griffin_lim, mel
from modalities.audio.evaluate import vocoder
from tests.conftest import ROOT

DRUM = next(path for path in sorted((ROOT / "assets" / "drums").rglob("*.flac")))
SPEC = mel.default(16_000, 64)


def drum() -> Tensor:
    raw, rate = soundfile.read(DRUM, dtype="float32")
    assert rate == SPEC.rate
    length = len(raw) // SPEC.hop * SPEC.hop
    return torch.from_numpy(raw[:length].copy())[None, None]


def off(sound: Tensor, told: Tensor) -> float:
    """Mean distance of log-mels, in nepers, where there is sound."""
    return float((mel.log_mel(sound, SPEC) - told).abs()[told > -8].mean())


def test_magnitudes_come_to_agree_and_keep_their_ratios_in_a_band() -> None:
    bank = mel.filters(SPEC, torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    real, first = (torch.rand(2, SPEC.n_fft // 2 + 1, 30, generator=draw) + 0.1 for _ in range(2))
    found = griffin_lim.agreeing(first, bank @ real, bank)
    worst = [float((bank @ m / (bank @ real)).log().abs().max()) for m in (first, found)]
    assert worst[1] < 0.03 < worst[0] / 10
    # bins that only one band hears are multiplied alike
    alone = (bank > 0).sum(0) == 1
    band = (bank * alone).argmax(0)
    for b in band[alone].unique():
        factor = (found / first)[:, alone & (band == b)]
        torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-4, atol=0)
    # what has the spectrogram already is left alone
    torch.testing.assert_close(griffin_lim.agreeing(real, bank @ real, bank), real, rtol=1e-3, atol=0)


def test_noise_gets_the_spectrogram_and_a_drum_keeps_it() -> None:
    sound = drum()
    told = mel.log_mel(sound, SPEC)
    noise = 0.1 * torch.randn(sound.shape, generator=torch.Generator().manual_seed(1))
    made = griffin_lim.match_mel(noise, told, SPEC)
    assert off(noise, told) > 1 and off(made, told) < 0.25
    again = griffin_lim.match_mel(sound, told, SPEC)
    assert off(again, told) < off(made, told)
    # its own phases are better than random ones: that is what a network is for
    ours, theirs = (vocoder.pair_metrics(sound[0].numpy(), m[0].numpy(), SPEC.rate) for m in (again, made))
    assert ours["spectral_convergence"] < 0.7 * theirs["spectral_convergence"]
    assert torch.equal(griffin_lim.match_mel(noise, told, SPEC, rounds=0), noise)


def test_channels_keep_their_balance_and_silence_stays_silent() -> None:
    sound = drum()
    stereo = torch.cat([1.5 * sound, 0.5 * sound], 1)
    made = griffin_lim.match_mel(stereo, mel.log_mel(stereo, SPEC), SPEC, rounds=4)
    torch.testing.assert_close(made[:, 0], 3 * made[:, 1], rtol=1e-3, atol=1e-4)
    silent = griffin_lim.match_mel(torch.zeros(1, 1, 4096), torch.full((1, 64, 32), float(np.log(mel.FLOOR))), SPEC)
    assert bool(silent.isfinite().all()) and float(silent.abs().max()) < 1e-4


def test_a_fade_is_short_and_ends_where_the_sound_does() -> None:
    length = torch.tensor([1000, 600])
    mask = (torch.arange(1000) < length[:, None, None]).float()
    faded = griffin_lim.fade_ends(torch.ones(2, 2, 1000) * mask, mask, 16_000)
    for clip, n in zip(faded, length.tolist(), strict=True):
        assert bool((clip[:, : n - 80] == 1).all()) and bool((clip[:, n:] == 0).all())
        falling = clip[:, n - 80 : n].diff(dim=-1)
        assert bool((falling < 0).all()) and 0 < float(clip[0, n - 1]) < 1e-3
