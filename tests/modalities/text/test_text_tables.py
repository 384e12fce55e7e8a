"""Tables and JSON as people have them: the texts and labels that reach the network, and what is said about guesses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modalities.text.data.dataset import Corpus
from modalities.text.data.tokens import SEP
from tests.modalities.text.corpus import opened, rows, save
from toolkit.errors import DataError

PAIRS = [(f"give {'abc'[i % 3]} and {i}", f"the number {i} follows {'xyz'[i % 3]}") for i in range(200)]


def pairs(corpus: Corpus) -> set[tuple[str, ...]]:
    """The (source, target) of each example, or (text,)."""
    known = corpus.vocabulary
    found = set()
    for row in [*rows(corpus.train), *rows(corpus.test)]:
        cut = row.index(SEP) + 1 if SEP in row else 0
        target = known.decode(row[cut:])
        found.add((known.decode(row[:cut]), target) if cut else (target,))
    return found


def read(content: str | bytes, name: str, tmp_path: Path, **options: Any) -> Corpus:
    root = save(tmp_path / "set", {name: content})
    return opened(root / name, tmp_path / "cache", length=128, **options)[0]


def value(corpus: Corpus, name: str) -> str:
    row = corpus.understood.row(name)
    assert row is not None, name
    return f"{row.value} | {row.change}"


def table(mark: str, header: str = "src{}trg\n", quote: str = "", end: str = "\n") -> str:
    body = "".join(f"{quote}{a}{quote}{mark}{quote}{b}{quote}{end}" for a, b in PAIRS)
    return header.format(mark).replace("\n", end) + body


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [True, False])
def test_what_divides_columns_is_found(ending: str, mark: str, header: bool, tmp_path: Path) -> None:
    if ending == ".txt" and mark != "\t":
        pytest.skip("running text may hold anything else")
    content = table(mark, "src{}trg\n" if header else "")
    corpus = read(content, f"a{ending}", tmp_path)
    assert pairs(corpus) == set(PAIRS)
    assert value(corpus, "dialects").startswith(
        f"2 columns divided by {'tabs' if mark == chr(9) else mark} (1) | --delimit"
    )
    said = (
        "the first row: src, trg (1) | --header no"
        if header
        else "none, the columns are called 1, 2 (1) | --header yes"
    )
    assert value(corpus, "header") == said


def test_a_user_may_say_how_a_table_is_written(tmp_path: Path) -> None:
    content = table(",", "one thing{}another\n")
    assert pairs(read(content, "a.csv", tmp_path, header="no")) == {*PAIRS, ("one thing", "another")}
    assert pairs(read(content, "a.csv", tmp_path, header="yes")) == set(PAIRS)
    assert pairs(read(table(";", ""), "a.csv", tmp_path, columns="2")) == {(b,) for _, b in PAIRS}
    assert pairs(read(table(";", ""), "a.csv", tmp_path, columns="2,1")) == {(b, a) for a, b in PAIRS}
    assert pairs(read(table(";"), "a.csv", tmp_path, delimiter=",")) == {(f"{a};{b}",) for a, b in PAIRS}
    assert pairs(read(table("\t", quote='"'), "a.tsv", tmp_path, quotes="no")) == {
        (f'"{a}"', f'"{b}"') for a, b in PAIRS
    }


def test_quotes(tmp_path: Path) -> None:
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        content = f"src{mark}trg\n" + "".join(f'"{a} ""x"""{mark}"{b}\nand more"\n' for a, b in PAIRS)
        corpus = read(content, name, tmp_path)
        assert pairs(corpus) == {(f'{a} "x"', f"{b}\nand more") for a, b in PAIRS}
        assert value(corpus, "quotes") == "enclose fields (1) | --quotes no"
    content = "src\ttrg\n" + "".join(f'"{a}, he said\t{b}" is all\n' for a, b in PAIRS)
    corpus = read(content, "b.tsv", tmp_path)
    assert pairs(corpus) == {(f'"{a}, he said', f'{b}" is all') for a, b in PAIRS}
    assert value(corpus, "quotes") == "are text (1) | --quotes yes"


@pytest.mark.parametrize("place", [0, 50, 199])
def test_a_quote_that_does_not_end_costs_no_row(place: int, tmp_path: Path) -> None:
    lines = [f"{a},{b}" for a, b in PAIRS]
    lines[place] = '"' + lines[place]
    corpus = read("src,trg\n" + "\n".join(lines), "a.csv", tmp_path)
    wanted = set(PAIRS) - {PAIRS[place]} | {('"' + PAIRS[place][0], PAIRS[place][1])}
    assert pairs(corpus) == wanted and value(corpus, "mended") == "1 rows with stray quotes, read as they are | "
    lines[place] = '"no comma in it'
    corpus = read("src,trg\n" + "\n".join(lines), "b.csv", tmp_path)
    assert pairs(corpus) == set(PAIRS) - {PAIRS[place]}
    assert value(corpus, "rows left out") == "1 rows with a quote that does not end, left out | "


