"""Intervals against published examples and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.evaluation.metrics.interval import bootstrap, half_samples, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe (1998), table I, method 3: the score interval without continuity correction
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(right: int, n: int, low: float, high: float) -> None:
    assert wilson(right, n) == pytest.approx((low, high), abs=6e-5)
    assert wilson(n - right, n) == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_wilson_ends_and_refusals() -> None:
    assert wilson(0, 7)[0] == 0.0 and wilson(7, 7)[1] == 1.0
    assert wilson(5, 10, 0.5)[1] < wilson(5, 10, 0.95)[1]
    for right, n in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="right"):
            wilson(right, n)


def test_bootstrap_of_a_mean() -> None:
    x = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    low, high = bootstrap(x, draws=4000)
    # for many values the bootstrap distribution of a mean is normal, with variance s^2 (n - 1) / n^2
    half = 1.959964 * float(x.std()) * math.sqrt(399) / 400
    assert low == pytest.approx(float(x.mean()) - half, abs=0.1 * half)
    assert high == pytest.approx(float(x.mean()) + half, abs=0.1 * half)
    assert bootstrap(x, draws=4000) == (low, high)


def test_bootstrap_of_other_statistics() -> None:
    assert bootstrap(torch.full((5,), 2.5)) == (2.5, 2.5)
    low, high = bootstrap(torch.tensor([0.0] * 30 + [1.0]), lambda rows: rows.median(-1).values)
    assert (low, high) == (0.0, 0.0)  # one large value in 31 does not move the median
    # two values: a mean of 0, 1/2 and 1 with chances 1/4, 1/2, 1/4, so the middle half begins and ends at these
    assert bootstrap(torch.tensor([0.0, 1.0]), level=0.4) == (0.5, 0.5)
    assert bootstrap(torch.tensor([0.0, 1.0]), level=0.6) == (0.0, 1.0)
    with pytest.raises(ValueError, match="values"):
        bootstrap(torch.zeros(0))


def test_half_samples_give_the_standard_error_of_a_mean() -> None:
    x = torch.randn(60, generator=torch.Generator().manual_seed(2)).double()
    found = half_samples(lambda part: float(part.mean()), x, draws=3000)
    assert found == pytest.approx(float(x.std()) / math.sqrt(60), rel=0.06)
    with pytest.raises(ValueError, match="four rows"):
        half_samples(lambda part: 0.0, x[:3])
