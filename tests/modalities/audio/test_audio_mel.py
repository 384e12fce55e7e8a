"""The log-mel spectrogram of the vocoder: against librosa, and where closed forms say what it must be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from modalities.audio import mel
from tests.conftest import ROOT, run_python

DRUMS = ROOT / "assets" / "drums"


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_white_noise_has_power_one_in_every_band(rate: int) -> None:
    spec = mel.default(rate, 40)
    told = mel.normalise(mel.log_mel(noise(8, 1, 40_960), spec))
    power = mel.Power(spec, 128, 0.2)(told).exp().mean((0, 2))
    # the mean magnitude of a mel band, squared, is less than its mean power: pi / 4 for a band of one bin and more
    # and both ends of the scale lie half outside the filters
    assert bool((power < 1.3).all()) and bool((power[2:-20] > 0.6).all()), power


def test_default_spec_is_32_ms_with_a_hop_that_divides_256() -> None:
    assert mel.default(8_000, 64) == mel.MelSpec(8_000, 64, 256, 64)
    assert mel.default(16_000, 80) == mel.MelSpec(16_000, 80, 512, 128)
    assert mel.default(44_100, 128) == mel.MelSpec(44_100, 128, 1024, 256)
    for rate in (2_000, 11_025, 22_050, 24_000, 32_000, 48_000, 96_000, 192_000):
        spec = mel.default(rate, 64)
        assert spec.n_fft & (spec.n_fft - 1) == 0 and 256 % spec.hop == 0 and spec.hop <= spec.n_fft // 4
        assert 0.7 <= spec.n_fft / rate / 0.032 <= 1.42


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("mels", [20, 64])
def test_it_is_librosas_spectrogram(rate: int, mels: int) -> None:
    import librosa

    spec, raw = mel.default(rate, mels), noise(2, 1, 5_120)
    raw[1, :, 3_000:] = 0
    ours = mel.log_mel(raw, spec).numpy()
    theirs = librosa.feature.melspectrogram(
        y=raw[:, 0].double().numpy(), sr=rate, n_fft=spec.n_fft, hop_length=spec.hop, n_mels=mels, power=1.0
    )
    assert ours.shape == (2, mels, 5_120 // spec.hop)
    assert np.abs(ours - np.log(np.maximum(theirs, 1e-5))[..., :-1]).max() < 2e-4
    assert theirs[1].min() == 0 and ours.min() == np.float32(math.log(1e-5))


def test_frames_are_centred_and_bands_rise_with_frequency() -> None:
    spec = mel.default(16_000, 40)
    clicks = torch.zeros(8, 1, 2_048)
    for i in range(8):
        clicks[i, 0, (2 * i + 1) * spec.hop] = 1
    assert mel.log_mel(clicks, spec).exp().sum(1).argmax(1).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    t = torch.arange(16_384) / 16_000
    tones = torch.stack([torch.sin(2 * math.pi * hertz * t)[None] for hertz in (100, 300, 1_000, 3_000, 7_000)])
    bands = mel.log_mel(tones, spec)[..., 64].argmax(1).tolist()
    # Slaney: 15 mel at 1 kHz, then 27 more for each factor 6.4; band k is centred on (k + 1) / 41 of the top
    top = 15 + 27 * math.log(8) / math.log(6.4)
    heights = [1.5, 4.5, 15, 15 + 27 * math.log(3) / math.log(6.4), 15 + 27 * math.log(7) / math.log(6.4)]
    assert all(abs(band - (height / top * 41 - 1)) < 1 for band, height in zip(bands, heights, strict=True))


def test_gain_adds_its_logarithm_and_silence_is_the_floor() -> None:
    spec, raw = mel.default(8_000, 64), noise(3, 1, 1_024)
    assert torch.allclose(mel.log_mel(2 * raw, spec), mel.log_mel(raw, spec) + math.log(2), atol=1e-5)
    silent = mel.log_mel(torch.zeros(1, 2, 256), spec)
    assert silent.shape == (1, 64, 4) and torch.equal(silent, torch.full_like(silent, math.log(1e-5)))
    assert torch.allclose(mel.normalise(silent), torch.tensor((math.log(1e-5) + 7) / 3))
    assert mel.normalise(torch.tensor([-7.0, -4.0, 2.0])).tolist() == [0, 1, 3]


def test_stereo_is_averaged_and_precision_does_not_follow_autocast() -> None:
    spec, raw = mel.default(16_000, 64), noise(2, 2, 2_560).requires_grad_()
    plain = mel.log_mel(raw, spec)
    assert torch.equal(plain, mel.log_mel(raw.mean(1, keepdim=True), spec)) and not plain.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain, mel.log_mel(raw, spec))
    assert torch.equal(plain, mel.log_mel(raw.double(), spec)) and plain.dtype == torch.float32


def test_normalised_drums_have_about_mean_0_and_variance_1() -> None:
    spec = mel.default(16_000, 64)
    values = []
    for path in sorted(DRUMS.rglob("*.flac"))[::3]:
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        raw = torch.zeros(1, 1, -(-len(samples) // 256) * 256)
        raw[0, 0, : len(samples)] = torch.from_numpy(samples) / np.abs(samples).max() * 0.95
        values.append(mel.normalise(mel.log_mel(raw, spec)).flatten())
    whole = torch.cat(values)
    assert abs(whole.mean()) < 0.3 and abs(whole.std() - 1) < 0.15


def test_many_bands_at_a_low_rate_make_no_noise(recwarn: pytest.WarningsRecorder) -> None:
    made = mel.log_mel(noise(1, 1, 256), mel.default(2_000, 256))
    assert made.shape == (1, 256, 16) and (made[0].amax(1) == math.log(1e-5)).any() and not recwarn.list


@pytest.mark.parametrize("shape", [(1, 1, 0), (1, 1, 1_000), (1, 1_024)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiple of 128"):
        mel.log_mel(torch.zeros(shape), mel.default(16_000, 64))


def test_importing_loads_no_heavy_library(tmp_path: Path) -> None:
    names = ", ".join(
        f"modalities.audio.{name}" for name in ("mel", "view.files", "view.picture", "view.page", "evaluate.vocoder")
    )
    heavy = ("librosa", "matplotlib", "torchaudio", "scipy")
    code = f"import sys, {names}; print([name for name in {heavy} if name in sys.modules])"
    done = run_python("-c", code, cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
