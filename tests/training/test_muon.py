from __future__ import annotations

import torch
from torch import nn

from toolkit.training.muon import SCALE, Muon, direct_rounds, orthogonal, small_rounds


def test_singular_values_come_near_one_and_directions_stay() -> None:
    draw = torch.Generator().manual_seed(0)
    for shape in ((6, 40), (40, 6), (24, 24)):
        matrix = torch.randn(shape, generator=draw)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        found = orthogonal(matrix)
        values = torch.linalg.svdvals(found)
        assert float(values.min()) > 0.3 and float(values.max()) < 1.3
        # the same singular vectors: U^T X V is diagonal
        inner = u.T @ found @ v.T
        assert float((inner - torch.diag(inner.diagonal())).abs().max()) < 1e-4
        assert torch.allclose(orthogonal(7 * matrix), found, atol=1e-4)


def test_the_quintics_end_within_their_error_of_one_from_a_hundredth_on() -> None:
    x = torch.diag(torch.logspace(-2, 0, 50, dtype=torch.float64))
    values = direct_rounds(x, x @ x.T).diagonal()
    assert float((values - 1).abs().max()) < 0.27
    assert torch.allclose(
        direct_rounds(x / 100, x @ x.T / 1e4).diagonal()[0] / (x[0, 0] / 100), torch.tensor(78.0).double(), rtol=0.01
    )


def test_rounding_in_bfloat16_does_not_leave_the_interval() -> None:
    """A matrix of rank one has a singular value right at the bound, where rounding could push it over."""
    draw = torch.Generator().manual_seed(3)
    for shape in [(32, 128), (64, 64), (16, 200)] * 5:
        matrix = torch.randn(shape[0], 1, generator=draw) @ torch.randn(1, shape[1], generator=draw)
        values = torch.linalg.svdvals(orthogonal(matrix, torch.bfloat16).float())
        # the rounding itself, 2^-9 of the largest, grows 78-fold as all that is small does
        assert 0.7 < float(values[0]) < 1.3 and float(values[1]) < 78 * 2**-9


def test_small_rounds_are_the_direct_ones() -> None:
    x = torch.randn(20, 90, generator=torch.Generator().manual_seed(2))
    x = x / torch.linalg.matrix_norm(x, 2)
    assert torch.allclose(small_rounds(x, x @ x.T), direct_rounds(x, x @ x.T), atol=1e-4)


def test_one_step_is_the_formula() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]))
    before = weight.detach().clone()
    optimizer = Muon([{"params": [weight], "muon": True, "momentum": 0.9, "weight_decay": 0.5}], lr=0.1)
    weight.grad = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 2.0]])
    gradient = weight.grad.clone()
    optimizer.step()
    moved = before * (1 - 0.1 * 0.5) - 0.1 * SCALE * 3**0.5 * orthogonal(gradient * 1.9)
    assert torch.allclose(weight.detach(), moved, atol=1e-6)


def test_the_second_step_looks_ahead_along_the_momentum() -> None:
    """With a gradient that turns, g + momentum m is another direction than m or than g + m."""
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = Muon([{"params": [weight], "muon": True, "momentum": 0.5, "weight_decay": 0.0}], lr=0.1)
    first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    weight.grad = first.clone()
    optimizer.step()
    before = weight.detach().clone()
    weight.grad = second.clone()
    optimizer.step()
    direction = (before - weight.detach()) / (0.1 * SCALE * 2**0.5)
    moment = 0.5 * first + second
    assert torch.allclose(direction, orthogonal(second + 0.5 * moment), atol=1e-5)
    for wrong in (moment, second + moment, second + 0.5 * first):
        assert float((direction - orthogonal(wrong)).abs().max()) > 0.02


def test_other_groups_are_adamws_and_kernels_are_matrices() -> None:
    draw = torch.Generator().manual_seed(1)
    start = torch.randn(4, 3, 1, 5, generator=draw)
    bias = [nn.Parameter(torch.ones(4)) for _ in range(2)]
    kernel = nn.Parameter(start.clone())
    groups = [{"params": [kernel], "muon": True, "momentum": 0.95}, {"params": [bias[0]], "muon": False}]
    ours = Muon(groups, lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)
    adam = torch.optim.AdamW([bias[1]], lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)
    for _ in range(3):
        for b in bias:
            b.grad = torch.arange(4.0)
        kernel.grad = torch.randn(start.shape, generator=draw)
        ours.step()
        adam.step()
    assert torch.equal(bias[0], bias[1])
    change = (kernel.detach() - start).flatten(1)
    assert float(torch.linalg.svdvals(change).min()) > 0.1 * float(torch.linalg.svdvals(change).max())
    assert len(ours.param_groups) == 2
