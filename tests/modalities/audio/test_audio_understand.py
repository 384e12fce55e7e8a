"""The account of a folder: each figure against files whose figures are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modalities.audio.data import decode
from modalities.audio.data.cache import Corpus
from modalities.audio.data.measure import Measured, Meter
from modalities.audio.modality import Audio
from modalities.audio.options import Data, Model
from tests.modalities.audio.corpus import noise, opened, row, save, sine
from toolkit.data import locate
from toolkit.data.understood import table


def one(path: Path, block: int | None = None) -> Measured:
    header, parts = decode.begin(path)
    meter = Meter(header)
    for part in parts:
        for start in range(0, len(part), block or len(part)):
            meter.add(part[start : start + (block or len(part))])
    return meter.result(path.name, [])


def test_one_file(tmp_path: Path) -> None:
    left = np.concatenate([np.zeros(800), sine(500, 0.5, amplitude=0.5), np.zeros(1600)])
    path = save(tmp_path / "a.wav", np.stack([left, 0.5 * left], axis=1), subtype="FLOAT")
    for block in (None, 700):
        got = one(path, block)
        assert (got.frames, got.seconds, got.about.format) == (6400, 0.8, "WAV FLOAT")
        assert abs(got.peak - 0.5) < 1e-6 and got.offset == 0
        assert abs(got.power - (0.125 + 0.125 / 4) / 2 * 4000 / 6400) < 1e-6
        assert got.differs and not got.clipped
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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "my sounds"
    for i in range(12):
        level = 0.5 if i % 2 else 0.05
        save(root / ("kick" if i < 8 else "snare") / f"{i}.wav", sine(200 + i, 0.2 + 0.01 * i, amplitude=level))
    save(root / "snare" / "copy.flac", soundfile.read(root / "kick" / "0.wav")[0])
    save(root / "snare" / "wide.wav", np.stack([sine(300, 0.3, 44_100), sine(310, 0.3, 44_100)], axis=1), 44_100)
    save(root / "kick" / "off.wav", 0.5 * sine(200, 0.2) + 0.25)
    save(root / "kick" / "loud.wav", np.clip(sine(200, 0.2, amplitude=3), -1, 1))
    save(root / "kick" / "silent.wav", np.zeros(1000))
    save(root / "kick" / "late.wav", np.concatenate([np.zeros(1600), sine(220, 0.2), np.zeros(2400)]))
    (root / "kick" / "bad.wav").write_bytes(b"hello")
    (root / "kick" / "song.m4a").write_bytes(b"hello")
    return root


def test_the_rows(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "PACE_SECONDS", 0.0)
    corpus, said = opened(root, tmp_path / "cache", seconds=0.25)
    assert said == [f"read {i} of 19 sounds" for i in range(1, 20)]
    names = [found.name for found in corpus.understood.rows]
    assert names == ["files", "splits", "labels", "formats", "rates", "channels", "lengths", "silence", "loudness",
                     "constant offset", "clipped", "copies", "left out"]  # fmt: skip
    assert row(corpus, "files").value.startswith("17 read: .wav (16), .flac (1); 1 passed over: .m4a")
    assert row(corpus, "labels").data == {"by": "by folders", "counts": {"kick": 11, "snare": 6}}
    assert row(corpus, "formats").value == "WAV PCM_16 (16), FLAC PCM_16 (1)"
    rates = row(corpus, "rates")
    assert (
        rates.value
        == "8,000 Hz (16), 44,100 Hz (1); read at 8,000 Hz, so what is above 4,000 Hz is lost: 1 of 17 files"
    )
    assert not rates.warning and rates.change == ""
    channels = row(corpus, "channels")
    assert channels.value == "mono (16), stereo (1); the channels of 1 of 1 differ; read as mono"
    assert (channels.change, channels.warning) == ("--channels 2", False)
    lengths = row(corpus, "lengths")
    seconds = sum(0.2 + 0.01 * i for i in range(12)) + 0.2 * 3 + 0.3 + 0.7
    assert lengths.value.startswith(f"17 sounds, {seconds:.1f} s: 0.20 to 0.70 s, half up to 0.2")
    assert lengths.value.endswith("an example holds 0.26 s; longer, and cut into overlapping clips: 7 (14 clips)")
    assert lengths.change == "--seconds 0.6" and isinstance(lengths.data, dict) and lengths.data["clips"] == 24
    silence = row(corpus, "silence")
    assert silence.value.startswith(
        "cut at the ends of 1 of 17 files, 0.48 s in all, at most 0.20 s before and 0.28 after"
    )
    assert silence.change == "--trim 0"
    quiet, loud = 10 * math.log10(0.05**2 / 2), 20 * math.log10(0.93)
    assert row(corpus, "loudness").value.startswith(f"{quiet:.0f} to {loud:.0f} dB, median ")
    assert row(corpus, "loudness").change == "--loudness none"
    offset = row(corpus, "constant offset")
    assert (offset.value, offset.change) == ("1: kick/off.wav (+0.25); removed", "--dc false")
    assert row(corpus, "clipped").value == "1: kick/loud.wav"
    copies = row(corpus, "copies")
    assert copies.value.startswith("1: kick/0.wav = snare/copy.flac; ") and copies.warning
    assert copies.value.endswith("1 under different labels")
    assert row(corpus, "left out").value == "2: kick/bad.wav: text, not a sound; kick/silent.wav: silence"
    assert corpus.understood.proposals == {"data.rate": 8000, "data.seconds": 0.25, "model.preset": "tiny"}
    assert all(text.isprintable() for pair in table(corpus.understood) for text in pair)


def test_each_change_changes_it(root: Path, tmp_path: Path) -> None:
    plain, _ = opened(root, tmp_path / "cache")
    assert plain.rate == 8000 and plain.audio.shape[1] == 1
    changed, _ = opened(
        root, tmp_path / "cache", channels=2, trim=0, loudness="none", dc=False, seconds=0.7, rate=44_100
    )
    assert changed.audio.shape[1] == 2 and changed.understood.row("copies") is not None
    assert row(changed, "rates").value.endswith(
        "read at 44,100 Hz; recorded at a lower rate, so without treble: 16 of 17 files"
    )
    assert row(changed, "channels").value.endswith("read as stereo")
    assert row(changed, "silence").value == "none is cut at the ends"
    assert row(changed, "loudness").value.endswith("; left as it is")
    offset = row(changed, "constant offset")
    assert offset.value.endswith("left in, and amplified with the sound") and offset.warning


def test_treble_that_is_lost_is_a_warning(tmp_path: Path) -> None:
    for i in range(4):
        wide = np.stack([sine(300 + i, 0.2, 44_100), sine(500 + i, 0.2, 44_100)], axis=1)
        save(tmp_path / "set" / f"{i}.wav", wide, 44_100)
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache")
    rates = row(corpus, "rates")
    assert rates.value == "44,100 Hz; read at 16,000 Hz, so what is above 8,000 Hz is lost: all 4 files"
    assert rates.warning and rates.change == "--rate 44100" and rates.data == {
        "rates": {"44100": 4}, "rate": 16_000, "cut": 4}  # fmt: skip
    channels = row(corpus, "channels")
    assert channels.value == "stereo; the channels of 4 of 4 differ; read as mono"
    assert channels.warning and channels.change == "--channels 2"
    kept = row(opened(tmp_path / "set", tmp_path / "cache", rate=44_100, channels=2)[0], "rates")
    assert (kept.value, kept.warning, kept.change) == ("44,100 Hz", False, "")


def test_what_was_mended_and_what_is_short(tmp_path: Path) -> None:
    content = save(tmp_path / "set" / "good.wav", sine(300, 0.5)).read_bytes()
    (tmp_path / "set" / "cut.wav").write_bytes(content[: len(content) // 2])
    save(tmp_path / "set" / "click.wav", sine(900, 0.004))
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache")
    mended = row(corpus, "mended")
    assert mended.value == "1: cut.wav: cut off at 50 % of its length (0.25 s read)" and mended.warning
    assert row(corpus, "very short").data == ["click.wav"]


def test_copies_across_the_splits(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path / "set" / "train" / f"{i}.wav", sine(300 + i, 0.2))
        save(tmp_path / "set" / "test" / f"{i}.wav", sine(305 + i, 0.2))
    copies = row(opened(tmp_path / "set", tmp_path / "cache")[0], "copies")
    assert copies.value == "1: test/0.wav = train/5.wav; 1 of them in training and held out"
    assert isinstance(copies.data, dict) and (copies.data["across"], copies.data["unlike"]) == (1, 0)
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache", splits="none")
    assert corpus.names == ("test", "train") and 0 < corpus.test.sum() < 6


def test_copies_are_the_same_samples_in_any_format(tmp_path: Path) -> None:
    samples = noise(3000)
    for name in ("a.wav", "b.flac", "c.aiff"):
        save(tmp_path / "set" / name, samples)
    save(tmp_path / "set" / "d.wav", samples, subtype="FLOAT")
    other = samples.copy()
    other[1000] += 2**-15
    save(tmp_path / "set" / "e.wav", other)
    save(tmp_path / "set" / "f.wav", samples, 16_000)
    copies = row(opened(tmp_path / "set", tmp_path / "cache")[0], "copies")
    assert copies.value.split("; ")[0] == "1: a.wav = b.flac = c.aiff = d.wav"


def music(tmp_path: Path) -> Corpus:
    for i in range(150):
        stereo = np.stack([sine(200 + i, 1.6), sine(300, 1.6)], axis=1)
        save(tmp_path / "music" / f"song_{'ab'[i % 2]}_{i}.wav", stereo)
    return opened(tmp_path / "music", tmp_path / "cache")[0]


def test_proposals(tmp_path: Path) -> None:
    corpus = music(tmp_path)
    assert corpus.understood.proposals == {
        "data.rate": 8000,
        "data.seconds": 1.0,
        "model.preset": "small",
        "data.channels": 2,
        "data.labels": "{}_{label}_{}",
        "data.loudness": "none",
    }
    lengths = row(corpus, "lengths")
    assert "1.60 to 1.60 s" in lengths.value and lengths.value.endswith("overlapping clips: 150 (450 clips)")
    assert row(corpus, "lengths").value.startswith("150 sounds, 4:00: ")
    assert not {"clipped", "copies", "left out", "note", "mended"} & {found.name for found in corpus.understood.rows}
    by_name, _ = opened(tmp_path / "music", tmp_path / "cache", labels="{}_{label}_{}")
    assert by_name.names == ("a", "b") and "data.labels" not in by_name.understood.proposals


def test_loading_gives_the_block_and_the_identity(root: Path, tmp_path: Path) -> None:
    def load(source: Path) -> Audio:
        audio = Audio(Data(source=str(source)), Model())
        audio.open(tmp_path / "cache", lambda _: None)
        return audio

    first = load(root)
    assert first.splits is not None and first.splits.understood.rows[0].name == "files"
    assert len(first.facts.identity) == 32 and load(root).facts.identity == first.facts.identity
    (root / "kick" / "0.wav").rename(root / "snare" / "moved.wav")
    assert load(root).facts.identity != first.facts.identity


def test_named_data_sets_have_a_block(tmp_path: Path) -> None:
    corpus, _ = opened("drums", tmp_path)
    assert row(corpus, "files").value.startswith("90 read: .flac") and row(corpus, "rates").value == "16,000 Hz"
    assert row(corpus, "labels").value.startswith("6 by folders: cymbal (8), kick (17), perc (22)")


def test_copies_are_in_one_split(tmp_path: Path) -> None:
    for i in range(60):
        for folder in ("kit one", "kit two", "kit three"):
            save(tmp_path / "sounds" / folder / f"{i}.wav", noise(400, seed=i))
    corpus = opened(tmp_path / "sounds", tmp_path / "cache")[0]
    folder = next((tmp_path / "cache").rglob("test.npy")).parent
    names = [one["name"] for one in json.loads((folder / "files.json").read_text())]
    test = np.load(folder / "test.npy")
    held: dict[str, set[bool]] = {}
    for name, is_held in zip(names, test.tolist(), strict=True):
        held.setdefault(Path(name).stem, set()).add(is_held)
    assert len(names) == len(test) == 180 and all(len(found) == 1 for found in held.values())
    assert 0 < test.sum() < 45 and test.sum() % 3 == 0
    copies = corpus.understood.row("copies")
    assert copies is not None and isinstance(copies.data, dict) and copies.data["across"] == 0
