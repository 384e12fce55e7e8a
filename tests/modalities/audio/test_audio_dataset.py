"""From a source to batches: named data sets, defaults, downloads from strangers, errors of one line."""

from __future__ import annotations

import io
import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.audio.data import datasets
from modalities.audio.data.dataset import Clips, default_rate
from modalities.audio.data.decode import About
from tests.modalities.audio.corpus import RATE, everything, noise, opened, save, sine, wave
from tests.serving import serving
from toolkit.data import download
from toolkit.errors import DataError


def test_drums(tmp_path: Path) -> None:
    corpus, said = opened("drums", tmp_path)
    assert (corpus.rate, corpus.length, corpus.audio.shape[1]) == (16_000, 16_128, 1)
    assert {"kick", "snare", "cymbal"} <= set(corpus.names) and corpus.rejected == () and said == []
    assert len(corpus.clips) == corpus.files >= 90 and 0 < corpus.test.sum() < 10
    batch = everything(corpus)
    assert batch.raw.dtype == torch.float32 and batch.raw.shape[1:] == (1, 16_128)
    peaks = batch.raw.abs().amax((1, 2))
    assert (peaks - 10 ** (-0.45 / 20)).abs().max() < 1 / 32768
    assert sorted(set(batch.cond["label"].tolist())) == list(range(len(corpus.names)))
    assert opened("drums", tmp_path, labels="none")[0].names == ()


def fsdd(root: Path, takes: int = 7) -> dict[str, bytes]:
    """A small data set of the same form, each recording a sine of its own pitch."""
    contents = {}
    for digit in range(3):
        for speaker in ("anna", "bob"):
            for take in range(takes):
                pitch = 300 * (digit + 1) + 40 * take
                samples = (sine(pitch, 0.3 + 0.1 * digit) * 2**15).astype(np.int16)[:, None]
                contents[f"{digit}_{speaker}_{take}.wav"] = wave(samples)
    root.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return contents


def test_spoken_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path))
    fsdd(tmp_path / "fsdd" / "recordings")
    save(tmp_path / "fsdd" / "recordings" / "README.wav", noise(500))
    corpus, said = opened("fsdd", tmp_path / "cache", trim=0)
    assert (corpus.rate, corpus.length, corpus.names, corpus.files) == (8000, 8192, ("0", "1", "2"), 42)
    assert corpus.test.sum() == 3 * 2 * 5  # recordings 0 to 4
    own = (
        f"{tmp_path / 'fsdd' / 'recordings'} is not the fsdd that would be downloaded; figures of recipes may not come"
    )
    assert said == [f"{own} out with it"]  # it is noted, and used
    assert corpus.rejected == ("README.wav: the name does not fit {label}_{}_{}",)
    test = everything(corpus, test=True)
    for clip, length, label in zip(test.raw[:, 0], test.cond["length"].tolist(), test.cond["label"].tolist()):
        assert length == round((0.3 + 0.1 * label) * 8000)
        loudest = np.abs(np.fft.rfft(clip[:length].numpy())).argmax() * 8000 / length
        assert 300 * (label + 1) <= loudest + 5 and loudest - 5 <= 300 * (label + 1) + 40 * 4
    both, _ = opened("fsdd", tmp_path / "cache", labels="{label}_{label}_{}")
    assert both.names == ("0-anna", "0-bob", "1-anna", "1-bob", "2-anna", "2-bob")
    assert opened("fsdd", tmp_path / "cache", labels="none")[0].names == ()
    # the beginning of a recording that is too long, and no second clip from its middle
    short, _ = opened("fsdd", tmp_path / "cache", seconds=0.25, trim=0)
    assert short.length == 2048 and len(short.clips) == 42 and (short.clips[:, 1] == 2048).all()


def test_the_real_spoken_digits(tmp_path: Path) -> None:
    if not (Path(os.environ.get("TOOLKIT_DATA", "/nowhere")) / "fsdd" / "recordings").is_dir():
        pytest.skip("TOOLKIT_DATA has no fsdd")
    corpus, said = opened("fsdd", tmp_path, limit=300)
    assert (len(corpus.clips), int(corpus.test.sum()), len(corpus.names)) == (600, 300, 10)
    assert np.bincount(corpus.labels[corpus.test]).tolist() == [30] * 10
    assert corpus.length == 8192 and not [line for line in said if not line.startswith("read ")]
    assert abs(corpus.std - 0.1774) < 0.01  # of all 2,700


