"""The Frechet distance against its closed form."""

from __future__ import annotations

import pytest
import torch

from toolkit.evaluation.metrics.frechet import frechet, frechet_infinity, moments


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, n: int = 200) -> torch.Tensor:
    """n points whose sample mean and covariance are exactly these."""
    x = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def test_a_set_and_itself() -> None:
    x = torch.randn(300, 16, generator=torch.Generator().manual_seed(1))
    assert abs(frechet(x, x)) < 1e-9
    assert abs(frechet(x, x[torch.randperm(300, generator=torch.Generator().manual_seed(2))])) < 1e-9


def test_two_gaussians_with_commuting_covariances() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 0.25]).double()
    shift = torch.tensor([0.5, 0.0, -2.0]).double()
    x, y = with_moments(torch.zeros(3).double(), torch.diag(a)), with_moments(shift, torch.diag(b))
    wanted = float(shift.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert frechet(x, y) == pytest.approx(wanted, rel=1e-10)
    assert frechet(y, x) == pytest.approx(wanted, rel=1e-10)


def test_two_gaussians_that_do_not_commute() -> None:
    a = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double()
    b = torch.tensor([[1.0, -0.7], [-0.7, 3.0]]).double()
    zero = torch.zeros(2).double()
    # in two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), here with M = A B
    product = a @ b
    root = torch.sqrt(product.trace() + 2 * torch.sqrt(torch.det(product)))
    wanted = float(a.trace() + b.trace() - 2 * root)
    assert frechet(with_moments(zero, a), with_moments(zero, b)) == pytest.approx(wanted, rel=1e-9)


def test_a_rotation_of_both_sets_changes_nothing_and_collapse_is_punished() -> None:
    draw = torch.Generator().manual_seed(3)
    x, y = torch.randn(400, 8, generator=draw).double(), 1.5 * torch.randn(400, 8, generator=draw).double() + 1
    turn = torch.linalg.qr(torch.randn(8, 8, generator=draw).double())[0]
    assert frechet(x @ turn, y @ turn) == pytest.approx(frechet(x, y), rel=1e-9)
    one_point = x[:1].expand(400, -1)
    assert frechet(one_point, x) > 5


def test_moments_are_unbiased_and_wrong_input_is_refused() -> None:
    mean, covariance = moments(torch.tensor([[0.0], [2.0]]))
    assert float(mean) == 1 and float(covariance) == 2
    with pytest.raises(ValueError, match="two sets"):
        frechet(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="two sets"):
        frechet(torch.zeros(1, 2), torch.zeros(5, 2))


def test_infinitely_many() -> None:
    draw = torch.Generator().manual_seed(4)
    d, n = 8, 300
    x, y = torch.randn(n, d, generator=draw).double(), torch.randn(n, d, generator=draw).double()
    z = 0.5 + torch.randn(n, d, generator=draw).double()
    # |0.5|^2 in 8 dimensions is 2; at n = 300 the estimate is too high by about 0.25
    assert frechet(z, y) - 2 > 0.15 and frechet(x, y) > 0.15
    assert frechet_infinity(z, y) == pytest.approx(2, abs=0.35)
    assert abs(frechet_infinity(x, y, draws=32)) < frechet(x, y) / 2
    assert frechet_infinity(x, y) == frechet_infinity(x, y)


def test_infinitely_many_is_unbiased_and_needs_enough() -> None:
    draw = torch.Generator().manual_seed(5)
    found = torch.tensor(
        [
            frechet_infinity(torch.randn(60, 3, generator=draw), torch.randn(90, 3, generator=draw), draws=2)
            for _ in range(60)
        ]
    )
    plain = torch.tensor(
        [frechet(torch.randn(60, 3, generator=draw), torch.randn(90, 3, generator=draw)) for _ in range(60)]
    )
    assert abs(float(found.mean())) < float(plain.mean()) / 4
    with pytest.raises(ValueError, match="3 times as many"):
        frechet_infinity(torch.zeros(11, 3), torch.zeros(90, 3))
