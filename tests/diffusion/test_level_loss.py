"""Losses over noise levels beside their closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import VP, Cosine, LinearChain, LogNormal, RectifiedFlow, Schedule, Uniform
from toolkit.diffusion.level_loss import (
    LEVELS,
    empirical_loss,
    join,
    level_density,
    linear_loss,
    loss_by_level,
    spectrum,
)
from toolkit.verify.oracle import EmpiricalDenoiser, GaussianDenoiser

F64 = torch.float64
FEW = torch.tensor([6.0, 2.0, 0.0, -3.0], dtype=F64)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("schedule", [Cosine(), RectifiedFlow(), LinearChain(100)], ids=repr)
def test_gaussian_data_has_the_linear_loss(schedule: Schedule) -> None:
    x = 0.5 * drawn(600, 8)
    found = loss_by_level(GaussianDenoiser(schedule, 0.0, 0.5), x, schedule, FEW)
    exact = linear_loss(torch.full((8,), 0.25), FEW)
    assert bool(((found.mean - exact).abs() < 4 * found.error).all()) and bool((found.error < 0.05 * exact).all())
    # a denoiser that is off by a constant is bad where noise is large compared with its error
    worse = loss_by_level(lambda x_t, t: GaussianDenoiser(schedule, 0.0, 0.5)(x_t, t) + 0.1, x, schedule, FEW)
    ratio, error = worse.over(found)
    assert bool(((ratio - 1 - 0.01 / exact).abs() < 4 * error + 0.1 * 0.01 / exact).all())
    row = worse.rows({"linear": exact})[2]
    assert row[0] == pytest.approx(0.0, abs=1e-9) and row[3] == pytest.approx(row[1] / 0.2)


def test_batches_join_and_masks_leave_out() -> None:
    schedule, x = VP(), drawn(6, 1, 4).float()
    denoise = GaussianDenoiser(schedule)
    whole = loss_by_level(denoise, x, schedule, FEW, seed=2)
    parts = join([loss_by_level(denoise, x[i : i + 2], schedule, FEW, 2, range(i, i + 2)) for i in (0, 2, 4)])
    assert torch.equal(whole.each, parts.each)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(6, 1, 4)
    masked = loss_by_level(lambda x_t, t: torch.where(mask > 0, denoise(x_t, t), 9e9), x, schedule, FEW, 2, mask=mask)
    assert float((masked.each / whole.each).max()) < 2.01  # half as many numbers to divide by


def test_the_spectrum_of_correlated_data() -> None:
    mix = torch.tensor([[1.0, 0.9], [0.0, 0.5]], dtype=F64)
    x = drawn(20_000, 2) @ mix
    exact = torch.linalg.eigvalsh(mix.T @ mix)
    torch.testing.assert_close(spectrum(x, full=True), exact, rtol=0.05, atol=0)
    torch.testing.assert_close(spectrum(x), (mix.T @ mix).diagonal(), rtol=0.05, atol=0)
    # who knows that numbers are correlated denoises better
    assert bool((linear_loss(exact, FEW) < linear_loss((mix.T @ mix).diagonal(), FEW)).all())


@pytest.mark.parametrize("block", [3, 1000])
def test_the_empirical_loss_is_that_of_the_posterior_mean(block: int) -> None:
    data, schedule = drawn(10, 2, 3), Cosine()
    x = data[[0, 3, 3, 7]]
    oracle = loss_by_level(EmpiricalDenoiser(schedule, data), x, schedule, LEVELS, seed=4)
    found = empirical_loss(x, data, LEVELS, seed=4, block=block)
    torch.testing.assert_close(found.each, oracle.each, rtol=1e-6, atol=1e-12)
    assert float(found.mean[0]) < 1e-6  # at little noise it recites
    far = (x - data.mean(0)).square().flatten(1).mean(1)
    torch.testing.assert_close(empirical_loss(x, data, torch.tensor([-20.0])).each[0], far, rtol=1e-2, atol=0)


@pytest.mark.parametrize("block", [2, 1000])
def test_labels_limit_the_examples(block: int) -> None:
    data, label = drawn(9, 4), torch.tensor([0, 1, 2] * 3)
    found = empirical_loss(data, data, FEW, groups=(label, label), block=block)
    for k in range(3):
        where = torch.nonzero(label == k)[:, 0]
        alone = empirical_loss(data[where], data[where], FEW, positions=where.tolist())
        torch.testing.assert_close(found.each[:, where], alone.each, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="no example"):
        empirical_loss(data, data, FEW, groups=(label + 1, label))


def test_no_denoiser_is_below_the_floor_of_its_training_set() -> None:
    data, schedule = drawn(20, 6), RectifiedFlow()
    x = data.repeat(40, 1)
    floor = empirical_loss(x, data, FEW[1:])
    linear = loss_by_level(GaussianDenoiser(schedule), x, schedule, FEW[1:])
    ratio, error = linear.over(floor)
    assert bool((ratio > 1 + 3 * error).all())
    own, own_error = floor.over(floor)
    assert own.tolist() == [1.0] * 3 and own_error.tolist() == [0.0] * 3

    def leaks(x_t: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x + 0.5 * GaussianDenoiser(schedule)(x_t, t)

    ratio, error = loss_by_level(leaks, x, schedule, FEW[1:]).over(floor)
    assert float(ratio[-1] + 3 * error[-1]) < 1  # caught at much noise, where guessing is hard


def test_the_density_of_a_law_over_levels() -> None:
    levels = torch.linspace(7, -7, 57, dtype=F64)
    density = level_density(LogNormal(-0.5, 1.2), Cosine(), levels)
    exact = torch.distributions.Normal(torch.tensor(1.0, dtype=F64), 2.4).log_prob(levels).exp()  # log-SNR = -2 log r
    assert float((density - exact).abs().max()) < 2e-3
    chain = level_density(Uniform(), LinearChain(100), levels)
    assert 0.8 < float(torch.trapezoid(chain.flip(0), levels.flip(0))) <= 1.0 and bool(chain.isfinite().all())
