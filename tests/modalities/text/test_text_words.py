"""Figures of text by hand: words, entropies, distances, repetitions, and what real text scores."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from modalities.text.evaluate.ngram import NGram, symbols
from modalities.text.evaluate.words import (
    Row,
    describe,
    distinct,
    diversity,
    entropy,
    grams,
    js_distance,
    like,
    number_words,
    repetition,
    valid_words,
    words,
)


def test_words_of_a_text_and_of_a_piece_of_one() -> None:
    assert words("KING: thou'rt 2 good--O, l'état's 'tis!") == ["king", "thou'rt", "good", "o", "l'état's", "tis"]
    assert words("ear me, my lor", inner=True) == ["me", "my"]
    assert words(" me, my lord.", inner=True) == ["me", "my", "lord"]
    assert words("12 34") == [] and words("all", inner=True) == []


@pytest.mark.parametrize("n", [1, 2, 3])
def test_grams_are_those_of_a_counter_and_stay_within_their_text(n: int) -> None:
    draw = np.random.default_rng(n)
    texts = ["".join(draw.choice(list("abc"), draw.integers(0, 12))) for _ in range(30)]
    found = grams([symbols(text) for text in texts], n)
    by_hand = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts]
    pooled = sum(by_hand, Counter())
    assert sorted(found.of(np.arange(30))) == sorted(pooled.values())
    assert found.of(np.array([3, 3, 5])).sum() == 2 * by_hand[3].total() + by_hand[5].total()
    total, kinds = found.each()
    assert total.tolist() == [one.total() for one in by_hand] and kinds.tolist() == [len(one) for one in by_hand]


def test_entropy_and_distance_in_closed_form() -> None:
    assert entropy(np.array([2.0, 2, 0, 2, 2])) == 2 and entropy(np.array([7.0])) == 0
    assert entropy(np.array([1.0, 3.0])) == pytest.approx(2 - 0.75 * math.log2(3))
    a, b = np.array([1.0, 1, 0]), np.array([0.0, 0, 9])
    assert js_distance(a, b) == 1 and js_distance(a, 5 * a) == 0
    # (1, 0) and (1/2, 1/2): divergence H(3/4) - H(1/2) / 2
    divergence = 0.75 * math.log2(4 / 3) + 0.25 * 2 - 0.5
    assert js_distance(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(math.sqrt(divergence))
    assert math.isnan(js_distance(a, 0 * a))


def test_valid_words_count_all_and_each_once() -> None:
    assert valid_words([["a", "a", "b"], ["x"]], {"a", "b", "c"}) == (3 / 4, 2 / 3)
    assert math.isnan(valid_words([[]], {"a"})[0])


def test_repetitions_by_hand() -> None:
    texts = [["a", "b", "a", "b", "a"], ["c", "d"], ["e"]]
    assert repetition(texts, 2) == pytest.approx((0.5 + 0) / 2)
    assert repetition(texts, 3) == pytest.approx(1 / 3) and repetition(texts, 4) == 0
    assert diversity(texts) == pytest.approx(0.75 * (2 / 3))
    assert distinct([["a", "b"], ["a", "b"], ["a", "c"]], 2) == 2 / 3 and math.isnan(distinct([["a"]], 2))
    assert [row.tolist() for row in number_words([["b", "a"], ["a"]])] == [[0, 1], [1]]


def test_real_text_is_cut_to_the_samples() -> None:
    assert like(["xx", "xxx", "x" * 99], "abcdefg") == ["ab", "cde", "abcdefg"]
    assert like(["x"] * 4, ["p", "q"]) == ["p", "p", "q", "q"]


def corpus(seed: int, n: int) -> str:
    """Words of a small language, each drawn given the one before."""
    draw = np.random.default_rng(seed)
    table = ["lamp", "oak", "river", "stone", "ember", "quill", "fern", "wolf", "arch", "dune"]
    places, at = np.random.default_rng(7).dirichlet(np.full(10, 0.3), 10), 0
    found = []
    for _ in range(n):
        at = int(draw.choice(10, p=places[at]))
        found.append(table[at])
    return " ".join(found) + "."


def rows_of(samples: list[str], train: str, held: str) -> dict[str, Row]:
    return {row.name: row for row in describe(samples, train, held)}


def test_fresh_real_text_scores_as_real_text_and_worse_text_worse() -> None:
    train, held = corpus(0, 3000), corpus(1, 2000)
    fresh = rows_of(like(["x" * 100] * 40, corpus(2, 900)), train, held)
    rough = rows_of(NGram(train, 2).sample(40, 100, seed=0), train, held)
    assert fresh["valid words"].value == 1 and rough["valid words"].high < 0.9
    assert all(row.reference == pytest.approx(fresh[name].reference) for name, row in rough.items())
    for name, row in fresh.items():
        assert row.low <= row.value <= row.high, row
        if "distance" in name:
            assert 0 < row.value < 2 * row.reference
    # a model of pairs of letters has the letters right, and longer runs the less so
    for n in (3, 4):
        name = f"distance of {n}-grams of characters"
        assert rough[name].low > 2 * fresh[name].high
    assert abs(fresh["diversity"].value - fresh["diversity"].reference) < 0.1


def test_one_text_said_again_and_again_is_seen() -> None:
    train, held = corpus(0, 3000), corpus(1, 2000)
    same = rows_of([train[:100]] * 20, train, held)
    assert same["valid words"].value == 1 and same["distinct-2"].value < 0.3 * same["distinct-2"].reference
    loop = rows_of([" oak oak oak oak oak oak."] * 20, train, held)
    assert loop["diversity"].high < 0.05 < loop["diversity"].reference
    assert loop["the same in each text, mean"].value < loop["the same in each text, mean"].reference


def test_few_or_empty_samples_have_no_interval_but_a_value() -> None:
    train, held = corpus(0, 300), corpus(1, 200)
    rows = rows_of([" oak fern. ", ""], train, held)
    assert rows["valid words"].value == 1 and math.isnan(rows["distinct-1"].low)
    assert math.isnan(rows_of(["1"], train, held)["valid words"].value)
    with pytest.raises(ValueError, match="samples"):
        describe([], train, held)
