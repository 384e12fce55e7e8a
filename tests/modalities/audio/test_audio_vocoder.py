"""Figures of a pair of sounds, by closed forms; the classical vocoder, by what its sound looks like."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
import torch

from modalities.audio import mel
from modalities.audio.evaluate import vocoder
from tests.conftest import ROOT
from toolkit.errors import UsageError

RATE = 8_000


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).standard_normal(shape)


def recording(name: str) -> np.ndarray:
    samples, rate = soundfile.read(ROOT / "assets" / "drums" / name, dtype="float32")
    assert rate == 16_000
    return samples / np.abs(samples).max()


@pytest.mark.parametrize("shape", [(8_000,), (1, 5_000), (2, 4_000), (100,), (1,)])
def test_a_sound_is_at_no_distance_from_itself(shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    assert vocoder.pair_metrics(x, x.copy(), RATE, RATE) == {
        "log_spectral_distance_db": 0,
        "mel_cepstral_distortion_db": 0,
        "spectral_convergence": 0,
        "log_magnitude": 0,
        "si_sdr_db": math.inf,
    }


@pytest.mark.parametrize("gain", [0.5, 0.9, 3.0])
def test_a_gain_has_a_closed_form_in_every_figure(gain: float) -> None:
    x = 5 * noise(2, 8_000)  # far above the floor
    found = vocoder.pair_metrics(x, gain * x, RATE)
    assert math.isclose(found["log_spectral_distance_db"], abs(20 * math.log10(gain)), rel_tol=1e-6)
    assert math.isclose(found["log_magnitude"], abs(math.log(gain)), rel_tol=1e-6)
    assert math.isclose(found["spectral_convergence"], abs(1 - gain), rel_tol=1e-6)
    assert found["mel_cepstral_distortion_db"] < 1e-6 and found["si_sdr_db"] > 100
    assert (
        vocoder.multi_resolution_stft(x, gain * x, RATE).total == found["spectral_convergence"] + found["log_magnitude"]
    )


def test_si_sdr_is_the_snr_for_orthogonal_noise_whatever_the_gain() -> None:
    t = np.arange(8_000)
    x, distortion = np.sin(2 * math.pi * 40 * t / 8_000), 0.1 * np.cos(2 * math.pi * 70 * t / 8_000)
    for gain in (1.0, 0.01, -7.0):
        assert math.isclose(vocoder.si_sdr(x, gain * (x + distortion)), 20, abs_tol=1e-6)
    # noise along the signal is no distortion
    assert math.isclose(vocoder.si_sdr(x, 1.5 * x + distortion), 20 * math.log10(15), abs_tol=1e-6)
    assert vocoder.si_sdr(x, np.zeros_like(x)) == -math.inf
    with pytest.raises(UsageError, match="not silent"):
        vocoder.si_sdr(np.zeros(100), noise(100))


def test_log_spectral_distance_of_two_tones_by_hand() -> None:
    # tones on bins 32 and 64 of a 256-sample window: three bins each, 0 dB with -6.02 dB beside, all else at the floor
    t = np.arange(256 * 40)
    x, y = np.sin(2 * math.pi * t * 32 / 256), np.sin(2 * math.pi * t * 64 / 256)
    bins = 2 * (100**2 + 2 * (100 - 20 * math.log10(2)) ** 2)
    assert math.isclose(vocoder.log_spectral_distance(x, y, RATE), math.sqrt(bins / 129), rel_tol=0.02)
    # below the floor of -100 dB there is nothing to hear, and no distance
    assert vocoder.log_spectral_distance(1e-7 * noise(4_000), np.zeros(4_000), RATE) == 0


def test_cepstra_are_the_coefficients_of_cosines() -> None:
    rng = np.random.default_rng(1)
    c0, coefficients = rng.standard_normal(5), rng.standard_normal((13, 5))
    k = (np.arange(40) + 0.5) / 40
    log_mels = c0 + sum(np.outer(np.cos(math.pi * d * k), coefficients[d - 1]) for d in range(1, 14))
    assert np.allclose(vocoder.cepstra(log_mels), coefficients, atol=1e-12)


def test_cepstral_distortion_of_two_frames_by_hand() -> None:
    one, other = np.zeros((13, 2)), np.zeros((13, 2))
    one[0, 0], other[4, 0] = 3, 4  # |(3, 4)| = 5 in the first frame
    one[:, 1], other[12, 1] = 1, 1
    one[12, 1] = 2  # |1, .., 1| over 13 = sqrt 13 in the second
    expected = 10 * math.sqrt(2) / math.log(10) * (5 + math.sqrt(13)) / 2
    assert math.isclose(vocoder.cepstral_distortion(one, other), expected, rel_tol=1e-12)


def test_mel_cepstral_distortion_is_the_rms_difference_in_db() -> None:
    # one cepstral coefficient a is a cosine over the bands, whose root mean square is a / sqrt 2
    k = (np.arange(40) + 0.5) / 40
    flat, tilted = np.zeros((40, 3)), np.repeat(0.7 * np.cos(2 * math.pi * k)[:, None], 3, 1)
    distortion = vocoder.cepstral_distortion(vocoder.cepstra(flat), vocoder.cepstra(tilted))
    assert math.isclose(distortion, 20 / math.log(10) * np.sqrt((tilted**2).mean()), rel_tol=1e-12)


def test_windows_of_the_multi_resolution_distance_follow_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    stft = vocoder._stft
    monkeypatch.setattr(vocoder, "_stft", lambda sound, n_fft: (used.append(n_fft), stft(sound, n_fft))[1])
    for rate in (8_000, 16_000, 22_050, 44_100):
        vocoder.multi_resolution_stft(noise(500), noise(500), rate)
    assert used[::2] == [256, 512, 1024, 512, 1024, 2048, 512, 1024, 2048, 1024, 2048, 4096]


def test_more_noise_is_further_away_by_every_figure() -> None:
    x = recording("snare/" + sorted(p.name for p in (ROOT / "assets/drums/snare").iterdir())[0])
    far = [vocoder.pair_metrics(x, x + level * noise(len(x)), 16_000) for level in (0.01, 0.1, 1.0)]
    for name in far[0]:
        values = [figures[name] * (-1 if name == "si_sdr_db" else 1) for figures in far]
        assert values == sorted(values) and values[0] < values[2]


@pytest.mark.parametrize("name", ["kick/bd_808.flac", "cymbal/drum_cymbal_closed.flac"])
def test_griffin_lim_inverts_our_spectrogram(name: str) -> None:
    samples = torch.from_numpy(recording(name))[:7_680]
    raw = torch.nn.functional.pad(samples, (0, -len(samples) % 256))[None, None]
    spec = mel.default(16_000, 64)
    wanted = mel.log_mel(raw, spec)
    made = vocoder.griffin_lim(wanted, spec)
    assert made.shape == raw[:, 0].shape and made.dtype == torch.float32
    assert torch.equal(made, vocoder.griffin_lim(wanted, spec)) and not torch.equal(
        made, vocoder.griffin_lim(wanted, spec, seed=1)
    )
    # nearer to the spectrogram than a whole factor, which a single iteration is not
    error = (mel.log_mel(made[:, None], spec) - wanted).abs().mean()
    one = (mel.log_mel(vocoder.griffin_lim(wanted, spec, iterations=1)[:, None], spec) - wanted).abs().mean()
    assert error < 0.25 and error < 0.8 * one
    found = vocoder.multi_resolution_stft(raw[0], made, 16_000)
    shuffled = vocoder.multi_resolution_stft(raw[0], made.flip(1), 16_000)
    assert found.spectral_convergence < 0.6 < shuffled.spectral_convergence


def test_griffin_lim_of_a_batch_is_that_of_each() -> None:
    spec = mel.default(RATE, 40)
    wanted = mel.log_mel(torch.from_numpy(noise(2, 1, 1_024)).float(), spec)
    both = vocoder.griffin_lim(wanted, spec, iterations=4)
    assert both.shape == (2, 1_024) and torch.allclose(both[1:], vocoder.griffin_lim(wanted[1:], spec, 4), atol=1e-3)


def test_sounds_that_do_not_pair_are_refused() -> None:
    x = noise(1, 100)
    with pytest.raises(UsageError, match="8000 and 16000 samples a second"):
        vocoder.pair_metrics(x, x, 8_000, 16_000)
    with pytest.raises(UsageError, match=r"shape \(1, 100\) and \(1, 99\)"):
        vocoder.log_spectral_distance(x, x[:, :99], RATE)
    with pytest.raises(UsageError, match="at least one sample"):
        vocoder.multi_resolution_stft(x[:, :0], x[:, :0], RATE)
    with pytest.raises(UsageError, match="not finite"):
        vocoder.mel_cepstral_distortion(x, np.full_like(x, np.nan), RATE)
