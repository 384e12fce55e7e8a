"""What is said of a folder: each figure against files whose figures are known."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modalities.audio.data import decode
from modalities.audio.inspect.file import Measured, copies, measure
from modalities.audio.inspect.folder import inspect, patterns, survey
from tests.modalities.audio.corpus import RATE, encoded, noise, save, sine
from toolkit.data import locate
from toolkit.data.listing import Entry
from toolkit.errors import DataError


def one(path: Path) -> Measured:
    found = measure(Entry(path.name, path, path.stat().st_size))
    assert isinstance(found, Measured)
    return found


def test_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.concatenate([np.zeros(800), sine(500, 0.5, amplitude=0.5), np.zeros(1600)])
    path = save(tmp_path / "a.wav", np.stack([left, 0.5 * left], axis=1), subtype="FLOAT")
    for block in (100_000, 700):
        monkeypatch.setattr(decode, "_BLOCK", block)
        got = one(path)
        assert (got.frames, got.seconds, got.about.format) == (6400, 0.8, "WAV FLOAT")
        assert (got.before, got.after) == (0.1, 0.2)
        assert abs(got.peak - 0.5) < 1e-6 and abs(got.dc) < 1e-4
        assert abs(got.power - (0.125 + 0.125 / 4) / 2 * 4000 / 6400) < 1e-6
        assert got.differs and not got.clipped and not got.silent
    same = one(save(tmp_path / "b.wav", np.stack([left, left + 0.0005], axis=1), subtype="FLOAT"))
    assert not same.differs
    assert not one(save(tmp_path / "c.wav", left)).differs


def test_clipping_is_a_run_at_full_scale(tmp_path: Path) -> None:
    loud = np.clip(sine(100, 0.2, amplitude=1.5), -1, 1)
    assert one(save(tmp_path / "a.wav", loud)).clipped
    assert not one(save(tmp_path / "b.wav", sine(2000, 0.2, amplitude=1.0))).clipped  # touches it, one at a time
    wave = np.zeros((2000, 2))
    wave[5:7] = -1
    wave[7, 1] = wave[9, 0] = 1
    assert one(save(tmp_path / "c.wav", wave)).clipped  # three in a row on the right
    wave[7, 1] = 0
    assert not one(save(tmp_path / "d.wav", wave)).clipped
    assert not one(save(tmp_path / "e.wav", np.ones(2) * 0.9)).clipped


def test_silence_and_dc(tmp_path: Path) -> None:
    silent = one(save(tmp_path / "a.wav", np.zeros(4000)))
    assert silent.silent and silent.peak == 0 and (silent.before, silent.after) == (0.5, 0.0)
    assert one(save(tmp_path / "b.wav", np.full(4000, 0.5 * 1e-4), subtype="FLOAT")).silent
    below = one(save(tmp_path / "d.wav", -np.abs(sine(500, 0.5)), subtype="FLOAT"))
    assert abs(below.peak - 0.5) < 1e-6 and abs(below.dc + 0.5 * 2 / math.pi) < 0.01
    off = one(save(tmp_path / "c.wav", np.stack([sine(500, 0.5), sine(500, 0.5) - 0.25], axis=1)))
    assert abs(off.dc + 0.25) < 1e-4


def test_copies_are_the_same_samples_in_any_format(tmp_path: Path) -> None:
    samples = noise(3000)
    names = [save(tmp_path / name, samples) for name in ("a.wav", "b.flac")]
    names.append(save(tmp_path / "c.wav", samples, subtype="FLOAT"))
    other = samples.copy()
    other[1000] += 2**-15
    names += [save(tmp_path / "d.wav", other), save(tmp_path / "e.wav", samples, 16_000)]
    assert copies([one(path) for path in names]) == [["a.wav", "b.flac", "c.wav"]]


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (
            [f"{digit}_{who}_{take}" for digit in range(10) for who in ("al", "bo") for take in range(20)],
            [("{label}_{}_{}", 10), ("{}_{label}_{}", 2)],
        ),
        ([f"{kind}-{i}" for kind in ("kick", "snare") for i in range(10)], [("{label}-{}", 2)]),
        ([f"{kind}-{i}" for kind in ("kick", "snare") for i in range(2)], []),  # too few of each
        ([f"take_{i}" for i in range(50)], []),
        ([f"a_{i}" for i in range(50)] + ["b"], []),
        (["a"] * 20, []),
        ([], []),
    ],
)
def test_labels_in_names(stems: list[str], expected: list[tuple[str, int]]) -> None:
    assert patterns(stems) == expected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "my sounds"
    for i in range(12):
        level = 0.5 if i % 2 else 0.05
        save(root / ("kick" if i < 8 else "snare") / f"{i}.wav", sine(200 + i, 0.2 + 0.01 * i, amplitude=level))
    save(root / "snare" / "copy.flac", soundfile.read(root / "kick" / "0.wav")[0])
    save(root / "snare" / "wide.wav", np.stack([sine(300, 0.3), sine(310, 0.3)], axis=1), 44_100)
    save(root / "kick" / "off.wav", sine(200, 0.2) + 0.25)
    save(root / "kick" / "loud.wav", np.clip(sine(200, 0.2, amplitude=3), -1, 1))
    save(root / "kick" / "silent.wav", np.zeros(1000))
    (root / "kick" / "bad.wav").write_bytes(b"hello")
    return root


def test_the_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "PACE_SECONDS", 0.0)
    said: list[str] = []
    got = dict(inspect(root, said.append).rows)
    assert said[-1] == "measured 18 of 18 sounds" and len(said) == 18
    seconds = sum(0.2 + 0.01 * i for i in range(12)) + 0.2 * 3 + 2400 / 44_100 + 0.125
    assert got["sounds"] == f"17 ({seconds:.1f} s)"
    assert got["formats"] == "WAV PCM_16 (16), FLAC PCM_16 (1)"
    assert got["rates"] == "8,000 Hz (16), 44,100 Hz (1)"
    assert got["channels"] == "mono (16), stereo (1); 1 of 1 differ between them"
    assert got["durations"].startswith("0.05 to 0.31 s, half below 0.2")
    quiet, loud = 10 * math.log10(0.05**2 / 2), 20 * math.log10(0.93)
    assert got["loudness"].startswith(f"{quiet:.0f} to {loud:.0f} dB (mean power), median ")
    assert got["labels"] == "kick 11, snare 6"
    assert got["silent"] == "1: kick/silent.wav"
    assert got["clipped"] == "1: kick/loud.wav"
    assert got["off centre (DC)"] == "1: kick/off.wav (+0.25)"
    assert got["copies"] == "1: kick/0.wav = snare/copy.flac"
    assert got["unreadable"] == "1: kick/bad.wav: text, not a sound"
    assert (got["proposed rate"], got["proposed labels"], got["proposed loudness"]) == ("8,000 Hz", "folders", "peak")
    assert got["proposed preset"] == "tiny" and got["proposed seconds"].startswith("0.3")
    words = shlex.split(got["to train"])
    assert words[:8] == ["toolkit", "train", "--modality", "audio", "--data", str(root), "--rate", "8000"]
    assert words[8] == "--seconds" and words[10:] == ["--preset", "tiny"]


def test_proposals(root: Path, tmp_path: Path) -> None:
    for i in range(150):
        stereo = np.stack([sine(200 + i, 1.6), sine(300, 1.6)], axis=1)
        save(tmp_path / "music" / f"song_{'ab'[i % 2]}_{i}.wav", stereo)
    got = survey(tmp_path / "music", lambda _: None)
    assert (got.channels, got.preset, got.loudness, got.seconds, got.rate) == (2, "small", "none", 1.0, 8000)
    assert got.labels == "{}_{label}_{}" and got.patterns == (("{}_{label}_{}", 2),)
    assert got.changes() == {
        "data.rate": 8000,
        "data.seconds": 1.0,
        "model.preset": "small",
        "data.channels": 2,
        "data.labels": "{}_{label}_{}",
        "data.loudness": "none",
    }
    options = ["--channels", "2", "--labels", "{}_{label}_{}", "--loudness", "none"]
    assert shlex.split(got.command)[6:] == ["--rate", "8000", "--seconds", "1", "--preset", "small", *options]
    table = dict(got.rows())
    assert table["proposed seconds"] == "1; 150 longer files become several clips"
    assert table["sounds"] == "150 (4 min)" and table["labels"] == "none by folders"
    assert table["proposed labels"] == "{}_{label}_{} (2 labels)"
    assert not {"silent", "clipped", "copies", "unreadable", "note"} & set(table)
    assert shlex.split(replace(got, path=Path("drums")).command)[5] == "./drums"  # and not the data set of that name


def test_nothing_to_inspect(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*gone"):
        inspect(tmp_path / "gone", print)
    with pytest.raises(DataError, match=r"no sound in .*: it is empty"):
        inspect(tmp_path, print)
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no readable sound in .*: 1 tried, e\.g\. a\.wav: text, not a sound"):
        inspect(tmp_path, print)
    (tmp_path / "a.wav").write_bytes(encoded(np.zeros(500), RATE, "WAV", "PCM_16"))
    table = dict(inspect(tmp_path, print).rows)
    assert table["silent"] == "1: a.wav" and table["loudness"].startswith("-120 to -120 dB")
