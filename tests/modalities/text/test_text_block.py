"""The account of texts before training on them: counts by hand-made files, and what is proposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modalities.text import Text
from modalities.text.options import Data, Model
from tests.modalities.text.corpus import opened, save
from toolkit.data.dataset import Splits
from toolkit.data.understood import Understood


def block(source: Path | str, tmp_path: Path, **options: Any) -> Understood:
    return opened(source, tmp_path / "cache", **options)[0].understood


def value(found: Understood, name: str) -> str:
    row = found.row(name)
    assert row is not None, name
    return row.value


def test_running_text(tmp_path: Path) -> None:
    paragraph = "It was a long and rather cold winter, and nobody in the whole of the town remembered a colder one.\n"
    contents: dict[str, str | bytes] = {
        "a.txt": paragraph * 3 + "\n" + "é\r\n", "b/b.txt": "€" * 4, "c.txt": "", "d.dat": "x",
    }  # fmt: skip
    found = block(save(tmp_path / "set", contents), tmp_path)
    size = 3 * len(paragraph) + 1 + 2 + 4
    assert value(found, "files") == (
        "2 read: .txt; 1 passed over: .dat (.txt, .md, .rst, .jsonl, .json, .csv and .tsv are read)"
    )
    assert value(found, "characters").startswith(f"{size}, {len(set(paragraph)) + 2} distinct, ")
    assert value(found, "lines") == "5, and 1 empty ones"
    assert value(found, "length of lines") == "1 to 98 characters, half up to 98, 95% up to 98"
    assert value(found, "copies") == "2 of 5 lines occur again (40.0%)"
    assert value(found, "left out") == "1: c.txt: empty file"
    assert value(found, "mended") == "1 line ends other than LF, read as LF"
    assert value(found, "splits") == f"{size - 16} characters train, 16 held out: the last 5% of each text"
    assert found.proposals == {"data.tokens": "char", "data.length": 128, "model.preset": "smoke"}
    names = [row.name for row in found.rows]
    assert names == [
        "files", "splits", "labels", "format", "encodings", "characters", "entropy of characters", "lines",
        "length of lines", "copies", "tokens", "mended", "left out",
    ]  # fmt: skip


def test_entropy_of_equal_characters(tmp_path: Path) -> None:
    found = block(save(tmp_path / "set", {"a.txt": "abcdefgh" * 9}), tmp_path)
    assert value(found, "entropy of characters").startswith("3.00 bits")
    one = block(save(tmp_path / "one", {"a.txt": "a" * 99}), tmp_path)
    assert value(one, "entropy of characters").startswith("0.00 bits")


def test_lists_folders_and_separators(tmp_path: Path) -> None:
    names = save(tmp_path / "names", {f"{kind}/list.txt": "\n".join(f"name{i}" for i in range(99)) for kind in "xy"})
    found = block(names, tmp_path)
    assert found.proposals == {
        "data.tokens": "char", "data.length": 16, "data.items": "line", "model.preset": "smoke",
    }  # fmt: skip
    row = found.row("format")
    assert row is not None and row.change == "--items line" and "95% of the lines have up to 6 characters" in row.value
    labels = block(names, tmp_path, labels="folder").row("labels")
    assert labels is not None and labels.value == "2 by folder: x (1), y (1)" and labels.change == "--labels none"
    sayings = block(save(tmp_path / "sayings", {"a.txt": "one saying\n%\n" * 30}), tmp_path)
    row = sayings.row("format")
    assert row is not None and row.change == "--separator %" and "30 lines say % and nothing else" in row.value
    assert sayings.proposals["data.separator"] == "%" and "data.items" not in sayings.proposals


def test_a_play(tmp_path: Path) -> None:
    play = "".join(f"A:\nHello there, number {i}.\n\nB:\nAnd hello to you.\n\n" for i in range(25))
    row = block(save(tmp_path / "play", {"a.txt": play}), tmp_path).row("labels")
    assert row is not None and row.change == "--labels speaker"
    assert row.value == "none; also possible: speakers, as in a play: 2, and 2 with 20 speeches or more"
    found = block(tmp_path / "play", tmp_path, labels="speaker", length=32)
    assert value(found, "labels") == "2 by speaker: A (25), B (25)" and value(found, "items") == "50"
    assert value(found, "format") == "items: each speech of a play"


def test_copies_across_the_splits(tmp_path: Path) -> None:
    train = "".join(f"row {i}\n" for i in range(50))
    root = save(tmp_path / "set", {"train.txt": train, "test.txt": "row 3\nrow 7\nother\n"})
    for items in ("line", "none"):
        row = block(root, tmp_path, items=items, length=16).row("copies across splits")
        assert row is not None and row.warning and row.data == 2 and row.change == "--splits none"
        assert row.value.startswith("2 of 3 held-out lines are in the training split too")


def test_pairs_and_many_characters(tmp_path: Path) -> None:
    table = "mr\tref\n" + "".join(f"{'s' * 40}{i}\t{'t' * 60}\n" for i in range(10))
    found = block(save(tmp_path / "pairs", {"a.tsv": table}) / "a.tsv", tmp_path)
    assert found.proposals["data.length"] == 128 and value(found, "items") == "10"
    assert value(found, "characters").startswith("1,010, ")
    assert value(found, "length of items").startswith("101 to 101")
    assert value(found, "format") == "items: each row; a source is given, its target is written"
    many = "".join(chr(0x4E00 + i) for i in range(1500))
    found = block(save(tmp_path / "many", {"a.jsonl": '{"text": "%s"}' % many[:1200]}), tmp_path)  # noqa: UP031
    assert found.proposals["data.tokens"] == "byte" and found.proposals["data.length"] == 4096
    row = found.row("tokens")
    assert row is not None and row.change == "--tokens byte"


def test_tokens_that_the_text_does_not_give(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"a.txt": "hello\nworld\n" * 3})
    row = block(root, tmp_path, tokens="bpe:5000").row("tokens")
    assert row is not None and row.warning
    size = int(row.value.split()[0])
    assert 256 < size < 300 and row.value == f"{size} of 5,000 asked: the text has no more pairs"
    assert row.change == f"--tokens bpe:{size}"
    again = block(root, tmp_path, tokens=f"bpe:{size}").row("tokens")
    assert again is not None and not again.warning and again.value == f"{size} byte pairs"


def test_longer_items_are_cut_or_left_out_and_said(tmp_path: Path) -> None:
    lines = "\n".join(["short"] * 60 + [f"{i:02}" + "x" * 38 for i in range(40)])
    root = save(tmp_path / "set", {"a.txt": lines})
    row = block(root, tmp_path, items="line", length=16).row("longer items")
    assert row is not None and row.warning and row.change == "--length 64" and row.data == 40
    assert row.value == (
        "40 of 100 items have more than 16 tokens and are cut into several; 95% have up to 41, the longest 41"
    )
    assert block(root, tmp_path, items="line", length=64).row("longer items") is None
    assert block(root, tmp_path, length=16).row("longer items") is None


def test_the_block_comes_with_the_splits_and_its_proposals_differ_from_what_is(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"a.txt": "name\n" * 99})

    def loaded(**options: Any) -> Splits:
        return Text(Data(source=str(root), **options), Model(preset="smoke")).load(tmp_path / "cache", print)

    assert loaded().understood.proposals == {"data.length": 16, "data.items": "line"}
    found = loaded(items="line", length=16)
    assert found.understood.proposals == {} and found.understood == loaded(items="line", length=16).understood
    assert found.facts.identity == loaded(items="line", length=32).facts.identity != loaded().facts.identity
    names = Text(Data(source="names"), Model()).load(tmp_path / "cache", print).understood
    assert value(names, "splits").endswith("by a hash of their text") and names.row("characters") is not None
