"""The n-gram model beside one made of dictionaries, and the published ladder of tiny Shakespeare."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from modalities.text.evaluate.ngram import NGram, item_ladder, ladder, ratio, symbols

SHAKESPEARE = Path(os.environ.get("TOOLKIT_DATA", "nowhere")) / "tinyshakespeare" / "input.txt"


class Slow:
    """The formula, read aloud: one dictionary of next symbols for each context."""

    def __init__(self, train: str, order: int) -> None:
        self.order = order
        self.size = len(set(train)) + 1
        self.after: dict[str, Counter[str]] = defaultdict(Counter)
        for i, symbol in enumerate(train):
            for length in range(min(order, i + 1)):
                self.after[train[i - length : i]][symbol] += 1

    def probability(self, context: str, symbol: str) -> float:
        below = self.probability(context[1:], symbol) if context else 1 / self.size
        counts = self.after.get(context)
        if not counts:
            return below
        return (counts[symbol] + len(counts) * below) / (sum(counts.values()) + len(counts))

    def bits(self, text: str) -> list[float]:
        longest = self.order - 1
        return [-math.log2(self.probability(text[max(0, i - longest) : i], text[i])) for i in range(len(text))]


class SlowItems(Slow):
    """The same for items, each of which begins after a mark and ends with one."""

    def __init__(self, train: list[str], order: int) -> None:
        self.order = order
        self.size = len(set("".join(train))) + 2
        self.after: dict[str, Counter[str]] = defaultdict(Counter)
        for item in train:
            framed = f"#{item}#"
            for i in range(1, len(framed)):
                for length in range(min(order - 1, i) + 1):
                    self.after[framed[i - length : i]][framed[i]] += 1

    def bits(self, item: str) -> list[float]:
        framed = f"#{item}#"
        return [
            -math.log2(self.probability(framed[max(0, i - self.order + 1) : i], framed[i]))
            for i in range(1, len(framed))
        ]


def random_text(length: int, seed: int, letters: str = "abcde ") -> str:
    draw = np.random.default_rng(seed)
    return "".join(draw.choice(list(letters), length, p=np.arange(1, len(letters) + 1) / sum(range(len(letters) + 1))))


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_it_is_what_dictionaries_say(order: int) -> None:
    train = random_text(600, 1)
    fast, slow = NGram(train, order), Slow(train, order)
    for text in (random_text(200, 2), "xa" + random_text(50, 3) + "\U0001f600é", train[-9:], "a", ""):
        np.testing.assert_allclose(fast.bits(text), slow.bits(text), rtol=1e-12)


def test_a_training_text_shorter_than_the_order() -> None:
    np.testing.assert_allclose(NGram("ab", 5).bits("abab"), Slow("ab", 5).bits("abab"), rtol=1e-12)
    # one symbol, seen once: (1 + 1/2) / 2, and "other" gets the rest
    np.testing.assert_allclose(NGram("a", 3).bits("ab"), [-math.log2(3 / 4), 2], rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_of_all_symbols_sum_to_1(order: int) -> None:
    model = NGram(random_text(500, 4), order, alphabet="z!")
    contexts = ["", "a", "zz", "??", *(random_text(k % 6, 10 + k, "abcdez") for k in range(40))]
    p = model.distribution(contexts)
    assert p.shape == (len(contexts), 6 + 2 + 1)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert p.min() > 0
    # and they are those that `bits` uses
    text = contexts[7] + "b"
    assert -math.log2(p[7, list(model.alphabet).index(ord("b"))]) == pytest.approx(model.bits(text)[-1], rel=1e-12)


def test_texts_do_not_see_each_other_and_weigh_by_their_length() -> None:
    model = NGram(random_text(500, 5), 3)
    texts = ["abc", "", "de ab", "c"]
    bits = np.concatenate([model.bits(text) for text in texts])
    mean, error = model.bits_per_character(texts)
    assert mean == pytest.approx(bits.sum() / 9, rel=1e-12) and error > 0
    assert math.isnan(model.bits_per_character(["abc"])[1]) and math.isnan(model.bits_per_character([""])[0])


def test_the_standard_error_of_equal_texts_is_that_of_a_mean() -> None:
    totals = np.array([3.0, 5.0, 10.0, 6.0])
    mean, error = ratio(totals, np.full(4, 2))
    assert mean == 3.0 and error == pytest.approx((totals / 2).std(ddof=1) / 2)


def test_token_ids_are_as_good_as_characters() -> None:
    train, text = random_text(300, 6), random_text(30, 7)
    np.testing.assert_array_equal(NGram(symbols(train), 4).bits(symbols(text)), NGram(train, 4).bits(text))


def test_samples_follow_the_model() -> None:
    model = NGram("ab" * 500, 2)
    texts = model.sample(40, 30, seed=0)
    assert texts == model.sample(40, 30, seed=0) and {len(text) for text in texts} == {30}
    # a b follows an a in all but 1 of 500
    pairs = Counter(a + b for text in texts for a, b in zip(text, text[1:]))
    assert (pairs["ab"] + pairs["ba"]) / pairs.total() > 0.98 and min(pairs["ab"], pairs["ba"]) > 500


def test_a_ladder_is_one_model_for_each_order() -> None:
    train, text = random_text(400, 8), random_text(100, 9)
    for order, bits in ladder(train, text, orders=(1, 3, 4)):
        assert bits == pytest.approx(NGram(train, order).bits(text).mean(), rel=1e-12)


ITEMS = ["ab", "abc", "b", "", "cab", "abab", "abcab"]


@pytest.mark.parametrize("order", [1, 2, 3, 5, 9])
def test_items_are_what_dictionaries_say_and_see_nothing_of_each_other(order: int) -> None:
    fast, slow = NGram(ITEMS, order), SlowItems(ITEMS, order)
    assert all(len(fast.bits(item)) == len(item) + 1 for item in ITEMS)
    for item in (*ITEMS, "ccc", "abcabcabc"):
        np.testing.assert_allclose(fast.bits(item), slow.bits(item), rtol=1e-12)
        np.testing.assert_array_equal(fast.bits(item), NGram(ITEMS[::-1], order).bits(item))
    mean, error = fast.bits_per_character(ITEMS)
    assert mean == pytest.approx(sum(sum(slow.bits(item)) for item in ITEMS) / sum(map(len, ITEMS))) and error > 0
    assert item_ladder(ITEMS, ITEMS, [order]) == [(order, mean, error)]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_all_strings_together_have_probability_1(order: int) -> None:
    """Sums over strings of up to 4 characters and the beginnings of longer ones; z stands for all unseen characters."""
    model, longest = NGram(["ab", "b", "bab"], order), 4
    unseen = 0x110000 - 0x800 - 2
    whole = 0.0
    for length in range(longest + 1):
        for letters in itertools.product("abz", repeat=length):
            many = float(unseen) ** letters.count("z")
            bits = model.bits("".join(letters))
            whole += many * 2 ** -float(bits.sum())
            whole += many * 2 ** -float(bits[:-1].sum()) * (1 - 2 ** -float(bits[-1])) if length == longest else 0.0
    assert whole == pytest.approx(1, rel=1e-9)
    p = model.distribution(["", "a", "bz", "babab"])
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    end = list(model.alphabet).index(0x110000)
    assert -math.log2(p[3, end]) == pytest.approx(model.bits("babab")[-1], rel=1e-12)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="0 symbols"):
        NGram("", 3)


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason="needs TOOLKIT_DATA with tinyshakespeare")
def test_the_ladder_of_tiny_shakespeare() -> None:
    text = SHAKESPEARE.read_text("utf-8")
    cut = int(0.9 * len(text))
    found = dict(ladder(text[:cut], text[cut:]))
    expected = {1: 4.83, 2: 3.59, 3: 2.96, 4: 2.56, 5: 2.41, 6: 2.45}
    assert found == pytest.approx(expected, abs=0.006)
