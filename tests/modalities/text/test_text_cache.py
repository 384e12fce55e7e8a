"""The cache: whole or not there, used again without reading, made anew when anything changed or is damaged."""

from __future__ import annotations

import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modalities.text.data import cache as store
from tests.modalities.text.corpus import opened, rows, save
from toolkit.errors import StorageError

FILES = ("train.npy", "train-spans.npy", "test.npy", "test-spans.npy", "about.json")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lines = "\n".join(f"line {i} says {i * i}" for i in range(200))
    return save(tmp_path / "set", {"a/one.txt": lines, "b/two.txt": lines.upper(), "c.txt": bytes(range(32)) * 9})


def test_the_second_start_reads_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, said = opened(root, tmp_path / "cache", items="line")

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(store, "documents", refuse)
    again, said_again = opened(root, tmp_path / "cache", items="line")
    assert said_again == said == [] and first.rejected[0].startswith("c.txt: not text")
    assert replace(again, train=first.train, test=first.test) == first
    assert first.identity and first.understood.row("left out") is not None
    assert rows(again.train) == rows(first.train) and rows(again.test) == rows(first.test)
    opened(root, tmp_path / "cache", items="line", length=16)  # cut otherwise, but the same tokens
    with pytest.raises(AssertionError, match="read again"):
        opened(root, tmp_path / "cache", items="line", test=0.1)


def test_a_change_makes_it_anew(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    opened(root, cache)
    changes = {"items": "line", "tokens": "byte", "labels": "file", "field": "x", "columns": "x", "test": 0.2,
               "encoding": "cp1252", "normalise": "nfd", "splits": "none", "separator": "%"}  # fmt: skip
    for option, value in changes.items():
        opened(root, cache, **{option: value})
    assert len(os.listdir(cache / "text")) == 11
    (root / "c.txt").write_text("now it is text")
    corpus, said = opened(root, cache)
    assert len(os.listdir(cache / "text")) == 12 and said == []
    assert "now it is" in corpus.vocabulary.decode(corpus.train.stream.numpy())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "noise"])
def test_a_damaged_cache_is_made_anew(name: str, damage: str, root: Path, tmp_path: Path) -> None:
    corpus, _ = opened(root, tmp_path / "cache", items="line")
    expected = rows(corpus.train)
    (path,) = (tmp_path / "cache").rglob(name)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = {"cut": content[: len(content) - 3], "empty": b"", "noise": b"\x93" * len(content)}[damage]
        path.write_bytes(changed)
    assert rows(opened(root, tmp_path / "cache", items="line")[0].train) == expected
    assert path.read_bytes() == content


def test_numbers_that_cannot_be_are_not_trusted(root: Path, tmp_path: Path) -> None:
    corpus, _ = opened(root, tmp_path / "cache", labels="file")
    home = next((tmp_path / "cache" / "text").iterdir())
    expected = {name: (home / name).read_bytes() for name in FILES}
    for wrong in (corpus.vocabulary.size, 0, -1):
        tokens = np.load(home / "train.npy")
        tokens[5] = wrong
        np.save(home / "train.npy", tokens)
        opened(root, tmp_path / "cache", labels="file")
        assert (home / "train.npy").read_bytes() == expected["train.npy"]
    for column, value in ((0, 10**6), (0, -3), (1, 10**6), (1, -1), (2, 2), (2, -1)):
        spans = np.load(home / "train-spans.npy")
        spans[0, column] = value
        np.save(home / "train-spans.npy", spans)
        opened(root, tmp_path / "cache", labels="file")
        assert (home / "train-spans.npy").read_bytes() == expected["train-spans.npy"]
    about = json.loads(expected["about.json"])
    for key, value in {"names": None, "understood": 5, "vocabulary": "{}", "rejected": None, "form": None}.items():
        (home / "about.json").write_text(json.dumps(about | {key: value}))
        opened(root, tmp_path / "cache", labels="file")
        assert (home / "about.json").read_bytes() == expected["about.json"]


def test_a_disk_that_is_full_leaves_nothing(root: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))  # writing raises
    try:
        with pytest.raises(StorageError, match=r"cannot keep tokens .* set TOOLKIT_CACHE"):
            opened(root, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / "cache" / "text") == []


def test_a_text_is_read_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice where characters with accents come in two forms. Nothing of it is left beside the tokens."""
    real, calls = store.documents, []

    def counted(*arguments: object) -> object:
        calls.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "documents", counted)
    opened(root, tmp_path / "cache", items="line")
    assert len(calls) == 1
    save(root, {"d.txt": "caf\u00e9 and cafe\u0301"})
    opened(root, tmp_path / "cache", items="line")
    assert len(calls) == 3
    (home, other) = (path for path in (tmp_path / "cache" / "text").iterdir() if path.is_dir())
    assert sorted(os.listdir(home)) == sorted(os.listdir(other)) == sorted((*FILES, "hashes.json"))


def test_the_identity_is_of_the_content(root: Path, tmp_path: Path) -> None:
    """Equal texts in other files are equal; another text, label or way to cut it is not."""
    first = opened(root, tmp_path / "cache", labels="file", items="line")[0]
    other = save(
        tmp_path / "other", {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.txt")}
    )
    again = opened(other, tmp_path / "elsewhere", labels="file", items="line")[0]
    assert again.identity == first.identity != ""
    (other / "b" / "two.txt").rename(other / "b" / "three.txt")
    assert opened(other, tmp_path / "elsewhere", labels="file", items="line")[0].identity != first.identity
    assert opened(root, tmp_path / "cache", items="line")[0].identity != first.identity
    text = (root / "a" / "one.txt").read_text()
    (root / "a" / "one.txt").write_text(text.replace("line 7 ", "line 8 "))
    assert opened(root, tmp_path / "cache", labels="file", items="line")[0].identity != first.identity