def test_quoted_rows_behind_a_quote_that_does_not_end(tmp_path: Path) -> None:
    content = 'src,trg\n"oops,here\n' + "".join(f'"{a}","{b}"\n' for a, b in PAIRS)
    assert pairs(read(content, "a.csv", tmp_path)) == {*PAIRS, ('"oops', "here")}


def test_a_long_quoted_field_is_one(tmp_path: Path) -> None:
    long = "\n".join(f"line {i}, of many" for i in range(20_000))
    corpus, _ = opened(
        save(tmp_path / "set", {"a.csv": f'text\n"{long}"\nshort\n'}), tmp_path / "cache", length=4096, test=0.01
    )
    assert sum(row.count(1) for row in [*rows(corpus.train), *rows(corpus.test)]) == 2  # ends of items
    assert value(corpus, "items").startswith("2 |") and corpus.understood.row("mended") is None


def test_an_export_of_a_spreadsheet(tmp_path: Path) -> None:
    """Semicolons, decimal commas, CR LF, an old encoding, quotes where they are needed."""
    body = "".join(f'{i};Straße {i};{i},5{i % 10};"Grüße; und ""so"" weiter {i}"\r\n' for i in range(200))
    corpus = read(("Nummer;Ort;Preis;Bemerkung\r\n" + body).encode("cp1252"), "a.csv", tmp_path)
    assert pairs(corpus) == {(f"Straße {i}", f'Grüße; und "so" weiter {i}') for i in range(200)}
    assert value(corpus, "columns") == "Ort given, Bemerkung written (not used: Nummer, Preis) (1) | --columns Nummer"
    assert value(corpus, "encodings").startswith("cp1252 (1)")
    prices = "".join(f"Stück {i};{i},50\r\n" for i in range(50))
    assert pairs(read(prices.encode("cp1252"), "b.csv", tmp_path)) == {(f"Stück {i}",) for i in range(50)}


def test_sentences_with_commas_are_no_table(tmp_path: Path) -> None:
    lines = ["Here is one, with a comma", "and one without", "or more, of, these"] * 9
    assert pairs(read("\n".join(lines), "a.csv", tmp_path)) == {(line,) for line in lines}


def test_columns_are_chosen_by_what_they_hold(tmp_path: Path) -> None:
    three = "id,src,trg\n" + "".join(f"{i},{a},{b}\n" for i, (a, b) in enumerate(PAIRS))
    corpus = read(three, "a.csv", tmp_path)
    assert pairs(corpus) == set(PAIRS)
    assert value(corpus, "columns") == "src given, trg written (not used: id) (1) | --columns id"
    kinds = "kind,text\n" + "".join(f"{'ab'[i % 2]},{a}\n" for i, (a, _) in enumerate(PAIRS))
    corpus = read(kinds, "b.csv", tmp_path)
    assert pairs(corpus) == {(a,) for a, _ in PAIRS}
    many = "title,text,note\n" + "".join(f"t {i},{a},{b}\n" for i, (a, b) in enumerate(PAIRS))
    corpus = read(many, "c.csv", tmp_path)
    assert pairs(corpus) == {(a,) for a, _ in PAIRS}
    assert value(corpus, "columns") == "text (not used: title, note) (1) | --columns title"
    with pytest.raises(DataError, match=r"no column 'txt'; did you mean 'text'\?"):
        read(many, "c.csv", tmp_path, columns="txt")


def test_labels_by_column(tmp_path: Path) -> None:
    genres = ["cafe\u0301", "bar", ""]
    content = "genre,text\n" + "".join(f"{genres[i % 3]},{a}\n" for i, (a, _) in enumerate(PAIRS))
    jsonl = "\n".join(json.dumps({"text": a, "stars": i % 2}) for i, (a, _) in enumerate(PAIRS))
    corpus = read(content, "a.csv", tmp_path, labels="column:genre")
    assert corpus.names == ("bar", "caf\u00e9") and corpus.train.labels is not None
    known = {a: i % 3 for i, (a, _) in enumerate(PAIRS)}
    for row, label in zip(rows(corpus.train), corpus.train.labels.tolist(), strict=True):
        assert known[corpus.vocabulary.decode(row)] == 1 - label
    assert value(corpus, "rows left out") == "66 rows without a label, left out | "
    assert value(corpus, "labels") == "2 by column:genre: bar (67), café (67) | --labels none"
    corpus = read(jsonl, "a.jsonl", tmp_path, labels="column:stars")
    assert corpus.names == ("0", "1") and pairs(corpus) == {(a,) for a, _ in PAIRS}
    assert value(read(content, "a.csv", tmp_path), "columns") == "text (not used: genre) (1) | --labels column:genre"
    with pytest.raises(DataError, match=r"no column 'gnre'; did you mean 'genre'"):
        read(content, "a.csv", tmp_path, labels="column:gnre")


