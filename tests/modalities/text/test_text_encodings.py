"""Encodings of files: the strings that reach the network, in every encoding in which texts lie about."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from pydantic import ValidationError

from modalities.text.data import encodings
from modalities.text.data.forms import normal_blocks
from modalities.text.data.text_files import Problems, blocks
from modalities.text.options import Data
from tests.modalities.text.corpus import opened, save, shown
from toolkit.errors import DataError

ENGLISH = "the cat sat on a mat and saw the dog run\n" * 30
TEXTS = {
    "english": "“It’s fine” – the cat sat on a mat\n",  # noqa: RUF001
    "german": "schöne Grüße aus Köln\ndas Mädchen läuft über die Straße\nfür große Bäume\n",
    "french": "l\xa0été à la plage, où les garçons mangèrent des crêpes, déjà vu\n",
    "polish": "Zażółć gęślą jaźń. Chrząszcz brzmi w trzcinie.\n",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy.\n",
    "turkish": "Pijamalı hasta yağız şoföre çabucak güvendi.\n",  # noqa: RUF001
    "russian": "Он говорил, что ещё в детстве читал по вечерам, и мы пили чай.\n",
    "greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.\n",
    "hebrew": "דג סקרן שט בים מאוכזב ולפתע מצא חברה\n",
    "japanese": "吾輩は猫である。名前はまだ無い。\n",
    "chinese": "今天天气很好，我们去公园散步吧。\n",  # noqa: RUF001
    "korean": "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.\n",
}
OLD = {
    "english": ["cp1252"], "german": ["cp1252", "cp850"], "french": ["cp1252"], "polish": ["cp1250", "iso8859-2"],
    "czech": ["cp1250"], "turkish": ["cp1254"], "greek": ["cp1253"], "hebrew": ["cp1255"],
    "chinese": ["gb18030", "big5"],
    "russian": ["cp1251", "koi8-r", "cp866", "mac-cyrillic", "iso8859-5"], "korean": ["euc_kr"],
    "japanese": ["shift_jis", "euc_jp", "iso2022_jp"],
}  # fmt: skip
WIDE = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
CASES = [(name, codec) for name, codecs in OLD.items() for codec in [*WIDE, *codecs]]


@pytest.mark.parametrize(("name", "codec"), CASES)
def test_the_text_is_read_in_any_encoding(name: str, codec: str, tmp_path: Path) -> None:
    text = TEXTS[name] * 20
    if codec == "big5":  # has no simplified characters
        text = text.replace("气", "氣").replace("们", "們").replace("园", "園")
    path, problems = tmp_path / "a.txt", Problems()
    path.write_bytes(text.encode(codec))
    assert "".join(blocks(path, "a.txt", problems)) == text
    assert not problems.mends and not problems.rejected


def test_they_are_counted_in_the_block_and_reach_the_network(tmp_path: Path) -> None:
    contents = {
        "a.txt": TEXTS["german"].encode("cp1252"), "b.txt": TEXTS["german"].encode(),
        "c.txt": ENGLISH.encode("utf-16-le"),
        "d.txt": TEXTS["russian"].encode("koi8-r"), "e.txt": b"\xef\xbb\xbf" + ENGLISH.replace("\n", "\r\n").encode(),
    }  # fmt: skip
    root = save(tmp_path / "set", contents)  # type: ignore[arg-type]
    corpus, _ = opened(root, tmp_path / "cache", items="file", length=4096)
    texts = {*shown(corpus, corpus.train), *shown(corpus, corpus.test)}
    assert texts == {TEXTS["german"], ENGLISH, TEXTS["russian"]}
    row = corpus.understood.row("encodings")
    assert row is not None and row.change == "--encoding NAME"
    assert row.data == {"cp1252": 1, "utf-8": 1, "utf-16-le": 1, "koi8-r": 1, "utf-8 with mark": 1}
    assert row.value.startswith("cp1252 (1), utf-8 (1)")


def test_a_user_may_say_it(tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"a.txt": "naïve\n".encode("cp1252") * 20})
    for codec in ("cp1252", "cp1250", "latin-1"):
        corpus, _ = opened(root, tmp_path / "cache", encoding=codec, items="line", length=16)
        assert set(shown(corpus, corpus.train)) == {"naïve\n".encode("cp1252").decode(codec)[:-1]}
    corpus, _ = opened(root, tmp_path / "cache", encoding="utf8", items="line", length=16)
    assert set(shown(corpus, corpus.train)) == {"na\ufffdve"}
    row = corpus.understood.row("mended")
    assert row is not None and row.warning and row.change == "--encoding NAME"
    assert row.data == {"bytes that are not utf-8, read as U+FFFD": 20}
    with pytest.raises(ValidationError, match="no encoding is called 'cp1253x'; did you mean 'cp1253'"):
        Data(encoding="cp1253x")
    with pytest.raises(ValidationError, match="no encoding is called 'base64'"):
        Data(encoding="base64")


def test_bytes_that_do_not_fit_are_counted_truly(tmp_path: Path) -> None:
    """Real U+FFFD are no mistake; each byte that cannot be decoded is one."""
    path, problems = tmp_path / "a.txt", Problems()
    path.write_bytes(("Grüße \ufffd an Jürgen, schön und süß\n".encode() * 20) + b"\x80\x81 and \xe2\x82 or\n\xc3")
    text = "".join(blocks(path, "a.txt", problems))
    assert text.count("\ufffd") == 20 + 2 + 1 + 1
    assert problems.mends == {"bytes that are not utf-8, read as U+FFFD": 5}


def test_the_end_of_a_large_file_decides_too(tmp_path: Path) -> None:
    """Megabytes of ASCII, and then a letter of an old encoding: the choice is by all bytes, not by the beginning."""
    path, problems = tmp_path / "a.txt", Problems()
    path.write_bytes(b"plain text in ASCII\n" * 200_000 + "ein schöner Tag\n".encode("cp1252") * 3)
    assert encodings.find(path).codec == "cp1252"
    *_, last = blocks(path, "a.txt", problems)
    assert last.endswith("ein schöner Tag\n" * 3) and not problems.mends
    path.write_bytes(b"plain text in ASCII\n" * 200_000 + "ein schöner Tag\n".encode() * 3)
    assert encodings.find(path) == encodings.Encoding("utf-8", "utf-8")


def test_nuls_are_dropped_and_counted(tmp_path: Path) -> None:
    corpus, _ = opened(save(tmp_path / "set", {"a.txt": b"abc\x00def ghi\n" * 200}), tmp_path / "cache")
    assert corpus.vocabulary.decode(corpus.train.stream.numpy()).startswith("abcdef ghi\nabcdef")
    row = corpus.understood.row("mended")
    assert row is not None and row.data == {"NUL characters, dropped": 200} and not row.warning


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(128, 256)) * 9, "a PNG picture"),
        (b"PK\x03\x04" + b"word" * 50, "a ZIP archive"),
        (b"%PDF-1.7\n" + b"text " * 50, "a PDF"),
        (bytes(range(256)) * 50, "control characters"),
        (b"\0" * 500 + b"text" * 50, "NUL"),
        (b"\xff" * 500, "one and the same"),
    ],
)
def test_what_is_no_text_is_left_out_with_the_reason(content: bytes, why: str, tmp_path: Path) -> None:
    root = save(tmp_path / "set", {"a.txt": content, "b.txt": ENGLISH})
    corpus, _ = opened(root, tmp_path / "cache")
    row = corpus.understood.row("left out")
    assert row is not None and row.warning and "a.txt: not text" in row.value and why in row.value
    with pytest.raises(DataError, match=r"no text to train on .*a\.txt: not text"):
        opened(root / "a.txt", tmp_path / "cache")


def test_accents_become_one_form_where_there_are_two(tmp_path: Path) -> None:
    composed, apart = unicodedata.normalize("NFC", "café déjà"), unicodedata.normalize("NFD", "café déjà")
    assert len(composed) == 9 and len(apart) == 12
    root = save(tmp_path / "set", {"a.txt": f"{composed}\n" * 30 + f"{apart}\n" * 10})
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=16)
    texts = shown(corpus, corpus.train) + shown(corpus, corpus.test)
    assert texts == [composed] * 40 and corpus.form == "nfc"  # and all copies are on one side
    row = corpus.understood.row("accents")
    assert row is not None and row.data == {"one": 90, "several": 30} and row.change == "--normalise none"
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=16, normalise="none")
    assert {*shown(corpus, corpus.train), *shown(corpus, corpus.test)} == {composed, apart} and corpus.form == ""
    row = corpus.understood.row("accents")
    assert row is not None and row.warning and row.change == "--normalise nfc"
    corpus, _ = opened(root, tmp_path / "cache", items="line", length=16, normalise="nfd")
    assert {*shown(corpus, corpus.train), *shown(corpus, corpus.test)} == {apart}


@pytest.mark.parametrize(("form", "known"), [("NFC", "nfc"), ("NFD", "nfd")])
def test_one_form_stays_as_it_is(form: str, known: str, tmp_path: Path) -> None:
    text = unicodedata.normalize(form, "việt nam đẹp quá\n") * 30  # type: ignore[arg-type]
    corpus, _ = opened(save(tmp_path / "set", {"a.txt": text}), tmp_path / "cache", test=0.01)
    assert corpus.form == known and corpus.understood.row("accents") is None
    assert text.startswith(corpus.vocabulary.decode(corpus.train.stream.numpy())[:400])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_blocks_become_the_form_of_the_whole(size: int) -> None:
    for text in ("e\u0301a\u0323\u0302 x" * 9, "\u1112\u1161\u11ab" * 9, "한글" * 9, "a" + "\u0301" * 5, "", "plain"):
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        for form in ("nfc", "nfd"):
            assert "".join(normal_blocks(parts, form)) == unicodedata.normalize(form.upper(), text)  # type: ignore[arg-type]
