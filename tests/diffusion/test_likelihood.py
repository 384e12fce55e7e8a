"""Priors, bins, units and the ODE's log-density, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import VE, VP, Cosine, RectifiedFlow, Schedule
from toolkit.diffusion.likelihood import (
    Bins,
    DiscretisedGaussian,
    bits_per_dim,
    dequantise,
    ends,
    prior_divergence,
    prior_log_density,
)
from toolkit.diffusion.ode_likelihood import Hutchinson, exact_trace, log_density
from toolkit.diffusion.vlb import Continuous, bound
from toolkit.verify.measure import order
from toolkit.verify.oracle import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser

F64 = torch.float64
PIXELS = Bins(256, -1.0, 1 / 127.5)


def log_normal(x: Tensor, mean: float, variance: float) -> Tensor:
    return -((x - mean) ** 2 / variance + math.log(2 * math.pi * variance)).flatten(1).sum(1) / 2


@pytest.mark.parametrize("alpha", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("variance", [0.0, 1.0, 2.5])
def test_prior_divergence_is_that_of_two_normal_laws(alpha: float, variance: float) -> None:
    x, sigma = torch.tensor([[0.5, -2.0], [0.0, 3.0]], dtype=F64), 0.8
    q = torch.distributions.Normal(alpha * x, torch.tensor(sigma, dtype=F64))
    p = torch.distributions.Normal(0 * x, torch.tensor(math.sqrt(alpha**2 * variance + sigma**2), dtype=F64))
    found = prior_divergence(x, torch.tensor(alpha, dtype=F64), torch.tensor(sigma, dtype=F64), variance)
    torch.testing.assert_close(found, torch.distributions.kl_divergence(q, p).sum(1), rtol=1e-12, atol=1e-15)


def test_a_mask_leaves_padding_out_of_the_prior() -> None:
    x = torch.tensor([[[1.0, -2.0, 0.0, 0.0]], [[0.5, 0.5, 0.5, 0.0]]])
    mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 0.0]]])
    a, s = torch.tensor(0.1, dtype=F64), torch.tensor(1.0, dtype=F64)
    short = prior_divergence(x[:1, :, :2], a, s, 1.0)
    assert float(prior_divergence(x, a, s, 1.0, mask)[0]) == float(short)
    assert float(prior_log_density(x, 1.0, mask)[0]) == float(prior_log_density(x[:1, :, :2], 1.0))


@pytest.mark.parametrize("bins", [PIXELS, Bins(256, -1.0, 1 / 127.5).standardise(-0.7, 0.6), Bins(2, -1.0, 2.0)])
@pytest.mark.parametrize("mean", [-30.0, -1.0, 0.1234, 5.0])
@pytest.mark.parametrize("std", [1e-4, 0.02, 1.0, 300.0])
def test_bins_sum_to_one(bins: Bins, mean: float, std: float) -> None:
    index = torch.arange(bins.count, dtype=F64)
    mass = bins.log_mass(index, torch.tensor(mean), torch.tensor(std))
    assert abs(float(torch.logsumexp(mass, 0))) < 1e-11
    x = (float(bins.low) + index * bins.step).float()
    assert bool((bins.index(x) == index).all())


def test_a_bin_has_the_mass_between_its_edges() -> None:
    mean, std = torch.tensor(0.1, dtype=F64), torch.tensor(0.05, dtype=F64)
    edges = -1 + (torch.arange(255, dtype=F64) + 0.5) / 127.5
    direct = torch.special.ndtr((edges - mean) / std).diff()
    inner = torch.arange(1, 255, dtype=F64)
    near = ((edges[1:] - mean).abs() < 6 * std) & ((edges[:-1] - mean).abs() < 6 * std)
    torch.testing.assert_close(PIXELS.log_mass(inner, mean, std).exp()[near], direct[near], rtol=1e-6, atol=0)
    # twenty deviations out
    far = [math.erfc((0.1 - (-1 + (10 + half) / 127.5)) / 0.05 / math.sqrt(2)) / 2 for half in (-0.5, 0.5)]
    assert math.isclose(float(PIXELS.log_mass(torch.tensor(10.0), mean, std)), math.log(far[1] - far[0]), rel_tol=1e-9)
    right, left = (PIXELS.log_mass(torch.tensor(i), torch.tensor(m), std) for i, m in ((250.0, -0.5), (5.0, 0.5)))
    assert math.isclose(float(right), float(left), rel_tol=1e-9)


def test_far_tails_keep_their_digits_on_both_sides() -> None:
    """40 deviations away the mass is 1e-350: of the upper side as exact as of the lower one."""
    zero, std = torch.zeros(2, dtype=F64), torch.full((2,), 1 / 51, dtype=F64)
    x = torch.tensor([-100.0, 100.0], dtype=F64) / 127.5
    low, high = Bins(257, -128 / 127.5, 1 / 127.5).log_prob(x, zero, std).tolist()
    z = (100 - 0.5) / 127.5 * 51
    exact = -z * z / 2 - math.log(z * math.sqrt(2 * math.pi))  # the tail's first term, right to 1 / z^2
    assert low == pytest.approx(high, rel=1e-12) and high == pytest.approx(exact, rel=2e-3)


def test_data_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.5 steps off its 256 bins"):
        PIXELS.index(torch.tensor([[0.0, 0.0]]))  # between the 127th and 128th of 256 values
    with pytest.raises(ValueError, match="off its 256 bins"):
        PIXELS.index(torch.tensor([[3.0]]))
    with pytest.raises(ValueError, match="at least 2 bins"):
        Bins(256, 0.0, -1.0)


def test_bits_of_known_discrete_laws() -> None:
    """A uniform law over the bins of any grid has log2(count) bits: exactly in bins, and as a density with its step."""
    for count, step, low in ((256, 1 / 127.5, -1.0), (65536, 2.0**-15, -1.0), (5, 3.0, 7.0)):
        bins = Bins(count, low, step).standardise(0.25, 0.31)
        discrete = torch.tensor([7 * math.log(count)], dtype=F64)
        density = torch.tensor([7 * math.log(count * bins.step)], dtype=F64)  # -log of 1 / (count step)^7
        for bits in (bits_per_dim(discrete, 7), bits_per_dim(density, 7, bins.step)):
            assert math.isclose(float(bits), math.log2(count), rel_tol=1e-12)
    zero = torch.zeros(1, dtype=F64)
    assert math.isclose(float(bits_per_dim(zero, 1, PIXELS.step)), math.log2(127.5))  # 8 bits in [-1, 1]
    assert float(bits_per_dim(zero, 1, Bins(65536, -1.0, 2.0**-15).step)) == 15.0  # 16 bits in [-1, 1)
    assert float(bits_per_dim(zero, 1, Bins(65536, -1.0, 2.0**-15).standardise(0, 0.25).step)) == 13.0
    lengths = torch.tensor([2.0, 4.0])
    assert bits_per_dim(torch.full((2,), 4 * math.log(2), dtype=F64), lengths).tolist() == [2.0, 1.0]


def test_dequantised_values_stay_in_their_bins_and_bound_the_probability() -> None:
    x = PIXELS.low + torch.arange(256, dtype=F64).reshape(64, 4) * PIXELS.step
    y = torch.stack([dequantise(x, PIXELS.step, seed, range(64)) for seed in range(50)])
    assert float((y - x).abs().max()) <= PIXELS.step / 2
    assert abs(float((y - x).mean())) < 4 * PIXELS.step / math.sqrt(12 * y.numel())
    assert torch.equal(dequantise(x[10:12], PIXELS.step, 3, [10, 11]), y[3, 10:12])
    inner = slice(1, 63)  # the first and the last bin reach to infinity
    exact = PIXELS.log_prob(x, torch.zeros(()), torch.tensor(0.5)).sum(1)[inner]
    density = log_normal(y.flatten(0, 1), 0.0, 0.25).reshape(50, 64).mean(0)[inner] + 4 * math.log(PIXELS.step)
    assert float((density - exact).mean().abs()) < 1e-3  # Jensen's loss is of order (step / std)^2


def test_a_reconstruction_counts_what_its_mask_keeps() -> None:
    schedule, bins = VE(1e-3, 10.0), Bins(2, -1.0, 2.0)
    x = torch.tensor([[1.0, -1.0, 1.0]], dtype=F64)
    t = schedule.time(torch.tensor([-2 * math.log(0.7)], dtype=F64))
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    nats = DiscretisedGaussian(lambda x_t, t: x_t, schedule, x, bins, mask)(torch.tensor([[0.4, 0.4, 9.0]]), t)
    by_hand = -math.log(0.5 * math.erfc(-0.4 / 0.7 / 2**0.5)) - math.log(0.5 * math.erfc(0.4 / 0.7 / 2**0.5))
    assert math.isclose(float(nats), by_hand, rel_tol=1e-6)


@pytest.mark.parametrize("schedule", [VP(), Cosine(), RectifiedFlow(), VE(1e-3, 1e3)], ids=repr)
def test_the_ode_gives_the_normal_density(schedule: Schedule) -> None:
    oracle = GaussianDenoiser(schedule, 0.0, 0.5)
    x = torch.tensor([[0.3, -0.2, 1.7], [0.0, 0.0, 0.9]], dtype=F64)
    found = log_density(oracle, x, schedule, 0.01, 100.0, steps=128, prior_variance=0.25)
    exact = log_normal(x, 0.0, 0.25 + float(schedule.noise_ratio(torch.tensor(ends(schedule, 0.01, 100.0)[0]))) ** 2)
    torch.testing.assert_close(found.nats, exact, rtol=0, atol=1e-6)
    assert found.error.tolist() == [0, 0]


def test_the_order_of_both_methods_on_a_mixture() -> None:
    schedule = VE(1e-3, 1e3)
    oracle = MixtureDenoiser(schedule, torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.0]), torch.tensor([0.3, 0.2]))
    x = torch.tensor([[-1.2], [0.1], [0.9]], dtype=F64)
    low, high = 0.2, 20.0
    t = float(schedule.time(torch.tensor(-2 * math.log(low), dtype=F64)))
    mean, square = 0.4, 0.3 * 1.09 + 0.7 * 1.04
    exact = oracle.log_density(x, t)
    reference = log_density(oracle, x, schedule, low, high, 250).nats
    for method, counts, expected in (("heun", (30, 60, 120), 2), ("rk4", (30, 60, 120), 4)):
        found = [log_density(oracle, x, schedule, low, high, n, exact_trace, method) for n in counts]  # type: ignore[arg-type]
        errors = [float((f.nats - reference).abs().max()) for f in found]
        assert abs(order(errors, counts) - expected) < 0.25, (method, errors)
    # what is left is the prior, which is not the marginal: of order (mean^2 + variance) / sigma_max^2
    assert float((reference - exact).abs().max()) < 3 * (square + mean**2) / high
    centred = log_density(oracle, x, schedule, low, 1e3, 150, prior_variance=square - mean**2).nats
    assert float((centred - exact).abs().max()) < 1e-3


def test_hutchinson_is_exact_for_a_diagonal_jacobian() -> None:
    schedule = RectifiedFlow()
    oracle = GaussianDenoiser(schedule, 0.2, 0.7)
    x = torch.tensor([[0.3, -0.2, 1.7, 0.1]] * 3, dtype=F64)
    exact = log_density(oracle, x, schedule, 0.05, 50.0, 16, method="heun").nats
    found = log_density(oracle, x, schedule, 0.05, 50.0, 16, Hutchinson(0, range(3), (4,), 3), "heun")
    assert float((found.nats - exact).abs().max()) < 1e-12 and float(found.error.max()) < 1e-12
    loose = log_density(oracle, x, schedule, 0.05, 50.0, 16, Hutchinson(0, range(3), (4,), 64, "gaussian"), "heun")
    assert bool((loose.error > 0.1).all()) and bool(((loose.nats - exact).abs() < 4 * loose.error).all())
    assert float(loose.nats.std()) > 0  # another position, another probe


@pytest.mark.parametrize(("kind", "variance"), [("rademacher", "off"), ("gaussian", "all")])
def test_variance_of_the_trace_of_a_symmetric_matrix(kind: str, variance: str) -> None:
    a = torch.tensor([[1.0, 0.5, -0.2], [0.5, 2.0, 0.3], [-0.2, 0.3, -1.0]], dtype=F64)
    z = torch.zeros(1, 3, dtype=F64, requires_grad=True)
    found = Hutchinson(0, [0], (3,), 4000, kind)(z, z @ a)[:, 0]  # type: ignore[arg-type]
    counted = a - torch.diag(a.diagonal()) if variance == "off" else a
    assert abs(float(found.mean()) - 2.0) < 0.15
    assert math.isclose(float(found.var()), 2 * float(counted.square().sum()), rel_tol=0.12)
    assert math.isclose(float(exact_trace(z, z @ a)), 2.0, rel_tol=1e-12)


def test_a_full_covariance_and_padding() -> None:
    """A correlated Gaussian in two of three numbers, the third padding, in float32: log N with the exact inverse."""
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
    schedule = Cosine()

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (float(c) for c in schedule(t))
        gain = alpha * cov @ torch.linalg.inv(alpha**2 * cov + sigma**2 * torch.eye(2, dtype=F64))
        return torch.cat([x_t[:, :2] @ gain.to(x_t).T, 0 * x_t[:, 2:]], 1)

    x = torch.tensor([[0.7, 0.2, 0.0], [1.0, -1.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    found = log_density(denoise, x, schedule, 0.01, 300.0, 64, prior_variance=1.0, mask=mask).nats
    law = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), cov + 1e-4 * torch.eye(2, dtype=F64))
    torch.testing.assert_close(found, law.log_prob(x[:, :2].double()), rtol=0, atol=2e-3)
    traced = log_density(denoise, x, schedule, 0.01, 300.0, 16, Hutchinson(1, range(2), (3,), 50), "rk4", 1.0, mask)
    assert bool(((traced.nats - found).abs() < 4 * traced.error + 2e-3).all()) and bool((traced.error > 0).all())


def test_nothing_flows_where_a_mask_says_so_whatever_the_denoiser_says() -> None:
    schedule = Cosine()
    oracle = GaussianDenoiser(schedule, 0.0, 0.5)

    def loud(x_t: Tensor, t: Tensor) -> Tensor:
        return torch.cat([oracle(x_t[:, :2], t), x_t[:, 2:] + x_t[:, :1] + 7], 1)

    x = torch.tensor([[0.3, -0.2, 0.0]], dtype=F64)
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    found = log_density(loud, x, schedule, 0.05, 20.0, 8, mask=mask).nats
    assert float(found) == pytest.approx(float(log_density(oracle, x[:, :2], schedule, 0.05, 20.0, 8).nats), rel=1e-12)


def test_the_error_is_the_spread_of_single_probes_over_the_root_of_their_number() -> None:
    schedule = RectifiedFlow()
    oracle = GaussianDenoiser(schedule, 0.0, 0.5)
    x, probes = torch.tensor([[0.3, -0.2], [1.0, 0.4]], dtype=F64), Hutchinson(3, range(2), (2,), 5, "gaussian")
    found = log_density(oracle, x, schedule, 0.05, 20.0, 6, probes)
    single = []
    for k in range(5):
        alone = Hutchinson(3, range(2), (2,), 5, "gaussian")
        alone.probes = probes.probes[k : k + 1]
        single.append(log_density(oracle, x, schedule, 0.05, 20.0, 6, alone).nats)
    each = torch.stack(single)
    torch.testing.assert_close(found.nats, each.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.error, each.std(0) / math.sqrt(5), rtol=1e-9, atol=0)


def test_the_density_integrates_to_one() -> None:
    schedule = VE(1e-3, 1e3)
    oracle = EmpiricalDenoiser(schedule, torch.tensor([[-1.0], [1.0], [1.0]], dtype=F64))
    x = torch.linspace(-2.5, 2.5, 201, dtype=F64)[:, None]
    density = log_density(oracle, x, schedule, 0.2, 100.0, 100).nats.exp()
    assert abs(float(torch.trapezoid(density, x[:, 0])) - 1) < 1e-3
    assert math.isclose(float(density[x[:, 0] > 0].sum() / density.sum()), 2 / 3, abs_tol=5e-3)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda f, x: log_density(torch.no_grad()(f), x, f.schedule, 0.1, 10.0), "without torch.no_grad"),
        (lambda f, x: log_density(f, x, f.schedule, 0.1, 10.0, 0), "at least one step"),
        (lambda f, x: log_density(f, x, f.schedule, 10.0, 0.1), "0 < sigma_min < sigma_max"),
        (lambda f, x: log_density(f, x, VE(0.1, 10.0), 20.0, 30.0), "no noise between"),
        (lambda f, x: Hutchinson(0, [0], (1,), 0), "at least one probe"),
    ],
)
def test_what_cannot_work_says_so(run: Callable[[GaussianDenoiser, Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(GaussianDenoiser(RectifiedFlow()), torch.zeros(1, 1, dtype=F64))


@pytest.mark.parametrize(("count", "step"), [(256, 1 / 127.5), (65536, 2.0**-15)])
def test_bound_density_and_probability_count_the_same_bits(count: int, step: float) -> None:
    """Normal data rounded to 8 and to 16 bits, in model space: its exact bits, its ODE density and its bound."""
    std, n, schedule = 0.2, 1200, Cosine()
    bins = Bins(count, -1.0, step).standardise(0.0, std)
    x = (std * torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=F64)).clamp(-0.99, 0.99)
    x = (((x + 1) / step).round() * step - 1) / std
    zero, one = torch.zeros((), dtype=F64), torch.ones((), dtype=F64)
    exact = -bins.log_prob(x, zero, one)[:, 0] / math.log(2)
    oracle = GaussianDenoiser(schedule)
    y = dequantise(x, bins.step, 0, range(n))
    nats = -log_density(oracle, y, schedule, bins.step / 20, 100.0, 60, prior_variance=1.0).nats
    assert abs(float((bits_per_dim(nats, 1, bins.step) - exact).mean())) < 2e-3
    # the oracle of normal data does not know that x is on a grid: some sigma_min costs it least, and still a little
    reconstruct = DiscretisedGaussian(oracle, schedule, x, bins)
    levels = Continuous(schedule, bins.step / 3, 100.0)
    terms = bound(oracle, x, levels, reconstruct, 0, range(n), 60, 4, prior_variance=1.0)
    excess = bits_per_dim(terms.total, 1) - exact
    assert 0 < float(excess.mean()) < 0.35 + 4 * float(excess.std()) / math.sqrt(n)