LINES = [a for a, _ in PAIRS[:60]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("array.json", json.dumps([{"text": a} for a in LINES])),
        ("pretty.json", json.dumps([{"text": a, "n": {"m": [1]}} for a in LINES], indent=2)),
        ("strings.json", json.dumps(LINES)),
        ("data.json", json.dumps({"version": 1, "data": [{"text": a} for a in LINES]}, indent=1)),
        ("columns.json", json.dumps({"text": LINES, "n": list(range(60))})),
        ("lines.json", "\n".join(json.dumps({"text": a}) for a in LINES)),
        ("array.jsonl", json.dumps([{"text": a} for a in LINES], indent=2)),
        ("strings.jsonl", "\n".join(json.dumps(a) for a in LINES)),
        ("field.jsonl", "\n".join(json.dumps({"sentence": a, "id": i}) for i, a in enumerate(LINES))),
        ("inner.jsonl", "\n".join(json.dumps({"id": i, "meta": {"body": a}}) for i, a in enumerate(LINES))),
        ("wide.json", json.dumps([{"text": a} for a in LINES]).encode("utf-16")),
    ],
)
def test_json_as_it_comes(name: str, content: str | bytes, tmp_path: Path) -> None:
    corpus = read(content, name, tmp_path)
    assert pairs(corpus) == {(a,) for a in LINES} and corpus.understood.row("rows left out") is None


def test_a_field_of_another_name_is_taken_and_said(tmp_path: Path) -> None:
    corpus = read("\n".join(json.dumps({"sentence": a, "id": i}) for i, a in enumerate(LINES)), "a.jsonl", tmp_path)
    assert value(corpus, "columns") == "no field 'text', but sentence (1) | --field sentence"
    corpus = read("\n".join(json.dumps({"src": a, "trg": b}) for a, b in PAIRS), "b.jsonl", tmp_path)
    assert pairs(corpus) == set(PAIRS) and value(corpus, "columns") == "src given, trg written (1) | --columns trg"
    nested = "\n".join(json.dumps({"translation": {"en": a, "de": b}}) for a, b in PAIRS)
    assert pairs(read(nested, "c.jsonl", tmp_path)) == set(PAIRS)
    assert pairs(read(nested, "c.jsonl", tmp_path, field="translation.de")) == {(b,) for _, b in PAIRS}
    with pytest.raises(DataError, match=r"no column 'sentense'; did you mean 'sentence'"):
        read(json.dumps({"sentence": "x", "id": 1}), "d.jsonl", tmp_path, field="sentense")


def test_rows_of_json_that_are_lost_are_counted_by_reason(tmp_path: Path) -> None:
    odd = [{"body": "no"}, {"text": None}, {"text": 42}, {"text": ["a"]}, {"text": ""}, 5]
    content = "\n".join(json.dumps(row) for row in [*({"text": a} for a in LINES), *odd]) + "\n{broken\n"
    corpus = read(content, "a.jsonl", tmp_path)
    assert pairs(corpus) == {(a,) for a in LINES}
    row = corpus.understood.row("rows left out")
    assert row is not None and row.warning and row.data == {
        "rows without field 'text', left out": 1, "rows whose field 'text' is null, left out": 1,
        "rows whose field 'text' is a number, left out": 1, "rows whose field 'text' is a list, left out": 1,
        "rows without text, left out": 1, "rows that are a number, not an object, left out": 1,
        "rows that are not JSON, left out": 1,
    }  # fmt: skip
    cut = json.dumps([{"text": a} for a in LINES])[:-20]
    corpus = read(cut, "b.json", tmp_path)
    assert pairs(corpus) == {(a,) for a in LINES[:-1]}
    assert value(corpus, "rows left out").startswith("1 arrays that are damaged, read up to there")


def test_tabs_in_running_text_are_no_table(tmp_path: Path) -> None:
    content = "\tAn indented line\nand one with a\ttab\nand one without\n" * 30
    corpus = read(content, "a.txt", tmp_path)
    assert (
        corpus.packed and corpus.vocabulary.decode(corpus.train.stream.numpy()) == content[: int(0.95 * len(content))]
    )
