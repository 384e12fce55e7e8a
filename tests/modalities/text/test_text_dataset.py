"""Examples: running text is covered exactly and cropped evenly, items keep their ends, splits and labels are right."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.text.data import datasets
from modalities.text.data.dataset import crop
from modalities.text.data.datasets import proper_names, tunes
from modalities.text.data.tokens import EOS, SEP
from tests.modalities.text.corpus import opened, rows, save, shown
from toolkit import paths
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError, UsageError

WORDS = [f"word{i}" for i in range(400)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


needs_data = pytest.mark.skipif(not os.environ.get("TOOLKIT_DATA"), reason="TOOLKIT_DATA is not set")


def test_the_bundled_plays(cache: Path) -> None:
    corpus, said = opened("shakespeare", cache)
    folder = paths.shipped_folder("assets") / "shakespeare"
    train, test = ((folder / name).read_text("ascii") for name in ("train.txt", "validation.txt"))
    assert said == [] and corpus.names == () and corpus.packed and corpus.lengths == ()
    assert corpus.vocabulary.known == "".join(sorted(set(train)))
    assert corpus.vocabulary.decode(corpus.train.stream.numpy()) == train
    assert "".join(shown(corpus, corpus.test)) == test  # each token once
    assert len(corpus.test) == -(-len(test) // 128) and corpus.test.lengths is None


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31, 32, 33, 48, 49, 100, 1000])
def test_running_text_is_covered(count: int, tmp_path: Path) -> None:
    """Train rows are 2 L long, begin every L, and the last ends with the text; test rows tile it."""
    text = "".join(chr(0x4E00 + i) for i in range(count))
    root = save(tmp_path / "set", {"train/a.txt": text, "test/a.txt": text})
    corpus, _ = opened(root, tmp_path / "cache", length=16)
    train, test = shown(corpus, corpus.train), shown(corpus, corpus.test)
    assert "".join(test) == text and all(len(row) == 16 for row in test[:-1])
    assert train[-1] == text[-32:] and {len(row) for row in train} == {min(32, count)}
    assert all(row == text[16 * i : 16 * i + 32] for i, row in enumerate(train[:-1]))
    assert len(train) == max(1, -(-(count - 16) // 16))
    windows = {row[i : i + 16] for row in train for i in range(max(1, len(row) - 15))}
    assert windows == {text[i : i + 16] for i in range(max(1, count - 15))}


def test_crops_begin_anywhere() -> None:
    rows = torch.arange(1, 33).repeat(17_000, 1)
    got = crop(rows, Draws(0, range(len(rows))))
    assert got.shape == (17_000, 16) and torch.equal(got, got[:, :1] + torch.arange(16))
    counts = np.bincount(got[:, 0].numpy())[1:]
    assert len(counts) == 17 and np.abs(counts - 1000).max() < 130  # four standard deviations
    short = torch.zeros(2000, 32, dtype=torch.long)
    short[:, :20] = torch.arange(1, 21)
    assert Counter(crop(short, Draws(0, range(len(short))))[:, 0].tolist()).keys() == set(range(1, 6))
    short[:, 10:] = 0
    assert torch.equal(crop(short, Draws(0, range(len(short)))), short[:, :16])


def test_documents_are_packed_with_ends_between_them(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"a.txt": "abcdefghij", "b.txt": "klmnopqrst"})
    corpus, _ = opened(root, tmp_path / "cache", length=16, test=0.2)
    known = corpus.vocabulary
    assert rows(corpus.train) == [[*known.encode("abcdefgh"), EOS, *known.encode("klmnopqr")]]
    assert rows(corpus.test) == [[*known.encode("ij"), EOS, *known.encode("st")]]
    assert known.known == "abcdefghklmnopqr"  # the held-out characters are escapes


def test_lines_are_items(tmp_path: Path) -> None:
    long = "x" * 15, "y" * 16, "z" * 40
    root = save(tmp_path / "set", {"train/a.txt": "\n".join(["ab", "", *long, "c"]), "test/b.txt": "ab\n"})
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=16)
    known = corpus.vocabulary
    items = [[*known.encode(text), EOS] for text in ("ab", *long, "c")]
    expected = [items[0], items[1], items[2][:16], items[3][:16], items[3][16:32], items[3][32:], items[4]]
    assert rows(corpus.train) == expected and rows(corpus.test) == [items[0]]
    assert corpus.train.lengths is not None and corpus.train.lengths.tolist() == [len(row) for row in expected]
    assert not corpus.packed and len(corpus.lengths) == 101
    assert (corpus.lengths[0], corpus.lengths[50], corpus.lengths[-1]) == (2.0, 16.0, 16.0)


def test_items_are_held_out_by_a_hash(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"a.txt": "\n".join(WORDS * 2)})
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=16)
    train, test = shown(corpus, corpus.train), shown(corpus, corpus.test)
    assert sorted(train + test) == sorted(WORDS * 2) and not set(train) & set(test)
    assert 800 * 0.02 < len(test) < 800 * 0.09
    save(root, {"b.txt": "\n".join(f"new{i}" for i in range(100))})
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=16)
    assert set(test) <= set(shown(corpus, corpus.test)) and set(train) <= set(shown(corpus, corpus.train))
    few = save(tmp_path / "few", {"a.txt": "a\nb\nb"})
    corpus, _ = opened(few, tmp_path / "cache", items="line", test=0.001)
    assert sorted(shown(corpus, corpus.train) + shown(corpus, corpus.test)) == ["a", "b", "b"]
    assert len(corpus.train) and len(corpus.test)


def test_whole_files_are_items(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {f"{i}.txt": f"text\nnumber {i}" for i in range(40)})
    corpus, _ = opened(root, tmp_path / "cache", items="file", length=16)
    assert sorted(shown(corpus, corpus.train) + shown(corpus, corpus.test)) == sorted(
        f"text\nnumber {i}" for i in range(40)
    )
    assert all(row[-1] == EOS for row in rows(corpus.train)) and len(corpus.test)


def test_pairs(tmp_path: Path) -> None:
    table = "de,en\n" + "".join(f"haus {i},house {i}\nhaus {i},home {i}\n" for i in range(50)) + f"lang,{'x' * 40}\n"
    root = save(tmp_path / "set", {"a.csv": table, "b.jsonl": '{"en": "tree", "de": "baum"}\n'})
    corpus, _ = opened(root, tmp_path / "cache", columns="de,en", length=32)
    known = corpus.vocabulary
    batch = corpus.train.take(torch.tensor([0, len(corpus.train) - 1]))
    told, lengths = batch.cond["given"].tolist(), batch.cond["length"].tolist()
    expected = [("haus 0", None), ("baum", "tree")]
    for row, given, length, (source, target) in zip(batch.raw.tolist(), told, lengths, expected):
        assert row[:given] == [*known.encode(source), SEP]
        assert target is None or row[given:length] == [*known.encode(target), EOS]
        assert row[length - 1] == EOS and not any(row[length:])
    sources = [
        {text.split("h")[1] for text in shown(corpus, half) if "h" in text} for half in (corpus.train, corpus.test)
    ]
    assert sources[1] and not sources[0] & sources[1]  # all targets of a source are on one side
    longer = corpus.understood.row("longer items")
    assert longer is not None and longer.value.startswith(
        "1 of 102 items have more than 32 tokens and are left out; 95%"
    )
    assert longer.change == "--length 64" and corpus.rejected[-1].startswith(longer.value)
    assert corpus.lengths[0] == 5.0 and corpus.lengths[-1] == 9.0  # "tree" and "house 10", with EOS
    assert opened(root, tmp_path / "cache", columns="en", length=32)[0].train.given is None


def test_labels_by_folder_and_file(tmp_path: Path) -> None:
    contents = {"b/1.txt": "b" * 60, "b/2.txt": "c" * 60, "a/1.txt": "a" * 200}
    root = save(tmp_path / "set", contents)
    for labels, names in {"folder": ("a", "b"), "file": ("a/1.txt", "b/1.txt", "b/2.txt")}.items():
        corpus, said = opened(root, tmp_path / "cache", labels=labels, length=16)
        assert corpus.names == names and said == []
        for split in (corpus.train, corpus.test):
            assert split.labels is not None
            for text, label in zip(shown(corpus, split), split.labels.tolist()):
                assert set(text) <= set("".join(t for name, t in contents.items() if name.startswith(names[label])))
    corpus, _ = opened(save(root, {"top.txt": "x" * 50}), tmp_path / "cache", labels="folder")
    assert corpus.names == ("a", "b") and "x" not in corpus.vocabulary.known  # a stray file is left out, and it is said
    assert any("top.txt" in row.value for row in corpus.understood.rows if row.name == "note")
    alone, _ = opened(root / "a", tmp_path / "cache", labels="folder")
    labels = alone.understood.row("labels")
    assert alone.names == () and labels is not None and labels.warning
    assert labels.value == "none: --labels folder does not tell all texts apart"
    assert "label" not in alone.train.take(torch.tensor([0])).cond


def test_labels_by_speaker(tmp_path: Path) -> None:
    speech = "ROMEO:\nI say {i},\nand more {i}.\n\n[Exit.]\n\nLady Capulet.\nShe says {i}.\n\n"
    play = "A PLAY\n\n" + "".join(speech.format(i=i) for i in range(30)) + "\nTHIRD:\nOnly once.\n\nROMEO:\n"
    corpus, _ = opened(save(tmp_path / "set", {"a.txt": play}), tmp_path / "cache", labels="speaker", length=64)
    assert corpus.names == ("Lady Capulet", "ROMEO", "other") and not corpus.packed
    texts = shown(corpus, corpus.train) + shown(corpus, corpus.test)
    assert corpus.train.labels is not None and corpus.test.labels is not None
    labels = corpus.train.labels.tolist() + corpus.test.labels.tolist()
    expected = {f"I say {i},\nand more {i}.": 1 for i in range(30)} | {f"She says {i}.": 0 for i in range(30)}
    assert dict(zip(texts, labels)) == expected | {"Only once.": 2} and len(texts) == 61


def test_a_speaker_may_be_called_other(tmp_path: Path) -> None:
    speech = "OTHER:\nI say {i}.\n\nLEAR:\nHe says {i}.\n\n"
    play = "".join(speech.format(i=i) for i in range(30)) + "\nTHIRD:\nOnly once.\n"
    corpus, _ = opened(save(tmp_path / "set", {"a.txt": play}), tmp_path / "cache", labels="speaker", length=64)
    assert corpus.names == ("LEAR", "OTHER", "others")
    texts = shown(corpus, corpus.train) + shown(corpus, corpus.test)
    assert corpus.train.labels is not None and corpus.test.labels is not None
    found = dict(zip(texts, [*corpus.train.labels.tolist(), *corpus.test.labels.tolist()]))
    assert found["I say 7."] == 1 and found["He says 7."] == 0 and found["Only once."] == 2


def test_proper_names(cache: Path) -> None:
    texts = ["The king saw Rome, and ROME saw The King. LEAR", "Rome's the place; Ophelia wept. We Wept"]
    assert proper_names(texts) == ["Ophelia", "Rome", "We"]
    corpus, _ = opened("names", cache, length=16)
    names = shown(corpus, corpus.train) + shown(corpus, corpus.test)
    assert {"Hamlet", "Ophelia", "Rosalind"} <= set(names) and not {"The", "King", "LEAR"} & set(names)
    assert len(names) == len(set(names)) > 500 and 0.02 < len(corpus.test) / len(names) < 0.09


def test_names_backwards_are_pairs(cache: Path) -> None:
    corpus, _ = opened("backwards", cache, length=48)
    for stream in (corpus.train, corpus.test):
        batch = stream.take(torch.arange(20))
        told, lengths = batch.cond["given"].tolist(), batch.cond["length"].tolist()
        for row, given, length in zip(batch.raw.tolist(), told, lengths):
            source, target = row[: given - 1], row[given : length - 1]
            assert row[given - 1] == SEP and len(source) > 1 and source[::-1] == target


def test_tunes_keep_metre_length_key_and_music() -> None:
    book = (
        "% a book\nA: nobody\n\nX:1\nT:First\nM: 6/8\nL:1/8\nR:jig\nK:G\n|:G|B2e dBG| % comment\nw:la la\nA:|\n"
        "X:2\nT:No music\nK:D\n\nX: 3\nK:C\nM:3/4\nabc|\n\nabc| no tune\n"
    )
    assert list(tunes([book[:30], book[30:]])) == ["M:6/8\nL:1/8\nK:G\n|:G|B2e dBG|\nA:|", "K:C\nM:3/4\nabc|"]


def test_folk_tunes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(DataError, match=r"pip install diffusion-toolkit\[abc\]$"):
            opened("abc", cache)
    if importlib.util.find_spec("music21") is None:
        pytest.skip("music21 is not installed")
    source = datasets.find(datasets.Data(source="abc"))
    source.listing.entries[:] = source.listing.entries[:2]  # the whole of it takes seconds
    monkeypatch.setattr(datasets, "find", lambda options: source)
    corpus, _ = opened("abc", cache / "few", length=512)
    texts = shown(corpus, corpus.train)
    assert len(texts) > 10 and all("K:" in text and "\nT:" not in text and "X:" not in text for text in texts)


@needs_data
def test_tinyshakespeare_is_cut_as_in_nanogpt(cache: Path) -> None:
    text = (paths.data_root() / "tinyshakespeare" / "input.txt").read_text("utf-8")
    corpus, _ = opened("tinyshakespeare", cache)
    assert corpus.vocabulary.decode(corpus.train.stream.numpy()) == text[: int(0.9 * len(text))]
    assert "".join(shown(corpus, corpus.test)) == text[int(0.9 * len(text)) :]
    assert len(corpus.vocabulary.known) == 65


@needs_data
def test_e2e(cache: Path) -> None:
    corpus, _ = opened("e2e", cache, length=512)
    assert (len(corpus.train), len(corpus.test)) == (4671, 4692)  # two of the former are longer
    first = corpus.train.take(torch.tensor([0]))
    given = int(first.cond["given"])
    row = first.raw[0, : int(first.cond["length"])].tolist()
    assert corpus.vocabulary.decode(row[:given]) == "name[Alimentum], area[city centre], familyFriendly[no]"
    assert corpus.vocabulary.decode(row[given:]).startswith("There is a place in the city centre, Alimentum")


def test_data_sets_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path))
    for name in ("tinyshakespeare", "e2e"):
        with pytest.raises(DataError, match=r"cannot read .* \(No such file or directory\); put .* TOOLKIT_DATA$"):
            opened(name, tmp_path)
    with pytest.raises(UsageError, match="byte pairs can be 257 to"):
        opened("shakespeare", tmp_path, tokens="bpe:3")