Server = Callable[..., str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A function that serves bytes on this machine and makes them what fsdd is downloaded from."""
    with serving() as host:

        def serve(content: bytes, known: dict[str, bytes] | None = None) -> str:
            """known: the recordings that are expected."""
            host.pages = {"/v1.zip": 404, "/master.zip": content}
            monkeypatch.setattr(datasets, "FSDD_SOURCES", (f"{host.https}/v1.zip", f"{host.https}/master.zip"))
            if known is not None:
                monkeypatch.setattr(datasets, "FSDD_SHA256", download.sha256_of(known.items()))
            return f"{host.https}/gone"

        yield serve


def zipped(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return buffer.getvalue()


def test_what_is_missing_is_downloaded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = fsdd(tmp_path / "elsewhere")
    members = {f"free-spoken-digit-dataset-master/recordings/{name}": data for name, data in contents.items()}
    server(zipped({**members, "free-spoken-digit-dataset-master/README.md": b"x"}), contents)
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    corpus, said = opened("fsdd", tmp_path / "cache")
    kept = tmp_path / "data" / "fsdd"
    assert {path.name: path.read_bytes() for path in (kept / "recordings").iterdir()} == contents
    assert os.listdir(kept) == ["recordings"] and corpus.files == 42
    assert said == [f"downloading fsdd (about 16 MB) to {kept / 'recordings'}"]
    server(b"not asked again")
    again, said = opened("fsdd", tmp_path / "cache")
    assert again.files == 42 and said == []


def test_other_recordings_are_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = fsdd(tmp_path / "elsewhere")
    place = tmp_path / "data" / "fsdd"
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    name = "1_bob_3.wav"
    others = (
        contents | {name: contents[name][:-1] + b"!"},
        {each: content for each, content in contents.items() if each != name},
        contents | {"1_bob_99.wav": contents[name]},
        contents | {name: contents["0_bob_3.wav"], "0_bob_3.wav": contents[name]},
    )
    for other in others:
        server(zipped({f"x/recordings/{each}": content for each, content in other.items()}), contents)
        with pytest.raises(
            DataError, match=r"could not be downloaded \(HTTP Error 404: Not Found; not the content that"
        ):
            opened("fsdd", tmp_path / "cache")
        assert os.listdir(place) == []


GOOD = "x/recordings/0_anna_0.wav"
SOUND = wave((sine(300, 0.1) * 2**15).astype(np.int16)[:, None])


@pytest.mark.parametrize(
    "name",
    [
        "../recordings/../../evil.wav",
        "/recordings/evil.wav",
        "x/recordings/../evil.wav",
        "x/recordings/..\\evil.wav",
        "x/recordings/0_anna_0.wav/",
        "x/recordings/0_ANNA_0.wav",
        "x/recordings/0_anna_0.wav.py",
        "x/recordings/.0_anna_0.wav",
        "0_anna_0.wav",
    ],
)
def test_names_in_the_archive_lead_nowhere(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    sounds = {"1_anna_7.wav": SOUND, "2_bob_7.wav": SOUND}
    members = {"../../recordings/1_anna_7.wav": SOUND, "/recordings/2_bob_7.wav": SOUND}
    server(zipped({name: b"evil", **members}), sounds)
    opened("fsdd", tmp_path / "cache")
    found = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert found == {f"data/fsdd/recordings/{name}" for name in ("1_anna_7.wav", "2_bob_7.wav")}
    assert {path.name for path in tmp_path.iterdir()} == {"data", "cache"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no zip", "not a zip file"),
        (zipped({"x/other/0_anna_0.wav": SOUND}), "no recordings in the archive"),
        (zipped({GOOD: SOUND})[:-30], "not a zip file"),
        (zipped({GOOD: bytes(2**21)}), "0_anna_0.wav is larger than any recording"),  # 2 kB as it is sent
        (zipped({GOOD: SOUND}, zipfile.ZIP_STORED).replace(SOUND[44:60], bytes(16)), "Bad CRC-32"),
        (bytes(300_000), "more than the 200,000 bytes that it has were sent"),
    ],
)
def test_a_bad_download_is_one_line_and_leaves_nothing(
    content: bytes, why: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(datasets, "MAX_ARCHIVE_BYTES", 200_000)
    server(content)
    with pytest.raises(DataError) as caught:
        opened("fsdd", tmp_path / "cache")
    line = str(caught.value)
    place = tmp_path / "data" / "fsdd"
    assert line.startswith(f"fsdd is not in {place / 'recordings'} and could not be downloaded (") and why in line
    assert line.endswith("put its recordings there, or set TOOLKIT_DATA to a folder that has fsdd/recordings")
    assert "\n" not in line and os.listdir(place) == []


def test_without_a_network(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    gone = server(b"")
    monkeypatch.setattr(datasets, "FSDD_SOURCES", (gone, gone))
    with pytest.raises(DataError, match=r"could not be downloaded \(HTTP Error 404: Not Found\)"):
        opened("fsdd", tmp_path / "cache")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(DataError, match=r"could not be downloaded \(Temporary failure in name resolution\)"):
        opened("fsdd", tmp_path / "cache")


def test_batches(tmp_path: Path) -> None:
    lengths = {}
    for i in range(20):
        name = f"{'ab'[i % 2]}/{i}.wav"
        lengths[name] = 300 + 10 * i
        save(tmp_path / "set" / name, noise(lengths[name], seed=i, channels=2))
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache", channels=2, loudness="none", trim=0)
    clips = Clips(corpus, test=False)
    order = torch.tensor([3, 0, 3, len(clips) - 1])
    batch = clips.take(order)
    assert batch.raw.shape == (4, 2, 512) and batch.raw.dtype == torch.float32
    assert torch.equal(batch.cond["length"], clips.lengths[order]) and clips.lengths.dtype == torch.int64
    assert clips.labels is not None and torch.equal(batch.cond["label"], clips.labels[order])
    assert torch.equal(batch.raw[0], batch.raw[2])
    names = sorted(lengths)
    by_length = {lengths[name]: name for name in names}
    for clip, length, label in zip(batch.raw, batch.cond["length"].tolist(), batch.cond["label"].tolist()):
        i = int(Path(by_length[length]).stem)
        assert torch.equal(clip[:, :length], torch.from_numpy(noise(length, seed=i, channels=2).T).float())
        assert not clip[:, length:].any() and label == i % 2
    assert "label" not in everything(opened(tmp_path / "set", tmp_path / "cache", labels="none")[0]).cond
    batch.raw[:] = 7  # a batch is the caller's
    assert clips.take(order).raw.max() < 1


def test_the_default_rate() -> None:
    def of(*rates: int) -> int:
        return default_rate(About(rate, 1, 1, "WAV PCM_16") for rate in rates)

    assert of(8000, 8000, 44_100) == 8000
    assert of(8000, 11_025) == 11_025
    assert of(44_100, 44_100, 8000) == 16_000
    assert of(1000) == 2000
    assert of() == 16_000


def test_the_default_rate_and_length_of_a_folder(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / "set" / f"{i}.wav", sine(500, 0.3, 11_025), 11_025)
    save(tmp_path / "set" / "x.flac", sine(500, 0.5, 48_000), 48_000)
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache", trim=0)
    assert (corpus.rate, corpus.length) == (11_025, 13 * 256)  # 0.3 s are 3307.5 samples
    assert sorted(set(corpus.clips[:, 1])) == [2184, 3308, 13 * 256]
    assert corpus.audio.shape == (20 * 3308 + 5512, 1)
    assert opened(tmp_path / "set", tmp_path / "cache", rate=4000, seconds=0.25)[0].length == 1024


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "no sound in {root}: it is empty"),
        ({"a.txt": b"x", "b.m4a": b"y"}, "no sound in {root}: only other files (1 .txt, 1 .m4a); WAV, AIFF, CAF, AU,"),
        ({"a.wav": b"x"}, "no usable sound in {root}: 1 tried, for example a.wav: text, not a sound"),
        (
            {"train/a.wav": b"x", "test/b.wav": SOUND},
            "no usable training sound in {root}: all 1 files belong to",
        ),
    ],
)
def test_nothing_to_train_on(files: dict[str, bytes], line: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        opened(root, tmp_path / "cache", rate=RATE)
    assert str(caught.value).startswith(line.format(root=root))
