"""Paired differences: intervals cover the truth as often as they say, and equal numbers differ by exactly 0."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.training.difference import Difference, student


@pytest.mark.parametrize(
    ("freedom", "exact"), [(1, 12.7062), (3, 3.18245), (4, 2.77645), (7, 2.36462), (30, 2.04227), (10**6, 1.95997)]
)
def test_points_of_students_distribution(freedom: int, exact: float) -> None:
    assert student(freedom) == pytest.approx(exact, rel=4e-4)


@pytest.mark.parametrize("n", [5, 40])
def test_intervals_cover_the_difference_in_95_of_100(n: int) -> None:
    g = torch.Generator().manual_seed(n)
    covered, trials = 0, 4000
    for _ in range(trials):
        common = 10 * torch.randn(n, generator=g)
        d = Difference.between(common, common + 0.3 + torch.randn(n, generator=g))
        covered += d.low <= 0.3 <= d.high
    # of 4,000 trials three standard errors are 0.010
    assert covered / trials == pytest.approx(0.95, abs=0.012)


def test_equal_numbers_differ_by_nothing() -> None:
    x = torch.rand(9, generator=torch.Generator().manual_seed(0))
    d = Difference.between(x, x.clone())
    assert (d.mean, d.error, d.low, d.high, d.significant, d.examples_needed()) == (0, 0, 0, 0, False, None)


def test_shares_are_of_the_first() -> None:
    d = Difference.between(torch.tensor([2.0, 4.0, 6.0]), torch.tensor([1.0, 3.0, 5.5]))
    assert d.mean == pytest.approx(-2.5 / 3) and d.share == pytest.approx(-2.5 / 12)
    assert d.share_reach == pytest.approx(d.reach / 4) and d.reach == pytest.approx(4.30265 * d.error, rel=1e-4)


def test_so_many_examples_show_it_in_four_of_five() -> None:
    """With as many as `needed` says, 80 % of repetitions are significant."""
    g = torch.Generator().manual_seed(1)
    needed = Difference(0.25, 1 / math.sqrt(50), 50, 1.0).examples_needed()  # a deviation of 1
    assert needed == 126  # (1.96 + 0.84)^2 / 0.25^2
    seen = [Difference.between(torch.zeros(126), 0.25 + torch.randn(126, generator=g)).significant for _ in range(2000)]
    assert sum(seen) / 2000 == pytest.approx(0.8, abs=0.03)


def test_one_example_has_no_interval_and_others_are_refused() -> None:
    d = Difference.between(torch.tensor([1.0]), torch.tensor([2.0]))
    assert d.reach == math.inf and not d.significant and d.examples_needed() is None
    for b in (torch.zeros(3), torch.zeros(2, 1)):
        with pytest.raises(ValueError, match="same examples"):
            Difference.between(torch.zeros(2), b)
