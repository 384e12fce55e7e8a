"""Bins against sums by hand, and the rate at which their test is wrong."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.evaluation.metrics.ndb import different_bins, histogram, jensen_shannon, k_means


def test_k_means_finds_blobs_and_is_the_same_again() -> None:
    draw = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    which = torch.arange(200) % 4
    x = corners[which] + torch.randn(200, 2, generator=draw)
    centres = k_means(x, 4)
    found = torch.cdist(corners.double(), centres)
    assert sorted(found.argmin(1).tolist()) == [0, 1, 2, 3] and float(found.min(1).values.max()) < 0.6
    # at rest, every centre is the mean of its points
    own = torch.cdist(x.double(), centres).argmin(1)
    for i in range(4):
        torch.testing.assert_close(centres[i], x[own == i].double().mean(0))
    assert torch.equal(centres, k_means(x, 4)) and histogram(x, centres).tolist() == [50] * 4


def test_k_means_of_fewer_places_than_bins() -> None:
    x = torch.tensor([[0.0], [0.0], [5.0]])
    assert histogram(x, k_means(x, 3)).sum() == 3
    assert k_means(x, 1).tolist() == [[pytest.approx(5 / 3)]]
    with pytest.raises(ValueError, match="1 to 3 bins"):
        k_means(x, 4)


def test_different_bins_by_hand() -> None:
    # shares .5 and .4 of 100 each: z = 0.1 / sqrt(.45 * .55 * .02) = 1.42; of 400 each it is 2.84
    assert different_bins(torch.tensor([50, 50]), torch.tensor([40, 60])) == 0
    assert different_bins(torch.tensor([200, 200]), torch.tensor([160, 240])) == 1
    assert different_bins(torch.tensor([0, 300, 100]), torch.tensor([0, 330, 110])) == 0
    assert different_bins(torch.tensor([400, 0, 0, 0]), torch.tensor([100, 100, 100, 100])) == 1


def test_different_bins_of_one_distribution_are_one_in_twenty() -> None:
    draw = torch.Generator().manual_seed(1)
    found = [
        different_bins(*(torch.bincount(torch.randint(20, (1000,), generator=draw), minlength=20) for _ in range(2)))
        for _ in range(300)
    ]
    assert sum(found) / 300 == pytest.approx(0.05, abs=0.012)


def test_jensen_shannon_by_hand() -> None:
    a, b = torch.tensor([3, 1]), torch.tensor([1, 1])
    wanted = 0.5 * (0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375))
    wanted += 0.5 * (0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375))
    assert jensen_shannon(a, b) == pytest.approx(wanted) == pytest.approx(jensen_shannon(b, a))
    assert jensen_shannon(a, 7 * a) == 0
    assert jensen_shannon(torch.tensor([9, 0]), torch.tensor([0, 4])) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="not empty"):
        jensen_shannon(torch.tensor([0, 0]), a)
