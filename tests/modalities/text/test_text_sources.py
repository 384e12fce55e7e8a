"""The n-grams against sources of known entropy: never below, and near it once they are long enough."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modalities.text.evaluate.lengths import LengthLaw
from modalities.text.evaluate.ngram import NGram
from toolkit.verify.sources import Source, sources

ROWS, CHAIN, ITEMS = sources()


def texts(source: Source, n: int, seed: int) -> list[str]:
    return ["".join("abcd"[symbol] for symbol in row if symbol >= 0) for row in source.draw(n, seed).tolist()]


@pytest.mark.parametrize(("source", "order"), [(ROWS, 1), (CHAIN, 2), (ITEMS, 2)], ids=["rows", "chain", "items"])
def test_an_n_gram_of_enough_order_costs_the_entropy_and_never_less(source: Source, order: int) -> None:
    """Rows of one length are running text, whose length is known; items pay for their ends, as in their entropy."""
    train, held = texts(source, 4000, 0), texts(source, 1500, 1)
    symbols = source.draw(1500, 1)
    truth = source.cost(symbols).numpy() / math.log(2)
    sizes = np.array([len(text) for text in held])
    if source.stop is None:  # running text: no ends
        model = NGram("".join(train), order)
        bits = np.array([model.bits(text).sum() for text in held])
    else:
        model = NGram(train, order)
        bits = np.array([model.bits(text).sum() for text in held])
        assert model.bits_per_character(held)[0] == pytest.approx(bits.sum() / sizes.sum())
    excess = bits - truth
    error = excess.std() / math.sqrt(len(excess))
    assert excess.mean() > -3 * error
    assert excess.mean() / sizes.mean() < 0.01 + 3 * error / sizes.mean()
    if source is not ROWS:  # and with too little context far above it
        lower = NGram(train, 1) if source.stop is not None else NGram("".join(train), 1)
        assert sum(float(lower.bits(text).sum()) for text in held) > truth.sum() + 0.3 * sizes.sum()


def test_lengths_cost_their_entropy_and_never_less() -> None:
    train, held = ITEMS.draw(4000, 0), ITEMS.draw(1500, 1)
    law = LengthLaw((train >= 0).sum(1) + 1)
    excess = law.nats((held >= 0).sum(1) + 1) - ITEMS.length_cost(held)
    error = float(excess.std()) / math.sqrt(len(held))
    assert -3 * error < float(excess.mean()) < 0.02 + 3 * error
    assert torch.isfinite(excess).all()
