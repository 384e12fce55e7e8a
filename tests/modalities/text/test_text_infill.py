"""Given tokens: how often, of which shape, never all of them; and holes as a user writes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modalities.text.infill import draw_given, parse_holes
from toolkit.diffusion.randomness import Draws

WIDTH = 40


def drawn(length: int, share: float, count: int, seed: int = 0) -> np.ndarray:
    return draw_given(torch.full((count,), length), WIDTH, share, Draws(seed, range(count))).numpy()


def test_padding_is_never_given_and_not_everything_is() -> None:
    lengths = torch.arange(1, WIDTH + 1).repeat(200)
    for share in (0.0, 0.3, 1.0):
        given = draw_given(lengths, WIDTH, share, Draws(1, range(len(lengths)), ("masks",)))
        assert given.shape == (len(lengths), WIDTH) and given.dtype == torch.bool
        assert not (given & (torch.arange(WIDTH) >= lengths[:, None])).any()
        assert (given.sum(1) < lengths).all()
    assert not drawn(WIDTH, 0.0, 1000).any()


def test_so_many_rows_have_given_tokens() -> None:
    for share in (0.25, 0.7):
        rows = drawn(WIDTH, share, 20_000).any(axis=1).mean()
        # a few draws give nothing: a rate near 0, a cut at an end, a hole over all
        assert share * 0.9 < rows < share


def test_the_same_seed_draws_the_same() -> None:
    assert np.array_equal(drawn(30, 0.5, 50, 3), drawn(30, 0.5, 50, 3))
    assert not np.array_equal(drawn(30, 0.5, 50, 3), drawn(30, 0.5, 50, 4))


def test_a_third_each_has_holes_scattered_tokens_and_given_ends() -> None:
    given = drawn(WIDTH, 1.0, 30_000)
    padded = np.pad(given, ((0, 0), (1, 1)))
    runs = (padded[:, 1:] & ~padded[:, :-1]).sum(axis=1)  # of given tokens
    # holes leave at most 4 runs, ends at most 2; scattering leaves more unless its rate is near 0 or 1
    scattered = (runs > 4).mean()
    assert 0.24 < scattered < 1 / 3
    begins, ends = given[:, 0], given[:, -1]
    one = runs == 1
    # one run at one end only: ends of two kinds of three (2/9) and a few of the others
    assert 0.20 < (one & (begins ^ ends)).mean() < 0.36
    # both ends given and one hole: a third of the ends, and of the holes a third and those that meet
    assert 0.22 < ((runs == 2) & begins & ends).mean() < 1 / 3


def test_every_place_is_generated_and_given_often() -> None:
    rate = drawn(WIDTH, 1.0, 30_000).mean(axis=0)
    assert rate.min() > 0.4 and rate.max() < 0.75
    assert np.abs(rate - rate[::-1]).max() < 0.03  # neither end is preferred


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("To be", ["To be"]),
        ("____", [4]),
        ("To __, or ___!", ["To ", 2, ", or ", 3, "!"]),
        (r"a\_b_\__", ["a_b", 1, "_", 1]),
        (r"\\_", ["\\_"]),
        ("\\", ["\\"]),
        ("a\n_\0_", ["a\n", 1, "\0", 1]),
    ],
)
def test_holes(text: str, parts: list[str | int]) -> None:
    assert parse_holes(text) == parts
