"""The cache: exact samples, levels and ends by closed forms, clips that cover files, whole or not there."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from modalities.audio.data import cache, loudness, reader, treatment
from tests.modalities.audio.corpus import RATE, everything, in_blocks, noise, opened, row, save, sine
from toolkit.data import locate
from toolkit.errors import StorageError

AS_IT_IS = {"loudness": "none", "trim": 0.0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(24):
        save(tmp_path / "set" / f"{i}.wav", noise(500 + i, seed=i))
    (tmp_path / "set" / "bad.wav").write_bytes(b"bad")
    return tmp_path / "set"


def test_pcm_comes_back_exactly(root: Path, tmp_path: Path) -> None:
    corpus, said = opened(root, tmp_path / "cache", **AS_IT_IS)
    assert (corpus.rate, corpus.files, len(corpus.clips), corpus.audio.dtype) == (RATE, 24, 24, np.int16)
    assert said == [] and row(corpus, "left out").value == "1: bad.wav: text, not a sound"
    got = {}
    for test in (False, True):
        batch = everything(corpus, test)
        for clip, length in zip(batch.raw, batch.cond["length"].tolist()):
            assert not clip[:, length:].any()
            got[length] = clip[0, :length].numpy()
    assert sorted(got) == list(range(500, 524))
    assert all(np.array_equal(got[500 + i], noise(500 + i, seed=i)[:, 0].astype(np.float32)) for i in range(24))


def test_the_second_start_decodes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, said = opened(root, tmp_path / "cache")

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(reader.Workers, "__enter__", refuse)
    second, said_again = opened(root, tmp_path / "cache", gain=3, polarity=False, shift=0.1, speed=0.1)
    assert said_again == said and second.std == first.std and second.names == first.names
    assert (second.understood, second.identity) == (first.understood, first.identity)
    assert np.array_equal(second.audio, first.audio) and np.array_equal(second.clips, first.clips)
    assert isinstance(second.audio, np.memmap) and not second.audio.flags.writeable


def test_a_change_makes_it_anew(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    opened(root, store)
    changes = {"rate": 4000, "channels": 2, "trim": 9, "loudness": "rms", "level": -3, "emphasis": 0.5, "silence": -50}
    for option, value in changes.items():
        opened(root, store, **{option: value})
    assert len(os.listdir(store / "audio")) == 8
    save(root / "3.wav", sine(100, 0.08))
    corpus, _ = opened(root, store, **AS_IT_IS)
    assert len(os.listdir(store / "audio")) == 9 and 640 in corpus.clips[:, 1]


@pytest.mark.parametrize("damage", ["audio.npy", "clips.npy", "labels.npy", "test.npy", "about.json"])
def test_a_damaged_cache_is_made_anew(damage: str, root: Path, tmp_path: Path) -> None:
    corpus, _ = opened(root, tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob(damage)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert opened(root, tmp_path / "cache")[0].std == corpus.std
    assert path.read_bytes() == content


def test_clips_outside_the_samples_are_not_trusted(root: Path, tmp_path: Path) -> None:
    corpus, _ = opened(root, tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("clips.npy")
    for bad in (np.array([-1, 10]), np.array([len(corpus.audio) - 5, 10])):
        clips = corpus.clips.copy()
        clips[3] = bad
        np.save(path, clips, allow_pickle=False)
        assert cache.load(path.parent) is None


@pytest.mark.parametrize("long", [False, True])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    long: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if long:
        monkeypatch.setattr(treatment, "HELD", 100)  # then the scratch files are what does not fit
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000 if long else 20_000, before[1]))  # writing raises
    try:
        with pytest.raises(StorageError, match=r"cannot keep decoded sounds .* set TOOLKIT_CACHE"):
            opened(root, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / "cache" / "audio") == []


def test_long_files_through_scratch_are_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = np.concatenate([np.zeros((300, 2)), noise(600, seed=99, channels=2), np.zeros((400, 2))])
    save(root / "late.wav", late)
    held, _ = opened(root, tmp_path / "a", loudness="rms", channels=2, rate=11_025)
    monkeypatch.setattr(treatment, "HELD", 64)
    monkeypatch.setattr(locate, "PACE_SECONDS", 0.0)
    streamed, said = opened(root, tmp_path / "b", loudness="rms", channels=2, rate=11_025)
    assert np.array_equal(held.audio, streamed.audio) and np.array_equal(held.clips, streamed.clips)
    assert held.std == streamed.std
    assert said[:25] == [f"read {i} of 26 sounds" for i in range(1, 26)]
    assert {path.name for path in (tmp_path / "b").rglob("*.*")} == {
        "audio.npy", "clips.npy", "labels.npy", "test.npy", "files.json", "about.json", "hashes.json"}  # fmt: skip


def decoded(path: Path, tmp_path: Path, **options: object) -> np.ndarray:
    """(frames, C) float64 as the cache keeps the only file of a folder."""
    corpus, _ = opened(path.parent, tmp_path / "cache", seconds=2, **options)
    return corpus.audio / 32768


def test_levels(tmp_path: Path) -> None:
    path = save(tmp_path / "set" / "a.wav", sine(1000, 0.5, amplitude=0.1), subtype="FLOAT")
    half = 0.5 / 32768
    for level in (-0.45, -6.0, -40.0):
        got = decoded(path, tmp_path, level=level)
        assert abs(np.abs(got).max() - 10 ** (level / 20)) <= half
        got = decoded(path, tmp_path, loudness="rms", level=min(level, -6.0))
        assert abs(np.sqrt(np.mean(got**2)) / 10 ** (min(level, -6.0) / 20) - 1) < 1e-3
    assert abs(np.abs(decoded(path, tmp_path)).max() - 10 ** (-0.45 / 20)) <= half
    assert abs(np.sqrt(np.mean(decoded(path, tmp_path, loudness="rms") ** 2)) - 0.1) < 1e-4
    assert abs(np.abs(decoded(path, tmp_path, loudness="none")).max() - 0.1) <= half
    # a sine of rms 0 dB would have a peak of 3 dB: it is turned down to full scale, and not clipped
    loud = decoded(path, tmp_path, loudness="rms", level=0.0)
    assert np.abs(loud).max() <= 1 and abs(np.sqrt(np.mean(loud**2)) - math.sqrt(0.5)) < 1e-3


def test_what_passes_full_scale_is_turned_down(tmp_path: Path) -> None:
    wave = sine(100, 0.3, amplitude=5.0)
    path = save(tmp_path / "set" / "a.wav", wave, subtype="FLOAT")
    got = decoded(path, tmp_path, **AS_IT_IS)[:, 0]
    assert np.abs(got - wave / np.abs(wave).max()).max() <= 1.01 / 32768


def test_lufs_of_the_broadcast_standard() -> None:
    """EBU Tech 3341, cases 1 to 4 at a quarter of their length: 1 kHz stereo sines; BS.1770: 0 dB is -3.01 LUFS."""
    rate = 48_000

    def tone(*parts: tuple[float, float]) -> loudness.Blocks:
        wave = np.concatenate([sine(1000, seconds, rate, 10 ** (level / 20)) for level, seconds in parts])
        return in_blocks(np.stack([wave, wave], axis=1).astype(np.float32), 50_001)  # type: ignore[return-value]

    assert abs(loudness.lufs(tone((-23, 5)), rate) + 23) < 0.1
    assert abs(loudness.lufs(tone((-33, 5)), rate) + 33) < 0.1
    assert abs(loudness.lufs(tone((-36, 2.5), (-23, 15), (-36, 2.5)), rate) + 23) < 0.1
    assert abs(loudness.lufs(tone((-72, 2.5), (-36, 2.5), (-23, 15), (-36, 2.5), (-72, 2.5)), rate) + 23) < 0.1
    one = in_blocks(sine(997, 5, rate, 1.0)[:, None], 9999)
    assert abs(loudness.lufs(one, rate) + 3.01) < 0.01  # type: ignore[arg-type]
    assert loudness.lufs(in_blocks(np.zeros((9000, 1)), 500), rate) == -math.inf  # type: ignore[arg-type]


def test_the_filters_of_the_standard_at_its_rate() -> None:
    """ITU-R BS.1770-4, tables 1 and 2."""
    shelf, high_pass = loudness.k_weighting(48_000)
    assert np.allclose(shelf[:3], [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-12)
    assert np.allclose(shelf[3:], [1.0, -1.69065929318241, 0.73248077421585], atol=1e-12)
    assert np.allclose(high_pass, [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621], atol=1e-12)


def test_lufs_of_files(tmp_path: Path) -> None:
    path = save(tmp_path / "set" / "a.wav", sine(997, 1.5, 16_000, 0.02), 16_000)
    got = decoded(path, tmp_path, loudness="lufs", channels=1)
    # -23 LUFS for a sine near 1 kHz is an rms of 0.691 dB less the filters' 0.67 dB there
    assert abs(20 * math.log10(np.sqrt(np.mean(got**2))) + 23) < 0.1
    short = in_blocks(sine(997, 0.1, 16_000, 1.0)[:, None], 333)
    assert abs(loudness.lufs(short, 16_000) + 3.01 + 6.02) < 0.2  # type: ignore[arg-type]  # a quarter of 0.4 s


def test_silence_at_the_ends_is_cut(tmp_path: Path) -> None:
    wave = np.zeros(8000)
    wave[3000:5000] = 0.5
    wave[[100, 7000]] = 0.5 * 10 ** (-41 / 20)
    path = save(tmp_path / "set" / "a.wav", wave, subtype="FLOAT")
    before, after = 0.005 * RATE, 0.020 * RATE
    got = decoded(path, tmp_path, trim=40, loudness="none")
    assert len(got) == before + 2000 + after
    assert np.flatnonzero(got)[0] == before and np.flatnonzero(got)[-1] == before + 1999
    assert len(decoded(path, tmp_path, trim=42)) == before + (7000 - 100 + 1) + after
    assert len(decoded(path, tmp_path, trim=0)) == 8000


def test_nothing_is_added_at_the_ends(tmp_path: Path) -> None:
    path = save(tmp_path / "set" / "a.wav", noise(1000))
    assert len(decoded(path, tmp_path)) == 1000


def test_silent_parts_are_left_out(tmp_path: Path) -> None:
    wave = np.zeros(20_480)
    wave[:600] = wave[-600:] = sine(300, 600 / RATE)
    wave[5000] = 10 ** (-59 / 20)
    wave[9000] = 10 ** (-61 / 20)
    save(tmp_path / "set" / "a.wav", wave, subtype="FLOAT")
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache", seconds=0.128, level=-20.0, trim=0)
    assert corpus.length == 1024
    assert corpus.clips[:, 0].tolist() == [0, 512, 4096, 4608, 18944, 19456]
    assert row(corpus, "silent clips").value.startswith("33 of 39 clips of long sounds are silent and left out")
    every, _ = opened(tmp_path / "set", tmp_path / "cache", seconds=0.128, trim=0, silence=-62)
    assert [start for start in every.clips[:, 0].tolist() if start not in corpus.clips[:, 0]] == [8192, 8704]
    quiet = save(tmp_path / "set" / "b.wav", sine(300, 0.1, amplitude=0.0009), subtype="FLOAT")
    save(tmp_path / "set" / "c.wav", sine(300, 0.1, amplitude=0.00009), subtype="FLOAT")
    rejected = opened(quiet.parent, tmp_path / "cache", loudness="none")[0].rejected
    assert rejected == ("b.wav: silence (its peak is -61 dB)", "c.wav: silence (its peak is -81 dB)")


def test_the_deviation_is_that_of_the_training_samples(tmp_path: Path) -> None:
    for i in range(40):
        save(tmp_path / "set" / f"{i}.wav", noise(700 + 10 * i, seed=i))
    for emphasis in (0.0, 0.9):
        corpus, _ = opened(tmp_path / "set", tmp_path / "cache", emphasis=emphasis, seconds=0.1, **AS_IT_IS)
        assert corpus.test.any()
        values = []
        batch = everything(corpus)
        for clip, length in zip(batch.raw.double(), batch.cond["length"].tolist()):
            x = clip[0, :length].numpy()
            values.append(x - emphasis * np.concatenate([[0.0], x[:-1]]))
        assert abs(corpus.std - np.sqrt(np.mean(np.concatenate(values) ** 2))) < 1e-12


def test_emphasis_flattens_by_its_closed_form() -> None:
    """For white noise x of power p, y = x - a x' has power p (1 + a^2)."""
    audio = np.random.default_rng(0).integers(-8192, 8192, (400_000, 1)).astype(np.int16)
    clips = np.array([[0, 200_000], [200_000, 200_000]])
    plain = cache.power(audio, clips, 0.0)
    assert abs(plain / (np.mean((audio / 32768) ** 2)) - 1) < 1e-12
    assert abs(cache.power(audio, clips, 0.97) / (plain * (1 + 0.97**2)) - 1) < 0.01


def test_the_length_of_an_example() -> None:
    frames = np.array([100] * 95 + [9000] * 5)
    assert cache.example_length(frames, None, 8000) == 256
    assert cache.example_length(np.arange(1, 101) * 40, None, 8000) == 3840
    assert cache.example_length(frames * 100, None, 8000) == 8192  # 1 s at most
    assert cache.example_length(frames, 1.0, 8000) == 8192
    assert cache.example_length(frames, 1.0, 16_000) == 16_128
    assert cache.example_length(frames, 0.256, 8000) == 2048
    assert cache.example_length(frames, 0.0001, 8000) == 256


def test_limits(tmp_path: Path) -> None:
    for i in range(60):
        save(tmp_path / "set" / f"{i}.wav", noise(3000, seed=i))
    asked = {"seconds": 0.1, "limit": 7, **AS_IT_IS}
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache", **asked)
    assert (~corpus.test).sum() == 7 and 1 <= corpus.test.sum() <= 7
    every, _ = opened(tmp_path / "set", tmp_path / "cache", seconds=0.1, **AS_IT_IS)
    assert len(every.clips) == 60 * 5
    assert len({int(start) // 3000 for start in corpus.clips[~corpus.test][:, 0]}) > 2  # not all of one file
