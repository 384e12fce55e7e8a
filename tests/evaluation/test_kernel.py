"""The kernel distance against sums by hand and against its closed form for normal distributions."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.evaluation.metrics.kernel import SCALE, kernel_distance, kid, median_distance


def test_by_hand() -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])

    def k(distance: float) -> float:
        return math.exp(-(distance**2) / (2 * 1.5**2))

    # pairs of different points within each set, and all pairs across
    wanted = k(1) + k(2) - 2 * (k(0) + k(2) + k(1) + k(1)) / 4
    assert kernel_distance(x, y, 1.5) == pytest.approx(SCALE * wanted, rel=1e-12)
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(x, y, 2.0), rel=1e-12)  # the reference's median is 2


def test_it_is_unbiased_at_every_size() -> None:
    # E exp(-|a - b|^2 / 2 w^2) for a - b ~ N(m, v I) is (w^2 / (w^2 + v))^(d/2) exp(-|m|^2 / 2 (w^2 + v))
    d, w, shift, s = 3, 1.7, 1.0, 2.0

    def mean(v: float, distance: float) -> float:
        return (w * w / (w * w + v)) ** (d / 2) * math.exp(-(distance**2) / (2 * (w * w + v)))

    wanted = SCALE * (mean(2, 0) + mean(2 * s * s, 0) - 2 * mean(1 + s * s, shift * math.sqrt(d)))
    draw = torch.Generator().manual_seed(0)
    for n, m in ((3, 4), (20, 10)):
        found = torch.tensor(
            [
                kernel_distance(
                    torch.randn(n, d, generator=draw), shift + s * torch.randn(m, d, generator=draw), bandwidth=w
                )
                for _ in range(1500)
            ]
        )
        error = float(found.std() / math.sqrt(len(found)))
        assert float(found.mean()) == pytest.approx(wanted, abs=4 * error)
        assert error < wanted / 20  # so the line above can fail: the biased estimate is off by far more


def test_far_apart_and_the_same() -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(50, 4, generator=draw)
    tight = x * 1e-6
    # two clusters, each much narrower than the kernel and out of the other's reach: 1 + 1 - 0
    assert kernel_distance(tight, tight + 100, 1.0) == pytest.approx(2 * SCALE, rel=1e-9)
    assert kernel_distance(x, x.flip(0), 1.0) < 0  # a set and itself: the unbiased estimate is a little below 0
    big = 1e4  # far from the origin nothing is lost
    assert kernel_distance(x.double() + big, x.flip(0).double() + big + 1, 1.0) == pytest.approx(
        kernel_distance(x.double(), x.flip(0).double() + 1, 1.0), rel=1e-6
    )


def test_median_distance() -> None:
    assert median_distance(torch.tensor([[0.0], [1.0], [3.0]])) == 2.0  # of 1, 2 and 3
    assert median_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == 5.0


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="equal width"):
        kernel_distance(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="at least two"):
        kernel_distance(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="positive bandwidth"):
        kernel_distance(torch.rand(3, 2), torch.zeros(3, 2))


def test_kid_by_hand_and_unbiased() -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    # (a b + 1)^3: 0 1 -> 1; 2 3 -> 343; across 0 2 -> 1, 0 3 -> 1, 1 2 -> 27, 1 3 -> 64
    assert kid(x, y) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4, rel=1e-12)
    # E (a b / d + 1)^3 of normal a, b with means m, n: moments of s = a b / d; here d = 1, unit variances
    draw = torch.Generator().manual_seed(0)

    def mean(m: float, n: float) -> float:  # E s = m n, E s^2 = (m^2 + 1)(n^2 + 1), E s^3 = (m^3 + 3 m)(n^3 + 3 n)
        return (m**3 + 3 * m) * (n**3 + 3 * n) + 3 * (m * m + 1) * (n * n + 1) + 3 * m * n + 1

    wanted = mean(0, 0) + mean(1, 1) - 2 * mean(0, 1)
    found = torch.tensor(
        [kid(torch.randn(5, 1, generator=draw), torch.randn(9, 1, generator=draw) + 1) for _ in range(3000)]
    ).double()
    error = float(found.std()) / math.sqrt(3000)
    assert float(found.mean()) == pytest.approx(wanted, abs=4 * error) and error < wanted / 8
    with pytest.raises(ValueError, match="equal width"):
        kid(x, torch.zeros(3, 2))
