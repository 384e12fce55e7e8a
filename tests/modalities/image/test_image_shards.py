"""Tar shards: read in place, with labels and splits; hostile and damaged archives cost only themselves."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import UnidentifiedImageError

from modalities.image.data import decode, shards
from tests.modalities.image.corpus import encoded, everything, flat, opened
from toolkit.errors import DataError


def shard(path: Path, members: list[tuple[str, bytes]], extra: list[tarfile.TarInfo] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for info in extra or []:
            archive.addfile(info)
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pair(key: int, value: int, label: int) -> list[tuple[str, bytes]]:
    return [(f"{key:06d}.png", encoded(flat("L", value), "PNG")), (f"{key:06d}.cls", str(label).encode())]


def test_split_labels_and_names(tmp_path: Path) -> None:
    root = tmp_path / "set"
    shard(root / "train-0000.tar", pair(0, 10, 1) + pair(1, 20, 0) + [("000000.json", b"{}")])
    shard(root / "train-0001.tar", pair(0, 30, 1))
    shard(root / "test-0000.tar", pair(0, 40, 0))
    (root / "classes.json").write_text(json.dumps(["zebra", "ant"]))
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert (facts.count, facts.extra["test"], facts.labels, facts.shape) == (3, 1, ("zebra", "ant"), (1, 16, 16))
    raw, cond = everything(modality)
    assert raw[:, 0, 0, 0].tolist() == [10, 20, 30] and cond["label"].tolist() == [1, 0, 1]
    assert everything(modality, "test").raw.unique().tolist() == [40]
    assert sorted(os.listdir(root)) == ["classes.json", "test-0000.tar", "train-0000.tar", "train-0001.tar"]


def test_one_tar_without_names(tmp_path: Path) -> None:
    path = shard(tmp_path / "all.tar", [m for i in range(40) for m in pair(i, i, i % 2 + 9)])
    modality, facts, _ = opened(path, tmp_path / "cache")
    assert facts.labels == ("9", "10") and facts.count + facts.extra["test"] == 40 and facts.extra["test"] >= 1
    raw, cond = everything(modality)
    assert torch.equal(raw[:, 0, 0, 0].long() % 2, cond["label"])


def test_hostile_members_are_left_out_with_the_reason(tmp_path: Path) -> None:
    def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return info

    extra = [
        special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.png", tarfile.LNKTYPE, "000000.png"),
        special("device.png", tarfile.CHRTYPE),
        special("fifo.png", tarfile.FIFOTYPE),
        special("folder", tarfile.DIRTYPE),
    ]
    content = encoded(flat("L", 1), "PNG")
    names = ["../up.png", "/absolute.png", "a/../../b.png", "c:\\win.png", "000000.png", "empty.png", "badclass.png"]
    members = [(name, b"" if name == "empty.png" else content) for name in names]
    members += [*pair(0, 7, 0), *pair(1, 8, 1), ("badclass.cls", b"../../x"), ("text.png", b"text"), *pair(2, 9, 77)]
    root = tmp_path / "set"
    shard(root / "a.tar", members, extra)
    (root / "classes.json").write_text('["x", "y"]')
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    _, facts, _ = opened(root, tmp_path / "cache")
    reasons = {line.split(": ", 1)[0].removeprefix("a.tar/"): line.split(": ", 1)[1] for line in facts.rejected}
    assert reasons == {
        "link.png": "a link inside an archive",
        "hard.png": "a link inside an archive",
        "device.png": "not a regular file inside the archive",
        "fifo.png": "not a regular file inside the archive",
        "../up.png": "a path that leads out of the archive",
        "/absolute.png": "a path that leads out of the archive",
        "a/../../b.png": "a path that leads out of the archive",
        "c:\\win.png": "a path that leads out of the archive",
        "000000.png": "the name appears twice",
        "empty.png": "empty file",
        "badclass.png": "its .cls is not a class number",
        "text.png": decode.reason(UnidentifiedImageError()),
        "000002.png": "class 77, but classes.json has 2 names",
    }
    assert facts.count + facts.extra["test"] == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {p.name for p in tmp_path.iterdir()} == {"set", "cache"}


def test_damaged_archives_give_what_comes_before(tmp_path: Path) -> None:
    members = [m for i in range(6) for m in pair(i, i * 10, i % 2)]
    whole = shard(tmp_path / "whole.tar", members).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        offsets = [info.offset for info in archive]
    cases = {
        "in data": (whole[: offsets[6] + 520], 3),
        "at a header": (whole[: offsets[6]] + b"garbage" * 200, 3),
        "negative size": (whole[: offsets[6]] + forged(whole[offsets[6] : offsets[6] + 512], -2048), 3),
        "huge size": (whole[: offsets[6]] + forged(whole[offsets[6] : offsets[6] + 512], 2**40), 3),
    }
    for number, (case, (content, count)) in enumerate(cases.items()):
        root = tmp_path / str(number)
        root.mkdir()
        (root / "x.tar").write_bytes(content)
        _, facts, _ = opened(root, tmp_path / "cache")
        assert facts.count + facts.extra["test"] == count, case
        assert len(facts.rejected) >= 1 and all(line.startswith("x.tar") for line in facts.rejected), case


def forged(header: bytes, size: int) -> bytes:
    """A tar header with another size, in base 256, and a right checksum."""
    field = size.to_bytes(12, "big", signed=True)
    field = (b"\xff" if size < 0 else b"\x80") + field[1:]
    head = header[:124] + field + header[136:148] + b" " * 8 + header[156:]
    return head[:148] + b"%06o\0 " % sum(head) + head[156:] + bytes(1024)


def test_a_giant_long_name_is_not_read(tmp_path: Path) -> None:
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 2**30
    root = tmp_path / "set"
    root.mkdir()
    with (root / "x.tar").open("wb") as file:
        file.write(head.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**30 + 4096)  # sparse: takes no space
    with pytest.raises(DataError, match=r"1 tried, for example x\.tar: damaged archive \(a header larger than 1 MB\)"):
        opened(root, tmp_path / "cache")


@pytest.mark.parametrize("text", ["{", '{"0": "a"}', "[1, 2]", '["a", "a"]', "[" * 100_000])
def test_unusable_class_names(text: str, tmp_path: Path) -> None:
    shard(tmp_path / "set" / "a.tar", pair(0, 1, 0))
    (tmp_path / "set" / "classes.json").write_text(text)
    with pytest.raises(DataError, match=r"classes\.json .*mend or remove it"):
        opened(tmp_path / "set", tmp_path / "cache")


def test_cifar10_as_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path(os.environ.get("TOOLKIT_DATA", "/nowhere")) / "cifar10-jpeg"
    if not real.is_dir():
        pytest.skip("TOOLKIT_DATA has no cifar10-jpeg")
    linked = tmp_path / "data" / "cifar10-jpeg"
    linked.mkdir(parents=True)
    for name in ("train-0003.tar", "test-0000.tar", "classes.json"):  # two of six: headers take 2 s for each
        (linked / name).symlink_to(real / name)
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    modality, facts, _ = opened(Path("cifar10-jpeg"), tmp_path / "cache", limit=2000)
    assert facts.shape == (3, 32, 32) and (facts.count, facts.extra["test"]) == (2000, 2000)
    assert facts.labels[0] == "airplane" and facts.labels[9] == "truck" and facts.rejected == ()
    counts = torch.bincount(everything(modality).cond["label"], minlength=10)
    assert counts.min() > 150 and counts.max() < 250
    assert abs(facts.mean + 0.053) < 0.02 and abs(facts.std - 0.502) < 0.02  # of all 50,000: 0.473 and 0.251 in [0, 1]


def test_large_members_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_MEMBER_BYTES", 100)
    path = shard(tmp_path / "a.tar", [("big.png", bytes(101)), *pair(0, 3, 0)])
    assert len(encoded(flat("L", 3), "PNG")) <= 100
    facts = opened(path, tmp_path / "cache")[1]
    assert facts.rejected == ("a.tar/big.png: 101 bytes, more than the 100 allowed",) and facts.count == 1
