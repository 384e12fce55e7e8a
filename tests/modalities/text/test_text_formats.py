"""The files of a folder that are read, what an item is, and which texts are held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from modalities.text.data.readers import between
from modalities.text.options import Data
from tests.modalities.text.corpus import opened, save, shown

PROSE = "running text of one kind, and more of it\n" * 40
ROWS = "\n".join(json.dumps({"text": f"row number {i}"}) for i in range(40))


def texts(*corpora: object) -> set[str]:
    return {text for corpus in corpora for half in (corpus.train, corpus.test) for text in shown(corpus, half)}  # type: ignore[attr-defined]


def test_text_and_rows_are_not_mixed(tmp_path: Path) -> None:
    """The kind with most bytes is read; the option that reads the other is said, and does."""
    root = save(tmp_path / "set", {"a.txt": PROSE, "b.md": PROSE, "c.rst": PROSE, "d.jsonl": ROWS, "e.json": "[]"})
    corpus, _ = opened(root, tmp_path / "cache")
    assert corpus.packed and sum(map(len, shown(corpus, corpus.test))) == 3 * 82
    row = corpus.understood.row("passed over")
    assert row is not None and row.warning and row.change == "--formats json,jsonl"
    assert row.value == "2 files of rows, which cannot be mixed with running text: d.jsonl ..."
    files = corpus.understood.row("files")
    assert files is not None and files.data == {
        "read": {".txt": 1, ".md": 1, ".rst": 1},
        "passed_over": {".jsonl": 1, ".json": 1},
    }
    corpus, _ = opened(root, tmp_path / "cache", formats="jsonl")
    assert texts(corpus) == {f"row number {i}" for i in range(40)}
    many = save(tmp_path / "rows", {"a.txt": "short\n", "d.jsonl": ROWS, "README.md": PROSE * 9})
    corpus, _ = opened(many, tmp_path / "cache")
    assert texts(corpus) == {f"row number {i}" for i in range(40)}
    assert [row.change for row in corpus.understood.rows if row.name == "passed over"] == [
        "--formats md",
        "--formats txt",
    ]
    corpus, _ = opened(many, tmp_path / "cache", items="line", length=64)  # all are items
    assert texts(corpus) == {*(f"row number {i}" for i in range(40)), "short"}


def test_files_about_the_data_are_not_the_data(tmp_path: Path) -> None:
    root = save(
        tmp_path / "set", {"a.txt": PROSE, "README.txt": "read me", "LICENSE": "all rights", "sub/licence.md": "mit"}
    )
    corpus, _ = opened(root, tmp_path / "cache", items="file", length=4096)
    assert texts(corpus) == {PROSE}
    assert texts(opened(root / "README.txt", tmp_path / "cache", length=16)[0]) == {"read m", "e"}


def test_files_without_ending(tmp_path: Path) -> None:
    """As fortunes lie about: texts without ending beside tables of offsets, in a folder of a package."""
    fortunes = {
        f"usr/share/games/{name}": f"A {name} saying.\n%\nAnother\none, {name}.\n" for name in ("art", "work", "law")
    }
    offsets = {f"usr/share/games/{name}.dat": bytes(range(64)) for name in ("art", "work", "law")}
    root = save(
        tmp_path / "set", {**fortunes, **offsets, "usr/share/games/core": b"\x7fELF\0\0\0", "usr/doc/copyright": "(c)"}
    )
    corpus, _ = opened(root, tmp_path / "cache", separator="%", length=64)
    assert texts(corpus) == {f"A {n} saying." for n in ("art", "work", "law")} | {
        f"Another\none, {n}." for n in ("art", "work", "law")
    }
    row = corpus.understood.row("files")
    assert row is not None and row.value.startswith(
        "3 read: without ending; 5 passed over: .dat (3), without ending (2)"
    )
    root = save(tmp_path / "beside", {"a.txt": PROSE, "notes": "not as much"})
    corpus, _ = opened(root, tmp_path / "cache", items="file", length=4096)
    passed = corpus.understood.row("passed over")
    assert texts(corpus) == {PROSE} and passed is not None and passed.change == "--formats none"
    assert texts(opened(root, tmp_path / "cache", items="file", formats="none", length=64)[0]) == {"not as much"}


def test_a_file_of_any_ending_that_a_user_names(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"server.log": PROSE, "story": PROSE})
    for name in ("server.log", "story"):
        corpus, _ = opened(root / name, tmp_path / "cache")
        assert sum(map(len, shown(corpus, corpus.test))) == 82


def test_formats_are_checked() -> None:
    assert Data(formats="txt,md,none").formats == "txt,md,none"
    with pytest.raises(ValidationError, match=r"files ending in .jsnl are not read; did you mean 'jsonl'"):
        Data(formats="jsnl")
    with pytest.raises(ValidationError, match=r"no labels are called 'speakers'; did you mean 'speaker'"):
        Data(labels="speakers")


def test_what_stands_between_separators() -> None:
    assert list(between(["one\ntwo\n%\n\nthree", "\n\n% \nfo", "ur\n%%\n%\n%\n"], "%")) == [
        "one\ntwo",
        "three",
        "four\n%%",
    ]
    assert list(between(["no separator"], "%")) == ["no separator"] and list(between([], "%")) == []


def test_a_line_ends_with_a_line_end_and_nothing_else(tmp_path: Path) -> None:
    """Form feeds, U+0085 and U+2028 are characters of a line, and a line of spaces is an item."""
    content = "a\u2028b\x0cc\x85d\r\nnext\rlast\n\n   \nend"
    corpus, _ = opened(save(tmp_path / "set", {"a.txt": content}), tmp_path / "cache", items="line", length=16)
    assert texts(corpus) == {"a\u2028b\x0cc\x85d", "next", "last", "   ", "end"}
    row = corpus.understood.row("lines")
    assert row is not None and row.value == "5, and 1 empty ones"


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (("train.txt", "test.txt"), "test.txt"),
        (("train.txt", "validation.txt"), "validation.txt"),
        (("corpus_train.txt", "corpus_dev.txt"), "corpus_dev.txt"),
        (("wiki.txt", "train.txt"), None),
        (("train/a.txt", "val/a.txt"), "val/a.txt"),
    ],
)
def test_splits_by_the_names_of_files(names: tuple[str, ...], held: str | None, tmp_path: Path) -> None:
    root = save(tmp_path / "set", {name: f"{name}\n" * 20 for name in names})
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=32)
    train, test = ({*shown(corpus, half)} for half in (corpus.train, corpus.test))
    if held:
        assert train == {*names} - {held} and test == {held}
        corpus, _ = opened(root, tmp_path / "cache", items="line", length=32, splits="none")
        row = corpus.understood.row("splits")
        assert texts(corpus) == {*names} and row is not None and "by a hash of their text" in row.value
    else:
        assert train | test == {*names}
    row = corpus.understood.row("splits")
    assert row is not None and row.data == {"train": len(corpus.train), "test": len(corpus.test)}


def test_a_third_split_is_left_out_and_said(tmp_path: Path) -> None:
    root = save(
        tmp_path / "set", {f"{name}.csv": f"text\n{name} one\n{name} two\n" for name in ("train", "dev", "test")}
    )
    corpus, _ = opened(root, tmp_path / "cache", length=16)
    assert {*shown(corpus, corpus.train)} == {"train one", "train two"}
    assert {*shown(corpus, corpus.test)} == {"test one", "test two"}
    row = corpus.understood.row("splits")
    assert row is not None and row.value == "2 items train, 2 held out: by files train.csv and test.csv"
    notes = [row.value for row in corpus.understood.rows if row.name == "note"]
    assert notes == ["1 files of no split or another one are left out: dev.csv"]
