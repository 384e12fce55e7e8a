"""Vocabularies: any text comes back, ids by hand, and a stranger's vocabulary is refused before it does harm."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalities.text.data import bpe, tokens
from modalities.text.data.tokens import EOS, PAD, SEP, Vocabulary, learn, parse
from toolkit.errors import DataError, UsageError

SENTENCE = "the cat sat on the mat, and the other cat sat on the other mat\n"
ODD = "\0a\r\n\u0301é\ufeff\ufffd😀\U0010ffff\U00010000 \ud7ff\ue000"


def learned(kind: str, text: str = SENTENCE * 20) -> Vocabulary:
    return learn(kind, np.bincount([ord(c) for c in text]), [text])


VOCABULARIES = [Vocabulary("char"), *(learned(kind) for kind in ("char", "byte", "bpe:280"))]
VOCABULARIES.append(Vocabulary("char", "aé\u0301\U0010ffff"))


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda v: f"{v.kind} {v.size}")
@given(text=st.text() | st.just(ODD) | st.text("the cat"))
def test_any_text_comes_back(vocabulary: Vocabulary, text: str) -> None:
    again = Vocabulary.from_text(vocabulary.to_text())
    assert again == vocabulary
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32 and np.array_equal(again.encode(text), ids)
    assert not len(ids) or (ids.min() >= 3 and ids.max() < vocabulary.size)
    assert again.decode(ids) == text
    assert vocabulary.decode([PAD, *ids.tolist(), SEP, EOS, PAD]) == text
    assert vocabulary.characters(ids).sum() == len(text)


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda v: f"{v.kind} {v.size}")
@given(texts=st.lists(st.text(max_size=5)))
def test_many_texts_at_once_are_each_text(vocabulary: Vocabulary, texts: list[str]) -> None:
    ids, ends = vocabulary.encode_all(texts)
    assert len(ends) == len(texts) and (len(texts) == 0 or ends[-1] == len(ids))
    for text, begin, end in zip(texts, [0, *ends.tolist()], ends.tolist()):
        assert ids[begin:end].tolist() == vocabulary.encode(text).tolist()


@given(ids=st.lists(st.integers(0, 22)))
def test_whatever_a_network_writes_is_text(ids: list[int]) -> None:
    text = Vocabulary("char", "ab€").decode(ids)
    assert text.encode().decode() == text and len(text) <= len(ids)


def test_ids_by_hand() -> None:
    two = Vocabulary("char", "ab")
    assert two.encode("bé").tolist() == [21, 3, 4 + 0xE, 4 + 0x9]
    assert two.encode("\0").tolist() == [3, 4]
    assert two.encode("\U0010ffff").tolist() == [3, 5, 4, 19, 19, 19, 19]
    assert (two.size, two.special, two.escapes) == (22, (0, 1, 2), tuple(range(3, 20)))
    assert Vocabulary("byte").encode("aé").tolist() == [3 + 0x61, 3 + 0xC3, 3 + 0xA9]
    assert Vocabulary("byte").characters(np.array([[0, 1, 2], [100, 3 + 0xC3, 3 + 0xA9]])).tolist() == [
        [0] * 3,
        [1, 1, 0],
    ]
    pairs = Vocabulary("bpe", merges=((97, 98), (256, 99)))
    assert pairs.encode("abcab").tolist() == [3 + 257, 3 + 256]
    assert pairs.size == 3 + 258 and pairs.characters(pairs.encode("abcab")).tolist() == [3, 2]


def test_ids_that_spell_nothing() -> None:
    two = Vocabulary("char", "ab")
    assert two.decode([3]) == two.decode([4, 5]) == two.decode([3, *[5] * 7]) == "\ufffd"
    assert two.decode([3, 3, 8, 20]) == "\ufffd\x04a"
    assert two.decode([3, 4 + 0xD, 4 + 8, 4, 4]) == two.decode([3, 5, 5, 4, 4, 4, 4]) == "\ufffd"  # U+D800, U+110000
    assert two.decode([21, 5, 3, 4, 20]) == "b\ufffd\0a"
    assert Vocabulary("byte").decode([3 + 0xC3, 100]) == "\ufffda"
    for wrong in ([22], [-1]):
        with pytest.raises(ValueError, match=r"must be in \[0, 22\)"):
            two.decode(wrong)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe:280"])
def test_half_a_surrogate_pair_is_refused(kind: str) -> None:
    with pytest.raises(DataError, match=r"^character 2 of the text is half of a surrogate pair \(U\+D83D\)"):
        learned(kind).encode("ab\ud83dc")


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [vocabulary.encode(ODD + SENTENCE).tolist() for vocabulary in VOCABULARIES]
    monkeypatch.setattr(tokens, "_BLOCK", 3)
    for vocabulary, ids in zip(VOCABULARIES, whole):
        got = vocabulary.encode(ODD + SENTENCE)
        assert vocabulary.decode(got) == ODD + SENTENCE
        assert vocabulary.kind == "bpe" or got.tolist() == ids


def test_rare_characters_are_escapes_where_there_are_many() -> None:
    many = "".join(chr(0x4E00 + i) for i in range(998)) * 3 + "ab" * 3
    assert len(learned("char", many + "€").known) == tokens.MANY_CHARACTERS
    assert "€" not in learned("char", many + "€€").known and "€" in learned("char", many + "€€€").known
    assert learned("char", "aab€").known == "ab€"


def test_byte_pairs_are_the_commonest() -> None:
    vocabulary = learned("bpe:257", "abababab cd")
    assert vocabulary.merges == ((97, 98),)
    assert bpe.token_bytes(((97, 98), (97, 98), (256, 256)))[256:] == [b"ab", b"abab"]
    text = SENTENCE * 20
    sizes = [len(learned(kind).encode(text)) for kind in ("byte", "bpe:270", "bpe:300")]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0] / 2
    assert learned("bpe:300").size <= 303 and learned("bpe:300").encode(text).max() > 259


def test_large_vocabularies_need_wider_tokens() -> None:
    assert Vocabulary("byte").dtype is np.int16
    assert Vocabulary("char", "".join(map(chr, range(0x4E00, 0x4E00 + 33_000)))).dtype is np.int32


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", "[" * 100_000, "\0", '{"kind":"char"}',
        json.dumps({"kind": "char", "known": "ba", "merges": []}),
        json.dumps({"kind": "char", "known": "aa", "merges": []}),
        json.dumps({"kind": "char", "known": "\ud800", "merges": []}),
        json.dumps({"kind": "char", "known": ["a"], "merges": []}),
        json.dumps({"kind": "char", "known": "a", "merges": [[97, 98]]}),
        json.dumps({"kind": "byte", "known": "a", "merges": []}),
        json.dumps({"kind": "words", "known": "", "merges": []}),
        json.dumps({"kind": "byte", "known": "", "merges": [], "size": 5}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[97, 256]]}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[-1, 97]]}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[True, 97]]}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[97, 97, 97]]}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[97, 97], [97, 97], [257, 97]]}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[97, 97], *([256 + i] * 2 for i in range(60))]}),
        json.dumps({"kind": "bpe", "known": "", "merges": [[97, 97]] * 100_001}),
    ],
    ids=lambda text: text[:60],
)  # fmt: skip
def test_a_strangers_vocabulary_is_not_trusted(text: str) -> None:
    with pytest.raises(DataError, match="the vocabulary is damaged") as caught:
        Vocabulary.from_text(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize("wrong", ["", "chars", "bpe", "bpe:", "bpe:9", "bpe:99999", "bpe:³", "bpe:-5", "word:9"])
def test_unknown_tokens_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"data\.tokens"):
        parse(wrong)
    assert parse("bpe:512") == ("bpe", 512) and parse("char") == ("char", 0)
