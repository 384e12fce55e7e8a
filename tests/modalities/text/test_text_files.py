"""Hostile files: what is odd is counted and mended or left out, long lines take little memory, nothing crashes."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalities.text.data import text_files
from modalities.text.data.text_files import Problems, blocks, lines
from tests.modalities.text.corpus import opened, save, shown
from toolkit.errors import DataError


@given(parts=st.lists(st.text("ab\n", max_size=9)), longest=st.integers(1, 5))
def test_lines_in_pieces(parts: list[str], longest: int) -> None:
    expected = "".join(parts).split("\n")
    if not expected[-1]:
        expected.pop()
    whole, sizes = [""], []
    for piece, ends in lines(parts, longest):
        whole[-1] += piece
        sizes.append(len(piece))
        if ends:
            whole.append("")
        else:
            assert len(piece) == longest
    assert whole == [*expected, ""] and max(sizes, default=0) <= longest


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_blocks_join_to_the_text(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", max(size, 3))  # a byte order mark is three bytes
    text = "é€😀 a\nb\n\nc\n"
    for content in (
        b"\xef\xbb\xbf" + "é€😀\0 a\r\nb\r\rc\n".encode(),
        "é€😀\0 a\r\nb\r\rc\r".encode(),
        "\ufeffé€😀\0 a\r\nb\n\r\nc\n".encode("utf-16-le"),
        "\ufeffé€😀\0 a\rb\r\n\rc\n".encode("utf-16-be"),
    ):
        path, problems = tmp_path / "a.txt", Problems()
        path.write_bytes(content)
        assert "".join(blocks(path, "a", problems)) == text
        mended = [line for line in problems.notes if "NUL" in line]
        assert mended == ["a: 1 NUL characters, dropped"] and any("line ends" in line for line in problems.notes)


def test_odd_text_is_mended_and_counted(tmp_path: Path) -> None:
    root = save(
        tmp_path / "set",
        {
            "bom.txt": b"\xef\xbb\xbfbegin\n" + b"x" * 50,
            "bytes.txt": "näht, öfter, größer, schön und süß\n".encode() * 3 + b"but \xff\xfe\xfa\n" * 2,
            "crlf.txt": b"one\r\ntwo\rthree\r\n" + b"y" * 50,
            "nul.txt": b"nothing\0here but text and text" + b"z" * 30,
            "empty.txt": b"",
            "mark.txt": b"\xef\xbb\xbf",
            "picture.txt": b"\x89PNG\r\n\x1a\n" + bytes(range(128, 256)) * 9,
            "wide.txt": "wide text, sixteen bits each".encode("utf-16-le"),
            "cut.txt": "half of a sign: é".encode()[:-1] + b"",
            "readme.md": b"not read",
            "rows.jsonl": b'{"text": "not read"}',
        },
    )
    os.symlink(root / "gone.txt", root / "dangling.txt")
    corpus, _ = opened(root, tmp_path / "cache", length=16)
    assert list(corpus.rejected) == [
        "dangling.txt: broken link",
        "empty.txt: empty file",
        "picture.txt: not text but a PNG picture",
    ]
    mended = corpus.understood.row("mended")
    assert mended is not None and mended.warning and mended.data == {
        "bytes that are not utf-8, read as U+FFFD": 7, "line ends other than LF, read as LF": 3, "NUL characters, dropped": 1,
    }  # fmt: skip
    encodings = corpus.understood.row("encodings")
    assert encodings is not None and encodings.data == {"utf-8": 4, "utf-8 with mark": 2, "utf-16-le": 1}
    text = corpus.vocabulary.decode(corpus.train._tokens)
    assert "one\ntwo\nthree\n" in text and "\r" not in text and "\ufeff" not in text and "nothinghere" in text
    assert "wide text, sixteen bits" in text and "\0" not in text and "not read" not in text


def test_odd_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    json_rows = [
        b'{"text": "first row"}', b'{"text": "second\\r\\nrow", "id": 7}', b"", b"not json", b"[1]", b'"text"', b"null",
        b'{"text": 5}', b'{"other": "x"}', b'{"text": ""}', b'{"text": "\\ud800"}', b'{"text": "\\u0000"}',
        b'{"text": "cut', b"[" * 100_000, b"1" * 5000, b'{"text": "\xff bad byte"}', b'{"text": "last"}',
    ]  # fmt: skip
    root = save(
        tmp_path / "set",
        {
            "a.jsonl": b"\xef\xbb\xbf" + b"\r\n".join(json_rows),
            "b.csv": b'text\none\n"two, with ""quotes""\nand a line"\nthree,four\n\n""\n"no end\n' + b"w\n" * 70_000,
            "c.csv": b"id,title,body\n1,2,3\n",
            "d.tsv": b'text\n"quoted\nplain\n',
        },
    )
    corpus, _ = opened(root, tmp_path / "cache", length=32, test=0.01)
    texts = {*shown(corpus, corpus.train), *shown(corpus, corpus.test)}
    expected = {"first row", "second\nrow", "\ufffd bad byte", "last", "one", 'two, with "quotes"\nand a line'}
    assert texts == {*expected, '"quoted', "plain", '"no end', "w"}
    assert list(corpus.rejected) == [
        "a.jsonl: 1 rows that are a list, not an object, left out",
        "a.jsonl: 1 rows that are a string, not an object, left out",
        "a.jsonl: 1 rows that are null, not an object, left out",
        "a.jsonl: 1 rows whose field 'text' is a number, left out",
        "a.jsonl: 1 rows with half of a surrogate pair, left out",
        "a.jsonl: 1 rows without field 'text', left out",
        "a.jsonl: 2 rows without text, left out",
        "a.jsonl: 4 rows that are not JSON, left out",
        "b.csv: 1 rows that are not 1 columns, left out",
        "b.csv: 1 rows without text, left out",
        "c.csv: no column holds text; it has id, title, body; say which with --columns",
    ]
    lost = corpus.understood.row("rows left out")
    assert lost is not None and lost.warning and sum(dict(lost.data).values()) == 14  # type: ignore[call-overload]


def test_rows_too_long_to_parse_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST_ROW", 30)
    content = "\n".join(json.dumps({"text": text}) for text in ("x" * 99, "short", "y" * 50))
    root = save(tmp_path / "set", {"a.jsonl": content})
    corpus, _ = opened(root, tmp_path / "cache")
    assert shown(corpus, corpus.train) == ["short"] and len(corpus.test) == 0
    assert [line for line in corpus.rejected if line.startswith("a.jsonl: 2 rows longer than")] == list(corpus.rejected)


@pytest.mark.parametrize(
    ("contents", "options", "message"),
    [
        ({}, {}, r"no text in .*: it is empty"),
        (
            {"a.dat": "text"},
            {},
            r"no text in .*: only other files \(1 \.dat\); \.txt, \.md, \.rst, \.jsonl, .* are read",
        ),
        ({"a.txt": ""}, {}, r"no text to train on in .*: a\.txt: empty file$"),
        ({"a.txt": b"\xef\xbb\xbf"}, {}, r"no text to train on in .*: all of it is empty"),
        ({"a.txt": b"\xff" * 99, "b.txt": ""}, {}, r"no text to train on in .*: a\.txt: not text: .* \(and 1 more\)$"),
        ({"a.txt": "\n\n\n"}, {"items": "line"}, r"no text to train on in .*: all of it is empty"),
        ({"a.jsonl": "[]\n"}, {}, r"no text to train on in .*: a\.jsonl: 1 rows that are a list, not an object"),
        ({"a.csv": "a,b\n"}, {}, r"no text to train on in .*: all of it is empty"),
        ({"a.csv": "a,b\nx,y\n"}, {"columns": "a,c"}, r"no text to train on .*: a\.csv: no column 'c'; it has a, b$"),
        ({"a.csv": f"a,b\nx,{'y' * 99}\n"}, {"length": 16}, r"no text .*: 1 of 1 items have more than 16 tokens"),
        ({"a.txt": "no play\n"}, {"labels": "speaker"}, r"no text to train on in .*: all of it is empty"),
    ],
)
def test_nothing_to_train_on_is_one_clear_line(
    contents: dict[str, str | bytes], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=message) as caught:
        opened(save(tmp_path / "set", contents), tmp_path / "cache", **options)
    assert "\n" not in str(caught.value)
    assert "length" in options or not list((tmp_path / "cache").rglob("*.npy"))


def test_no_such_source(tmp_path: Path) -> None:
    for name in ("gone", str(tmp_path / "gone.txt"), "x" * 5000, "nul\0", str(tmp_path / "a.doc")):
        (tmp_path / "a.doc").write_bytes(b"\xd0\xcf\x11\xe0 not text")
        with pytest.raises(DataError) as caught:
            opened(name, tmp_path / "cache")
        assert "\n" not in str(caught.value)


def one_line(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(b"one line without end " * 47_663 + b"\xff")
    return path


def peaks(path: Path, cache: Path, *ways: tuple[str, str]) -> Iterator[tuple[str, float]]:
    """Peak of the memory allocated while reading, in sizes of the file, by items and tokens."""
    for items, tokens in ways:
        tracemalloc.start()
        corpus, _ = opened(path, cache, items=items, tokens=tokens, length=4096)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert corpus.train.sizes.sum() + corpus.test.sizes.sum() > path.stat().st_size * 0.99
        yield f"{items} {tokens}", peak / path.stat().st_size


def test_a_long_line_takes_little_memory(tmp_path: Path) -> None:
    opened(save(tmp_path / "warm", {"a.txt": "imports are not counted"}), tmp_path / "cache")
    ways = ("none", "char"), ("line", "char"), ("file", "byte")
    found = dict(peaks(one_line(tmp_path / "long.txt", 5), tmp_path / "cache", *ways))
    assert max(found.values()) < 2, found


@pytest.mark.slow
def test_a_line_of_100_megabytes_takes_little_memory(tmp_path: Path) -> None:
    found = dict(peaks(one_line(tmp_path / "long.txt", 100), tmp_path / "cache", ("none", "char"), ("line", "byte")))
    assert max(found.values()) < 0.3, found
