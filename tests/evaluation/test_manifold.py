"""Precision, recall, density and coverage of points on a line, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolkit.evaluation.metrics import manifold


def line(*places: float) -> Tensor:
    return torch.tensor(places)[:, None]


def test_radii_leave_the_point_out_but_not_its_twin() -> None:
    x = line(0, 1, 3, 3)
    within = manifold.distances(x, x)
    assert manifold.radii(within, 1).tolist() == [1, 1, 0, 0]
    assert manifold.radii(within, 2).tolist() == [3, 2, 2, 2]
    with pytest.raises(ValueError, match="4-th neighbour"):
        manifold.radii(within, 4)


def test_by_hand() -> None:
    real, made = line(0, 1, 2, 10), line(0.5, 4, 100, 101)
    far = manifold.distances(real, real), manifold.distances(made, made), manifold.distances(made, real)
    # k = 1: real balls are [-1, 1], [0, 2], [1, 3], [2, 18]
    assert manifold.precision(far[0], far[2], 1).tolist() == [True, True, False, False]
    assert manifold.density(far[0], far[2], 1).tolist() == [2, 1, 0, 0]
    # each real ball needs a made point inside: (-1, 1), (0, 2) hold 0.5, (1, 3) none, (2, 18) 4
    assert manifold.coverage(far[0], far[2], 1).tolist() == [True, True, False, True]
    # k = 1: made balls are [-3, 4], [0.5, 7.5], [99, 101], [100, 102]
    assert manifold.recall(far[1], far[2], 1).tolist() == [True, True, True, False]


def test_a_set_and_itself() -> None:
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    far = manifold.distances(x, x)
    for k in (1, 3, 5):
        assert manifold.precision(far, far, k).all() and manifold.recall(far, far, k).all()
        assert manifold.coverage(far, far, k).all()
        assert float(manifold.density(far, far, k).mean()) == pytest.approx(1)


def test_one_point_again_and_again_is_precise_and_covers_nothing() -> None:
    draw = torch.Generator().manual_seed(1)
    real = torch.randn(200, 4, generator=draw)
    made = real[:1].expand(200, -1)
    within, across = manifold.distances(real, real), manifold.distances(made, real)
    assert manifold.precision(within, across).all()
    assert float(manifold.recall(manifold.distances(made, made), across).double().mean()) <= 1 / 200
    assert float(manifold.coverage(within, across).double().mean()) < 0.2


def test_two_far_sets_share_nothing() -> None:
    draw = torch.Generator().manual_seed(2)
    x, y = torch.randn(60, 2, generator=draw), torch.randn(60, 2, generator=draw) + 50
    far = manifold.distances(x, x), manifold.distances(y, y), manifold.distances(y, x)
    assert not manifold.precision(far[0], far[2]).any() and not manifold.recall(far[1], far[2]).any()
    assert not manifold.coverage(far[0], far[2]).any() and float(manifold.density(far[0], far[2]).sum()) == 0
