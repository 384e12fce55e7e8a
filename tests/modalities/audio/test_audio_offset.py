"""A constant offset and silence: measured before any gain, removed where it is real, left where it is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modalities.audio.data import decode, treatment
from modalities.audio.data.measure import Meter
from tests.modalities.audio.corpus import noise, opened, row, save

RATE = 16_000


def tone(frequency: float, seconds: float = 0.4, rate: int = RATE) -> np.ndarray:
    """A decaying sine between silences, as from a sample pack."""
    t = np.arange(int(seconds * rate)) / rate
    return 0.5 * np.exp(-6 * t) * np.sin(2 * np.pi * frequency * t)


def between(samples: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(4000), samples, np.zeros(8000)])


def offset(samples: np.ndarray, block: int | None = None) -> np.ndarray:
    """The offset of samples (frames, channels), measured in blocks."""
    meter = Meter(decode.About(RATE, samples.shape[1], len(samples), "WAV FLOAT"))
    for start in range(0, len(samples), block or len(samples)):
        meter.add(samples[start : start + (block or len(samples))].astype(np.float32))
    return meter.offset()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_with_an_offset_a_set_is_read_as_without(rate: int, tmp_path: Path) -> None:
    for k in range(8):
        samples = between(tone(200 + 40 * k, rate=rate))
        save(tmp_path / "dc" / f"{k}.wav", samples, rate)
        save(tmp_path / "off" / f"{k}.wav", samples + 0.05, rate)
    clean, _ = opened(tmp_path / "dc", tmp_path / "cache", rate=16_000)
    off, _ = opened(tmp_path / "off", tmp_path / "cache", rate=16_000)
    assert np.abs(off.clips[:, 1] - clean.clips[:, 1]).max() <= 1e-3 * 6400
    for (start, frames), (other, length) in zip(off.clips.tolist(), clean.clips.tolist(), strict=True):
        both = min(frames, length)
        a, b = off.audio[start : start + both] / 32768, clean.audio[other : other + both] / 32768
        assert np.abs(a - b).max() < 1e-3
    assert (
        row(off, "constant offset").value.startswith("8: 0.wav (+0.05)")
        and clean.understood.row("constant offset") is None
    )
    kept, _ = opened(tmp_path / "off", tmp_path / "cache", dc=False, rate=16_000)
    assert kept.clips[:, 1].min() > 1.5 * clean.clips[:, 1].max()  # nothing is silent beside it


def sounds_without() -> dict[str, np.ndarray]:
    t = np.arange(RATE // 2) / RATE
    decay = np.exp(-9 * t)
    hiss = np.random.default_rng(0).standard_normal(len(t))
    return {
        "a decaying hit": decay * np.sin(2 * np.pi * 55 * t),
        "a falling kick": decay * np.sin(2 * np.pi * (50 + 200 * np.exp(-30 * t)) * t),
        "a burst of noise": 0.2 * decay * hiss,
        "a narrow pulse wave": np.where((110 * t) % 1 < 0.1, 0.9, -0.1),
        "a wide pulse wave": np.where((97.3 * t) % 1 < 0.7, 0.3, -0.7),
        "a click": np.where(t < 0.01, 0.8, 0.0),
        "one side only": decay * np.maximum(0, np.sin(2 * np.pi * 100 * t)),
        "zeros": np.zeros(len(t)),
        "a slow wave": 0.5 * np.sin(2 * np.pi * 3 * t),
    }


@pytest.mark.parametrize("name", sounds_without())
def test_what_has_none_is_read_bit_for_bit(name: str, tmp_path: Path) -> None:
    samples = np.rint(sounds_without()[name] * 32767) / 32768
    assert offset(samples[:, None]).tolist() == [0.0] == offset(samples[:, None], 1000).tolist()
    if name != "zeros":
        save(tmp_path / "set" / "a.wav", samples, RATE)
        corpus, _ = opened(tmp_path / "set", tmp_path / "cache", loudness="none", trim=0, seconds=1)
        assert np.array_equal(corpus.audio[:, 0] / 32768, samples)


@pytest.mark.parametrize("block", [None, 3000])
def test_the_offset_of_each_channel(block: int | None) -> None:
    """By the median where the sound leans to one side, to 0.4 % in blocks."""
    hits = between(tone(333))
    got = offset(np.stack([hits + 0.05, hits, hits - 0.02, np.full(len(hits), 0.01)], axis=1), block)
    assert np.abs(got - [0.05, 0, -0.02, 0.01]).max() < 3e-4 and got[1] == 0
    assert offset(hits[:, None] + 4e-4, block) == 0  # below a thousandth of the peak
    assert offset(np.full((100, 1), 0.2), block) == 0  # too short to tell


def test_long_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.stack([0.3 * noise(40_000, 1)[:, 0] + 0.1, 0.3 * noise(40_000, 2)[:, 0]], axis=1)
    save(tmp_path / "set" / "a.wav", samples, 22_050, "FLOAT")
    held, _ = opened(tmp_path / "set", tmp_path / "a", channels=2, rate=16_000, loudness="none")
    monkeypatch.setattr(treatment, "HELD", 64)
    streamed, _ = opened(tmp_path / "set", tmp_path / "b", channels=2, rate=16_000, loudness="none")
    assert np.array_equal(held.audio, streamed.audio)
    assert np.abs((held.audio / 32768).mean(axis=0)).max() < 1e-3


def test_silence_is_judged_as_recorded(tmp_path: Path) -> None:
    root = tmp_path / "set"
    rng = np.random.default_rng(0)
    for k in range(6):
        save(root / f"tone{k}.wav", tone(200 + 40 * k), RATE)
    save(root / "dead_mic.wav", np.full(8000, 0.01), RATE)
    save(root / "zeros.wav", np.zeros(8000), RATE)
    save(root / "hiss.wav", 1e-4 * rng.standard_normal(8000), RATE, "PCM_24")
    save(root / "antiphase.wav", np.stack([tone(220), -tone(220)], axis=1), RATE)
    save(root / "quiet.wav", 0.01 * tone(300), RATE, "PCM_24")
    corpus, _ = opened(root, tmp_path / "cache")
    assert corpus.rejected == (
        "antiphase.wav: silence: its channels cancel each other when they are mixed to 1",
        "dead_mic.wav: silence beside a constant offset of +0.01",
        "hiss.wav: silence (its peak is -68 dB)",
        "zeros.wav: silence",
    )
    loudness = row(corpus, "loudness")
    assert loudness.value.endswith("raised by 40 to 46 dB, noise too: 1 of 7 files")
    assert loudness.warning and loudness.change == "--silence -40"
    assert "quiet.wav: silence (its peak is -46 dB)" in opened(root, tmp_path / "cache", silence=-40)[0].rejected
    every, _ = opened(root, tmp_path / "cache", silence=-150, channels=2)
    assert every.rejected == ("dead_mic.wav: silence beside a constant offset of +0.01", "zeros.wav: silence")
