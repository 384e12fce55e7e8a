"""Caches of decoded data and judges: a flipped bit is seen, odd values raise nothing, and they are made anew."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modalities.text.evaluate import judge as text_judge
from tests.evaluation.test_judge import BlobJudge, blobs
from tests.run.tiny_runs import fill
from toolkit.data import store
from toolkit.discovery import find
from toolkit.evaluation import judge_file
from toolkit.evaluation.judge import obtain
from toolkit.modality import Facts

OPTIONS: dict[str, dict[str, Any]] = {
    "image": {"size": 8},
    "audio": {"rate": 2000, "seconds": 0.2},
    "text": {"length": 16, "items": "line"},
}


@pytest.fixture(params=list(OPTIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(kind: str, tmp_path: Path) -> Path:
    for label in ("a", "b"):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        fill(kind, folder, 4)
    return tmp_path / "data"


def opened(kind: str, data: Path, cache: Path) -> Facts:
    modality = find(kind)
    options = OPTIONS[kind] | ({"labels": "folder"} if kind == "text" else {})
    return modality(modality.Data(source=str(data), **options), modality.Model()).open(cache, lambda line: None)  # type: ignore[call-arg]


def test_any_flipped_bit_is_seen_and_mended(kind: str, data: Path, tmp_path: Path) -> None:
    facts = opened(kind, data, tmp_path / "cache")
    (home,) = (tmp_path / "cache" / kind).iterdir()
    good = {path.name: path.read_bytes() for path in home.iterdir()}
    assert store.HASHES in good and len(good) >= 5
    chance = random.Random(kind)
    for name, content in good.items():
        for _ in range(3 if name != store.HASHES else 0):
            place = chance.randrange(len(content))
            byte = bytes([content[place] ^ (1 << chance.randrange(8))])
            (home / name).write_bytes(content[:place] + byte + content[place + 1 :])
            assert not store.whole(home), name
        assert opened(kind, data, tmp_path / "cache") == facts
        assert {path.name: path.read_bytes() for path in home.iterdir()} == good, name
    (home / store.HASHES).unlink()  # a cache of before
    assert opened(kind, data, tmp_path / "cache") == facts and (home / store.HASHES).exists()


ODD: list[Any] = ["x", "", 0, -1, 10**400, 1e999, None, [], {}, [1, 2], ["x", "y", "z"], {"a": [[[]]]}, True]


PLAUSIBLE = [("mean", -1), ("names", [1, 2]), ("names", ["x", "y", "z"])]


def test_odd_values_raise_nothing(kind: str, data: Path, tmp_path: Path) -> None:
    """A cache with odd values, whose hashes somebody has made right, is read or made anew."""
    facts = opened(kind, data, tmp_path / "cache")
    (home,) = (tmp_path / "cache" / kind).iterdir()
    about = json.loads((home / "about.json").read_bytes())
    good = (home / "about.json").read_bytes()
    for key in about:
        for value in ODD:
            (home / "about.json").write_text(json.dumps({**about, key: value}))
            store.seal(home)
            again = opened(kind, data, tmp_path / "cache")
            checked = key in ("mean", "std", "names", "vocabulary", "rate", "length")
            if checked and value not in (0, True) and (key, value) not in PLAUSIBLE:
                assert again == facts and (home / "about.json").read_bytes() == good, (key, value)
    for text in ("[" * 200_000, '{"a":' * 200_000, "null", "[]", "", "\ud800"):
        (home / "about.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        store.seal(home)
        assert opened(kind, data, tmp_path / "cache") == facts
        assert (home / "about.json").read_bytes() == good


def test_labels_out_of_range_and_a_deviation_of_zero_are_made_anew(data: Path, kind: str, tmp_path: Path) -> None:
    facts = opened(kind, data, tmp_path / "cache")
    (home,) = (tmp_path / "cache" / kind).iterdir()
    about = json.loads((home / "about.json").read_bytes())
    assert len(facts.labels) == 2
    for change in ({"names": ["a"]}, {"names": []}, {"std": 0.0}, {"std": float("nan")}):
        if kind == "text" and "std" in change:
            continue
        (home / "about.json").write_text(json.dumps({**about, **change}))
        store.seal(home)
        assert opened(kind, data, tmp_path / "cache") == facts
        assert json.loads((home / "about.json").read_bytes()) == about


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    return tmp_path / "judges"


def damaged(content: bytes) -> list[bytes]:
    flips = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(0, len(content), 97)]
    return [b"", b"x", content[:100], content[:-1], b"\xff" * 8 + content[8:], b"[" * 10_000, *flips]


def test_a_damaged_judge_is_seen_and_trained_again(judges: Path) -> None:
    said: list[str] = []
    first = obtain(BlobJudge, blobs(), said.append)
    (path,) = judges.iterdir()
    content = path.read_bytes()
    assert obtain(BlobJudge, blobs(), said.append).name == first.name and len(said) == 1
    for data in damaged(content):
        path.write_bytes(data)
        assert judge_file.load(path, first.net.state_dict()) is None
    again = obtain(BlobJudge, blobs(), said.append)
    assert (again.name, again.accuracy) == (first.name, first.accuracy)
    kept = judge_file.load(path, first.net.state_dict())
    assert kept is not None and kept.tested == 20 and judge_file.digest(kept.weights)[:6] == first.name[-6:]
    assert len(said) == 2 and said[1].startswith(f"the judge in {path} is damaged: training")


def with_metadata(content: bytes, change: Callable[[dict[str, str]], object]) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def test_a_forged_accuracy_is_not_believed(judges: Path) -> None:
    first = obtain(BlobJudge, blobs(), lambda line: None)
    (path,) = judges.iterdir()
    content = path.read_bytes()
    for measured in ("10 10", "x y", "1", "-1 20", "19 20 3", "", "99 10"):
        path.write_bytes(with_metadata(content, lambda about, text=measured: about.update({"right of tested": text})))  # type: ignore[misc]
        assert judge_file.load(path, first.net.state_dict()) is None, measured
    again = obtain(BlobJudge, blobs(), lambda line: None)
    assert again.accuracy == first.accuracy and again.name == first.name
    path.write_bytes(with_metadata(content, lambda about: about.pop("check")))  # as of before: measured, and kept
    assert obtain(BlobJudge, blobs(), lambda line: pytest.fail(line)).accuracy == first.accuracy
    kept = judge_file.load(path, first.net.state_dict())
    assert kept is not None and kept.tested == 20


def test_a_judge_of_another_shape_or_not_finite_is_none(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    judge_file.keep(tmp_path / "j", net.state_dict(), 3, 4)
    kept = judge_file.load(tmp_path / "j", net.state_dict())
    assert kept is not None and (kept.right, kept.tested) == (3, 4)
    assert judge_file.load(tmp_path / "j", nn.Linear(3, 4).state_dict()) is None
    with torch.no_grad():
        net.weight[0, 0] = float("nan")
    judge_file.keep(tmp_path / "j", net.state_dict())
    data = with_metadata((tmp_path / "j").read_bytes(), lambda about: about.pop("check"))
    (tmp_path / "j").write_bytes(data)
    assert judge_file.load(tmp_path / "j", net.state_dict()) is None


def test_the_judge_of_texts_is_the_same(judges: Path) -> None:
    said: list[str] = []
    ids = torch.arange(400) % 7
    course = text_judge.Course(steps=2, batch=2, length=16)
    first = text_judge.obtain(ids, ids[:50], 7, said.append, course)
    (path,) = judges.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 64]) + content[-4:])
    again = text_judge.obtain(ids, ids[:50], 7, said.append, course)
    assert again.name == first.name and again.held_out_bits == first.held_out_bits
    assert [line.startswith(f"the judge in {path} is damaged") for line in said] == [False, False, True, False]
    text_judge.obtain(ids, ids[:50], 7, said.append, course)
    assert len(said) == 5
