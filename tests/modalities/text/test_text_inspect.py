"""What `toolkit data inspect` counts in texts, by hand-made files, and what it proposes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modalities.text.inspect import survey
from modalities.text.options import Data
from tests.modalities.text.corpus import save
from toolkit.errors import DataError


def test_running_text(tmp_path: Path) -> None:
    paragraph = "It was a long and rather cold winter, and nobody in the whole of the town remembered a colder one.\n"
    root = save(
        tmp_path / "set", {"a.txt": paragraph * 3 + "\n" + "é\r\n", "b/b.txt": "€" * 4, "c.txt": "", "d.md": "x"}
    )
    found = survey(root, lambda _: None)
    rows = dict(found.rows())
    size = 3 * len(paragraph) + 1 + 2 + 4
    assert rows["files"] == f"2: .txt (2); {3 * len(paragraph) + 1 + 4 + 12} bytes"
    assert rows["characters"].startswith(f"{size}, {len(set(paragraph)) + 2} distinct, ")
    assert rows["lines"] == "5, and 1 empty ones"
    assert rows["length of lines"] == "1 to 98 characters, half up to 98, 95% up to 98"
    assert rows["lines that occur again"] == "2 (40.0%)"
    assert rows["left out"] == "c.txt: empty file" and rows["mended"] == "a.txt: 1 line ends other than LF, read as LF"
    assert found.changes() == {
        "data.source": str(root), "data.tokens": "char", "data.length": 128, "model.preset": "smoke"}  # fmt: skip
    assert found.command == f"toolkit train --modality text --data {root} --tokens char --length 128 --preset smoke"


def test_entropy_of_equal_characters(tmp_path: Path) -> None:
    found = survey(save(tmp_path, {"a.txt": "abcdefgh" * 9}), lambda _: None)
    assert dict(found.rows())["entropy of characters"].startswith("3.00 bits")


def test_lists_labels_and_plays(tmp_path: Path) -> None:
    names = save(tmp_path / "names", {f"{kind}/list.txt": "\n".join(f"name{i}" for i in range(99)) for kind in "xy"})
    found = survey(names, lambda _: None)
    assert (found.items, found.length, found.labels) == ("line", 16, "folder")
    assert found.changes()["data.items"] == "line" and found.changes()["data.labels"] == "folder"
    play = "".join(f"A:\nHello there, number {i}.\n\nB:\nAnd hello to you.\n\n" for i in range(25))
    rows = dict(survey(save(tmp_path / "play", {"a.txt": play}), lambda _: None).rows())
    assert rows["labels"] == "none by folders; 2 speakers with 50 speeches"
    assert rows["proposed labels"] == "none; or speaker, and each speech is an item"


def test_pairs_and_many_characters(tmp_path: Path) -> None:
    table = "mr\tref\n" + "".join(f"{'s' * 40}{i}\t{'t' * 60}\n" for i in range(10))
    found = survey(save(tmp_path / "pairs", {"a.tsv": table}) / "a.tsv", lambda _: None)
    assert found.paired and found.length == 128 and dict(found.rows())["rows"] == "10"
    assert found.characters == 10 * 101 and dict(found.rows())["length of rows"].startswith("101 to 101")
    many = "".join(chr(0x4E00 + i) for i in range(1500))
    found = survey(save(tmp_path / "many", {"a.jsonl": '{"text": "%s"}' % many[:1200]}), lambda _: None)  # noqa: UP031
    assert found.tokens == "byte" and found.length == 4096


def test_the_proposals_are_options(tmp_path: Path) -> None:
    found = survey(save(tmp_path, {"a.txt": "some text"}), lambda _: None)
    asked = {key.split(".")[1]: value for key, value in found.changes().items() if key.startswith("data.")}
    assert Data(**asked).length == found.length


@pytest.mark.parametrize(
    "contents", [{"a.txt": ""}, {"a.txt": b"\xff" * 9}, {"a.csv": "a,b,c\n1,2,3\n"}, {"a.md": "x"}]
)
def test_nothing_readable_is_one_clear_line(contents: dict[str, str | bytes], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no (readable )?text in") as caught:
        survey(save(tmp_path, contents), lambda _: None)
    assert "\n" not in str(caught.value)
