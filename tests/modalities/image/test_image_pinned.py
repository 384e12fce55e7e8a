"""Downloads of torchvision's sets: the known files are unpacked and read, others leave nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.image import Image
from modalities.image.data import pinned
from modalities.image.options import Data, Model
from tests.serving import Host, serving
from toolkit.data import download
from toolkit.errors import DataError

COUNTS = (("train", 300), ("t10k", 50))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    with serving() as host:
        yield host


def idx() -> dict[str, bytes]:
    """The files of a small set in the format of MNIST; labels count up."""
    random, files = np.random.default_rng(1), {}
    for part, count in COUNTS:
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">4i", 2051, count, 28, 28) + pixels.tobytes()
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">2i", 2049, count) + labels.tobytes()
    return files


def known(monkeypatch: pytest.MonkeyPatch, host: Host, name: str, sent: dict[str, bytes], sha256: str | None) -> None:
    """Make what is sent the known files of a set."""
    files = {each: (len(content), hashlib.sha256(content).hexdigest()) for each, content in sent.items()}
    hosts = (f"{host.https}/first", f"{host.https}/second")
    monkeypatch.setitem(pinned.SETS, name, replace(pinned.SETS[name], hosts=hosts, files=files, sha256=sha256))
    host.pages = {f"/second/{each}": content for each, content in sent.items()}


def loaded(name: str, cache: Path) -> tuple[Image, list[str]]:
    said: list[str] = []
    modality = Image(Data(source=name), Model())
    modality.open(cache, said.append)
    return modality, [line for line in said if "download" in line]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_known_files_are_read(name: str, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = idx()
    sent = {f"{each}.gz": gzip.compress(content, mtime=0) for each, content in files.items()}
    known(monkeypatch, host, name, sent, download.sha256_of(files.items()) if name == "mnist" else None)
    modality, said = loaded(name, tmp_path)
    assert said == [f"downloading {name} to {tmp_path / 'data'}"]
    assert modality.dataset("test").take(torch.arange(12)).cond["label"].tolist() == [*range(10), 0, 1]
    folder = tmp_path / "data" / pinned.SETS[name].folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files and os.listdir(folder.parent) == ["raw"]
    host.pages = {}
    assert loaded(name, tmp_path)[1] == []
    (folder / "train-labels-idx1-ubyte").write_bytes(files["train-labels-idx1-ubyte"][:-1] + b"\x05")
    noted = [f"{folder} is not the mnist that would be downloaded; figures of recipes may not come out with it"]
    assert loaded(name, tmp_path)[1] == (noted if name == "mnist" else [])  # and it is used


def test_other_files_leave_nothing(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {f"{each}.gz": gzip.compress(content, mtime=0) for each, content in idx().items()}
    last = f"/second/{list(sent)[-1]}"
    for page in (b"x", sent[last[8:]][:-1] + b"!", sent[last[8:]] + b"!", 503):
        known(monkeypatch, host, "mnist", sent, None)
        host.pages[last] = page
        with pytest.raises(DataError) as caught:
            loaded("mnist", tmp_path)
        line, place = str(caught.value), tmp_path / "data" / "MNIST"
        assert line.startswith(
            f"mnist is not in {place / 'raw'} and could not be downloaded (HTTP Error 404: Not Found; "
        )
        assert line.endswith("put its files there, or set TOOLKIT_DATA to a folder that has it") and "\n" not in line
        assert os.listdir(place) == []


def test_a_file_that_unpacks_to_too_much(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "_MAX_MEMBER", 10_000)
    known(monkeypatch, host, "mnist", {each: gzip.compress(bytes(20_000)) for each in pinned._IDX}, None)
    with pytest.raises(DataError, match="train-images-idx3-ubyte unpacks to more than 0 MB"):
        loaded("mnist", tmp_path)
    assert os.listdir(tmp_path / "data" / "MNIST") == []


def test_what_is_there_is_never_replaced(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"raw is damaged or not whole \(.*\); delete it to download it again"):
        loaded("mnist", tmp_path)
    assert os.listdir(folder) == ["mine.txt"] and host.asked == []


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_cifar(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    random = np.random.default_rng(1)
    batch = {"data": random.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))}
    contents = dict.fromkeys(pinned._CIFAR[:-1], pickle.dumps(batch))
    contents["batches.meta"] = pickle.dumps({"label_names": list("abcdefghij")})
    hashes = [[name, hashlib.md5(content).hexdigest()] for name, content in contents.items()]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", hashes[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", hashes[5:6])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": hashes[6][1]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    sent = archive({"../evil": b"x", **{f"cifar-10-batches-py/{name}": content for name, content in contents.items()}})
    known(monkeypatch, host, "cifar10", {"cifar-10-python.tar.gz": sent}, None)
    modality, said = loaded("cifar10", tmp_path)
    folder = tmp_path / "data" / "cifar-10-batches-py"
    assert len(modality.dataset("train")) == 50 and modality.labels == tuple("abcdefghij") and len(said) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    assert os.listdir(tmp_path / "data") == ["cifar-10-batches-py"]
    (folder / "data_batch_3").write_bytes(b"other")
    with pytest.raises(DataError, match="cifar-10-batches-py is damaged or not whole"):
        loaded("cifar10", tmp_path)


def test_the_pins() -> None:
    for name, each in pinned.SETS.items():
        assert all(host.startswith("https://") and not host.endswith("/") for host in each.hosts), name
        for size, sha256 in each.files.values():
            assert 4_000 < size < 200_000_000 and len(sha256) == 64 and int(sha256, 16)
    assert len({sha256 for each in pinned.SETS.values() for _, sha256 in each.files.values()}) == 9


def test_the_real_mnist_is_the_known_one() -> None:
    root = Path(os.environ.get("TOOLKIT_DATA", "/nowhere"))
    if not (root / "MNIST/raw").is_dir():
        pytest.skip("TOOLKIT_DATA has no MNIST")
    assert pinned.is_known("mnist", root)
