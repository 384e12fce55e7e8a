"""One file: exact samples, mixing, resampling against closed forms, what is refused and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from modalities.audio.data import decode
from tests.modalities.audio.corpus import (
    RATE,
    bad_sounds,
    encoded,
    good_sounds,
    noise,
    save,
    sine,
    wave,
    with_more_frames,
    write_all,
)
from toolkit.errors import DataError


@pytest.mark.parametrize(
    ("ending", "subtype", "step"),
    [
        ("wav", "PCM_16", 2**-15),
        ("flac", "PCM_16", 2**-15),
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_24", 2**-23),
        ("flac", "PCM_24", 2**-23),
        ("wav", "FLOAT", 2**-23),
        ("wav", "DOUBLE", 2**-23),
    ],
)
def test_samples_are_exact(ending: str, subtype: str, step: float, tmp_path: Path) -> None:
    grid = np.random.default_rng(1).integers(-1 / step, 1 / step, (3000, 2)) * step
    path = save(tmp_path / f"a.{ending}", grid, subtype=subtype)
    assert np.array_equal(decode.read(path, RATE, 2), grid.astype(np.float32))
    about = decode.about(path)
    assert about == (RATE, 2, 3000, f"{ending.upper()} {subtype}")


@pytest.mark.parametrize("name", ["vorbis.ogg", "opus.opus", "layer three.mp3"])
def test_lossy_formats_sound_like_what_was_saved(name: str, tmp_path: Path) -> None:
    write_all(tmp_path, good_sounds())
    got = decode.read(tmp_path / "kinds" / name, 16_000, 1)[:, 0]
    want = sine(440, 0.25, 16_000)
    assert abs(len(got) - len(want)) <= 1
    middle = slice(800, 3200)  # codecs ring at both ends
    assert np.corrcoef(got[middle], want[middle])[0, 1] > 0.999
    assert abs(np.abs(got[middle]).max() - 0.5) < 0.03


@pytest.mark.parametrize(
    ("kind", "subtype", "error", "surplus"),
    [
        ("WAV", "ULAW", 0.02, 0),
        ("WAV", "ALAW", 0.02, 0),
        ("WAV", "MS_ADPCM", 0.04, 0),
        ("WAV", "IMA_ADPCM", 0.04, 20),  # which its writer states so
        ("WAV", "GSM610", 0.2, 0),
        ("AIFF", "ULAW", 0.02, 0),
        ("AIFF", "IMA_ADPCM", 0.04, 64),
        ("AIFF", "FLOAT", 1e-6, 0),
        ("CAF", "ALAC_16", 2**-15, 0),
        ("CAF", "ALAW", 0.02, 0),
        ("CAF", "PCM_24", 2**-23, 0),
        ("AU", "ULAW", 0.02, 0),
        ("AU", "DOUBLE", 1e-6, 0),
        ("W64", "PCM_24", 2**-23, 0),
    ],
)
def test_old_codecs(kind: str, subtype: str, error: float, surplus: int, tmp_path: Path) -> None:
    """The filling of a codec's last block is cut off."""
    want = sine(440, 0.25)
    (tmp_path / "a.wav").write_bytes(encoded(want, RATE, kind, subtype))
    got = decode.read(tmp_path / "a.wav", RATE, 1)[:, 0]
    assert 0 <= len(got) - 2000 <= surplus
    late = 0
    if subtype == "GSM610":
        late = int(np.argmax([np.dot(got[200 + k : 1500 + k], want[200:1500]) for k in range(40)]))
    assert np.abs(got[300 + late : 1500 + late] - want[300:1500]).max() <= error


