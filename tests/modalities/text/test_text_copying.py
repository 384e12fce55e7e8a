"""The longest copies beside those that a search by hand finds, and known 4-grams of words."""

from __future__ import annotations

import numpy as np
import pytest

from modalities.text.evaluate.copying import describe, known_grams, longest
from modalities.text.evaluate.ngram import symbols


def by_hand(sample: str, train: str) -> int:
    return max(
        (j - i for i in range(len(sample)) for j in range(i + 1, len(sample) + 1) if sample[i:j] in train), default=0
    )


@pytest.mark.parametrize("letters", ["ab", "abcdefgh", "a"])
def test_it_finds_what_a_search_finds(letters: str) -> None:
    draw = np.random.default_rng(0)
    train = "".join(draw.choice(list(letters), 200))
    samples = ["".join(draw.choice([*letters, "z"], draw.integers(0, 40))) for _ in range(40)]
    samples += [train[50:90], train, train + "z", "z" + train[-5:], train[-5:] + train[:5], "", "z", "\x00\x01"]
    found = longest(samples, train)
    assert found.length.tolist() == [by_hand(sample, train) for sample in samples]
    for sample, length, start, source in zip(samples, *found):
        assert sample[start : start + length] == train[source : source + length]


def test_a_sample_may_be_longer_than_the_training_text() -> None:
    found = longest(["abcabcabcabcabcabc", "cc"], "abc")
    assert found.length.tolist() == [3, 1] and found.start[0] == 0


def test_samples_are_not_copies_of_each_other() -> None:
    assert longest(["hello there", "hello there"], "xyz th").length.tolist() == [3, 3]
    assert longest(["abc"], "").length.tolist() == [0]


def test_a_planted_passage_is_found_and_counted() -> None:
    draw = np.random.default_rng(1)
    train = draw.integers(0, 65, 20_000)
    samples = [draw.integers(0, 65, 128) for _ in range(20)]
    samples[3][40:100] = train[777 : 777 + 60]
    samples[5][:49] = train[5000:5049]
    found = longest(samples, train)
    assert found.length[3] >= 60 and found.start[3] in (39, 40) and found.source[3] - found.start[3] == 737
    assert found.share() == 1 / 20 and found.share(run=49) == 2 / 20
    assert np.array_equal(symbols(train), train)


def test_known_grams_by_hand() -> None:
    train = ["the", "cat", "sat", "on", "the", "mat"]
    samples = [["the", "cat", "sat", "on", "a", "mat"], ["on", "the", "mat", "the", "cat"], ["too", "short"]]
    total, known = known_grams(samples, train)
    assert total.tolist() == [3, 2, 0] and known.tolist() == [1, 0, 0]
    assert known_grams(samples, train, n=2)[1].tolist() == [3, 3, 0]


def test_copies_stand_beside_those_of_held_out_text() -> None:
    draw = np.random.default_rng(2)
    texts = ["".join(draw.choice(list("abcdefgh  "), 4000)) for _ in range(3)]
    samples = [texts[0][i * 100 : i * 100 + 80] for i in range(5)] + [texts[2][i * 80 : i * 80 + 80] for i in range(15)]
    copied, mean, most, known = describe(samples, texts[0], texts[1])
    assert copied.value == 0.25 and copied.low < 0.25 < copied.high and copied.reference == 0
    assert most.value == 80 > 15 > most.reference and mean.low < mean.value < mean.high
    assert mean.reference < 8 and mean.value == pytest.approx(20 + 0.75 * mean.reference, abs=2)
    assert known.value == pytest.approx(0.25, abs=0.1) and known.reference < 0.1
    # texts of their own: a copy does not run from one into the next
    first = describe(["abcdef"], ["abc", "def"], ["xyz"])
    assert first[2].value == 3 and first[2].reference == 0


def test_there_must_be_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        longest([], "abc")