def test_channels_are_mixed_by_the_rule() -> None:
    block = np.arange(15, dtype=np.float32).reshape(3, 5)
    assert decode.mix(block, 1).tolist() == [[2.0], [7.0], [12.0]]
    assert decode.mix(block, 2).tolist() == [[2.0, 2.0], [7.0, 7.0], [12.0, 12.0]]
    six = np.array([[1, 10, 2, 20, 6, 60]], np.float32)
    assert decode.mix(six, 2).tolist() == [[3.0, 30.0]]
    assert decode.mix(six[:, :2], 2).tolist() == [[1.0, 10.0]]
    assert decode.mix(six[:, :1], 2).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("own", "rate", "frequency"),
    [
        (44_100, 16_000, 1000),
        (192_000, 8_000, 440),
        (8_000, 48_000, 3000),
        (22_050, 16_000, 6000),
        (11_025, 8_000, 99),
    ],
)
def test_a_resampled_sine_is_the_sine(own: int, rate: int, frequency: float, tmp_path: Path) -> None:
    """Sample by sample: same frequency, amplitude and place in time."""
    path = save(tmp_path / "a.wav", sine(frequency, 2, own, 0.8, 0.3), own, "FLOAT")
    got = decode.read(path, rate, 1)[:, 0]
    want = sine(frequency, 2, rate, 0.8, 0.3)
    assert len(got) == len(want)
    inner = slice(rate // 10, -rate // 10)
    assert np.abs(got[inner] - want[inner]).max() < 2e-4


def test_what_the_new_rate_cannot_hold_is_gone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", sine(5000, 1, 44_100), 44_100, "FLOAT")
    assert np.abs(decode.read(path, 8_000, 1)[800:-800]).max() < 1e-4  # else it would sound as 3,000 Hz


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(50_000, channels=3)
    path = save(tmp_path / "a.wav", samples, 44_100, "FLOAT")
    mixed = decode.mix(samples.astype(np.float32), 2)
    whole = {rate: soxr.resample(mixed, 44_100, rate, quality="HQ") for rate in (16_000, 96_000)}
    for size in (1_000, 30_001, 1 << 18):
        monkeypatch.setattr(decode, "_BLOCK", size)
        assert np.array_equal(decode.read(path, 44_100, 2), mixed)
        for rate, want in whole.items():
            assert np.abs(decode.read(path, rate, 2) - want).max() < 1e-6


@pytest.mark.parametrize("name", good_sounds())
def test_good_sounds(name: str, tmp_path: Path) -> None:
    """All of them are the same 440 Hz, whatever the format, rate and layout."""
    write_all(tmp_path, {name: good_sounds()[name]})
    got = decode.read(tmp_path / name, RATE, 1)[:, 0].astype(np.float64)
    assert abs(len(got) - RATE // 4) <= 1
    inner = got[400:1600]
    basis = np.stack([f(2 * np.pi * 440 * np.arange(1200) / RATE) for f in (np.sin, np.cos)], axis=1)
    fit = np.linalg.lstsq(basis, inner, rcond=None)[0]
    assert np.sqrt(np.mean((inner - basis @ fit) ** 2)) < 0.01 * np.hypot(*fit)


@pytest.mark.parametrize("name", sorted(set(bad_sounds()) - {"nothing.wav", "silent.wav", "one sample.wav"}))
def test_bad_sounds_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    content, reason = bad_sounds()[name]
    write_all(tmp_path, {name: content})
    with pytest.raises(DataError) as caught:
        decode.read(tmp_path / name, RATE, 1)
    assert str(caught.value).startswith(f"{tmp_path / name} cannot be read: {reason}")
    assert "\n" not in str(caught.value)


def test_missing_and_forbidden_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        decode.read(tmp_path / "gone.wav", RATE, 1)
    with pytest.raises(DataError, match=r"cannot be read: .*directory"):
        decode.read(tmp_path, RATE, 1)
    assert decode.reason(PermissionError("x")) == "permission denied"


def test_no_other_parser_is_ever_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the sniffer refuses never gets to libsndfile, though that would read it."""
    paths = []
    for kind, subtype in (("VOC", "PCM_16"), ("PAF", "PCM_16"), ("SVX", "PCM_16"), ("NIST", "PCM_16"),
                          ("IRCAM", "PCM_16"), ("MAT5", "PCM_16"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_32"),
                          ("AIFF", "DWVW_16"), ("AU", "G721_32")):  # fmt: skip
        content = encoded(noise(4000), RATE, kind, subtype)
        for number, disguise in enumerate((b"", b"ID3\x04\0\0\0\0\0\0", b"ID3\x04\0\0\0\0\0\x04abcd")):
            path = tmp_path / f"{kind}-{subtype}-{number}.wav"
            path.write_bytes(disguise + content)
            paths.append(path)
    assert soundfile.info(paths[0]).frames == 4000

    def never(*_: object, **__: object) -> None:
        raise AssertionError("reached")

    monkeypatch.setattr(soundfile, "SoundFile", never)
    for path in paths:
        with pytest.raises(decode.Unreadable):
            decode.about(path)


def test_length_in_the_header_is_a_hint(tmp_path: Path) -> None:
    samples = (noise(1000) * 2**15).astype(np.int16)
    for size in (0, 100, 2000, 2**31, 2**32 - 1):
        (tmp_path / "a.wav").write_bytes(wave(samples, size=size))
        about = decode.about(tmp_path / "a.wav")
        assert about.frames <= 2044, size
    flac = with_more_frames(encoded(noise(20_000), RATE, "FLAC", "PCM_16"), 2**36 - 1)
    (tmp_path / "a.flac").write_bytes(flac)
    assert soundfile.info(tmp_path / "a.flac").frames == 2**36 - 1
    assert decode.about(tmp_path / "a.flac").frames <= 64 * len(flac)


def test_reading_a_part(tmp_path: Path) -> None:
    samples = noise(400_000)
    path = save(tmp_path / "a.wav", samples, 16_000)
    assert np.array_equal(decode.read(path, 16_000, 1, max_seconds=0.5), samples[:8000].astype(np.float32))
    assert len(decode.read(path, 8_000, 1, max_seconds=2.0)) == 16_000
    assert len(decode.read(path, 16_000, 1, max_seconds=1000)) == 400_000
    assert len(decode.read(path, 16_000, 1)) == 400_000


def test_files_handed_over_as_objects_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path, good_sounds())
    names = ["channels/6.wav", "kinds/a.flac", "kinds/vorbis.ogg", "kinds/layer three.mp3", "streamed.wav"]
    by_number = [decode.read(tmp_path / name, 16_000, 2) for name in names]
    monkeypatch.setattr(decode, "_BY_NUMBER", False)
    for name, want in zip(names, by_number):
        assert np.array_equal(decode.read(tmp_path / name, 16_000, 2), want)


def test_an_endless_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_SECONDS", 3600)
    path = save(tmp_path / "a.flac", np.zeros(3601 * 1000), 1000)
    assert path.stat().st_size < 200_000
    with pytest.raises(decode.Unreadable, match="longer than 1 hours; cut it into parts"):
        list(decode.stream(path, None, 1))
