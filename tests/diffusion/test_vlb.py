"""The variational bound against entropies and integrals that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toolkit.diffusion import (
    VE,
    VP,
    WEIGHTINGS,
    Cosine,
    CosineChain,
    LinearChain,
    LogitNormal,
    LogNormal,
    RectifiedFlow,
    Schedule,
    Shift,
    TimeDistribution,
    Uniform,
    ZeroTerminalSNR,
)
from toolkit.diffusion.likelihood import Bins, DiscretisedGaussian, bits_per_dim
from toolkit.diffusion.schedule import expand
from toolkit.diffusion.vlb import Continuous, Levels, Steps, bound
from toolkit.verify.oracle import EmpiricalDenoiser, GaussianDenoiser

F64 = torch.float64
LOW, HIGH, STD = 0.05, 20.0, 0.5
SCHEDULES: list[Schedule] = [VP(), Cosine(), RectifiedFlow(), VE(0.01, 100.0), Shift(RectifiedFlow(), 3.0)]
LAWS: list[TimeDistribution | None] = [None, LogNormal(), LogitNormal(), Uniform(), LogNormal(-3.0, 0.3)]


def information(low: float = LOW, high: float = HIGH, std: float = STD) -> float:
    """The diffusion term of Gaussian data with its exact denoiser, in nats a number (I-MMSE)."""
    return 0.5 * (math.log1p((std / low) ** 2) - math.log1p((std / high) ** 2))


def midpoints(n: int) -> Tensor:
    return (torch.arange(n, dtype=F64) + 0.5) / n


def gaussian_loss(schedule: Schedule, t: Tensor) -> Tensor:
    return STD**2 / (1 + STD**2 * schedule.log_snr(t).exp())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_every_schedule_and_law_has_the_same_integral(schedule: Schedule, law: TimeDistribution | None) -> None:
    t, weight = Continuous(schedule, LOW, HIGH, law).draw(midpoints(8000))
    assert math.isclose(float((weight * gaussian_loss(schedule, t)).mean()), information(), rel_tol=1e-5)
    # no weight is more than 1 / share of the uniform law's, whatever the law leaves out
    ratio = schedule.noise_ratio(t)
    assert float((weight * ratio**2).max()) <= 4 * math.log(HIGH / LOW) * (1 + 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_estimate_is_the_closed_form_for_every_schedule(schedule: Schedule) -> None:
    oracle, n = GaussianDenoiser(schedule, 0.0, STD), 64
    x = STD * torch.randn(n, 3, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    terms = bound(oracle, x, Continuous(schedule, LOW, HIGH, LogNormal()), None, 0, range(n), 16, prior_variance=STD**2)
    error = float(terms.diffusion.std()) / math.sqrt(n)
    assert error < 0.1 * information() * 6
    assert abs(float(terms.diffusion.mean()) - 6 * information()) < 4 * error
    # of this x alone, and of the prior: the oracle's loss is (1 - g)^2 x^2 + g^2 r^2 in sigma / alpha = r
    t, weight = Continuous(schedule, LOW, HIGH).draw(midpoints(4000))
    ratio2 = schedule.noise_ratio(t)[:, None] ** 2
    gain = STD**2 / (STD**2 + ratio2)
    exact = (weight[:, None] * ((1 - gain) ** 2 * x.square().flatten(1).sum(1) + 6 * gain**2 * ratio2)).mean(0)
    z = (terms.diffusion - exact) / terms.variance.sqrt()
    assert float(z.square().mean()) < 2 and abs(float(z.mean())) < 0.5
    s2, r2 = STD**2, HIGH**2
    prior = (x.square() + r2) / (s2 + r2) - 1 - math.log(r2 / (s2 + r2))
    torch.testing.assert_close(terms.prior, prior.flatten(1).sum(1) / 2, rtol=1e-9, atol=0)


def test_a_gaussian_bound_is_its_own_density() -> None:
    """With exact posteriors the bound is tight: prior + diffusion = KL(N(x, low^2) || N(0, std^2 + low^2))."""
    schedule = Cosine()
    oracle, x = GaussianDenoiser(schedule, 0.0, STD), torch.tensor([[0.3], [-1.1]], dtype=F64)
    terms = bound(
        oracle, x, Continuous(schedule, LOW, HIGH), None, 0, range(2), 400, prior_variance=STD**2, antithetic=True
    )
    v = STD**2 + LOW**2
    exact = ((x.square() + LOW**2) / v - 1 - math.log(LOW**2 / v)).sum(1) / 2
    assert bool(((terms.total - exact).abs() < 4 * terms.variance.sqrt()).all())
    assert float(terms.variance.sqrt().max()) < 0.1 * float(exact.max())


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("draws", [2, 16])
def test_the_variance_is_what_repetition_shows(draws: int, antithetic: bool) -> None:
    schedule = RectifiedFlow()
    oracle, levels = GaussianDenoiser(schedule, 0.0, STD), Continuous(schedule, LOW, HIGH)
    x = torch.full((1200, 2), 0.4, dtype=F64)
    terms = bound(oracle, x, levels, None, 3, range(1200), draws, antithetic=antithetic)
    seen, told = float(terms.diffusion.var()), float(terms.variance.mean())
    assert seen < 1.15 * told < (3 if draws == 16 else 6) * seen
    if draws == 16:
        plain = float(bound(oracle, x, levels, None, 3, range(1200), 1).diffusion.var()) / draws
        assert seen < 0.8 * plain  # stratified levels are better than independent ones


def test_a_position_has_its_own_numbers_in_any_batch() -> None:
    schedule = Cosine()
    oracle, x = GaussianDenoiser(schedule), torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    levels = Continuous(schedule, LOW, HIGH, LogNormal())
    whole = bound(oracle, x, levels, None, 5, range(6), 4).diffusion
    part = bound(oracle, x[2:4], levels, None, 5, [2, 3], 4).diffusion
    assert torch.equal(whole[2:4], part)
    assert not torch.equal(bound(oracle, x, levels, None, 6, range(6), 4).diffusion, whole)


@pytest.mark.parametrize("chain", [LinearChain(50), CosineChain(30), ZeroTerminalSNR(LinearChain(40))], ids=repr)
def test_a_chain_is_the_sum_of_its_terms(chain: Schedule) -> None:
    """Each step once, with the weight of `VLB`, which is the KL of the two Gaussians (`toolkit verify`, D2)."""
    assert chain.T
    oracle, levels = GaussianDenoiser(chain, 0.0, STD), Steps.of_chain(chain)
    t, weight = levels.draw(midpoints(chain.T - 1))
    assert (t * chain.T).round().tolist() == list(range(chain.T, 1, -1))
    torch.testing.assert_close(weight, WEIGHTINGS["vlb"]().on_x(t, chain) * (chain.T - 1) / chain.T, rtol=1e-9, atol=0)
    exact = float((weight * gaussian_loss(chain, t)).mean())
    x = STD * torch.randn(400, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    terms = bound(oracle, x, levels, None, 0, range(400), chain.T - 1)
    error = float(terms.diffusion.std()) / 20
    assert abs(float(terms.diffusion.mean()) - 2 * exact) < 4 * error and error < 0.1 * exact
    alpha, sigma = chain(torch.ones((), dtype=F64))
    torch.testing.assert_close(terms.prior, (alpha**2 * x.square() / sigma**2).sum(1) / 2, rtol=1e-6, atol=1e-12)
    few = bound(oracle, x, Steps.of_chain(chain, weight.sqrt()), None, 0, range(400), 5)
    error = float(few.diffusion.std()) / 20
    assert abs(float(few.diffusion.mean()) - 2 * exact) < 4 * error


def test_more_steps_give_a_tighter_bound_and_in_the_limit_the_integral() -> None:
    schedule, last = RectifiedFlow(), math.inf
    for n in (4, 16, 64, 256, 1024):
        times = schedule.time(-2 * torch.linspace(math.log(HIGH), math.log(LOW), n + 1, dtype=F64))
        t, weight = Steps(schedule, times).draw(midpoints(n))
        value = float((weight * gaussian_loss(schedule, t)).mean())
        assert information() < value < last
        last = value
    assert last < 1.01 * information()


@pytest.mark.parametrize(
    ("schedule", "levels"),
    [(VP(), "continuous"), (VE(0.02, 50.0), "continuous"), (LinearChain(300), "chain")],
    ids=str,
)
def test_two_points_have_one_bit(schedule: Schedule, levels: str) -> None:
    """x = +-1 with its exact posterior mean tanh(x_t / sigma^2): 1 bit, and what the prior wastes."""
    x, n = torch.tensor([[-1.0], [1.0]], dtype=F64).repeat(100, 1), 200
    oracle = EmpiricalDenoiser(schedule, x[:2])
    law = LogNormal(math.log(0.6), 0.5)
    found: Levels = Continuous(schedule, 0.1, 50.0, law) if levels == "continuous" else Steps.of_chain(schedule)
    reconstruct = DiscretisedGaussian(oracle, schedule, x, Bins(2, -1.0, 2.0))
    terms = bound(oracle, x, found, reconstruct, 0, range(n), 120, prior_variance=1.0)
    bits = bits_per_dim(terms.total, 1)
    error = float(bits.std()) / math.sqrt(n)
    # a chain of 300 has a bound a little above the entropy, whatever the draws
    assert abs(float(bits.mean()) - 1.0) < 4 * error + (0.02 if levels == "chain" else 0.001)
    assert error < (0.06 if levels == "chain" else 0.03)


@pytest.mark.parametrize("schedule", [Cosine(), VE(0.02, 50.0)], ids=repr)
def test_a_known_law_over_sequences(schedule: Schedule) -> None:
    """Sequences of three signs with probabilities 1/2, 1/4, 1/8, 1/8: 1.75 bits."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, -1]], dtype=F64)
    data = signs.repeat_interleave(torch.tensor([4, 2, 1, 1]), 0)
    oracle, x = EmpiricalDenoiser(schedule, data), data.repeat(60, 1)
    reconstruct = DiscretisedGaussian(oracle, schedule, x, Bins(2, -1.0, 2.0))
    terms = bound(oracle, x, Continuous(schedule, 0.1, 40.0, LogNormal(-0.5, 0.5)), reconstruct, 1, range(480), 30)
    bits = bits_per_dim(terms.total, 1)
    error = float(bits.std()) / math.sqrt(480)
    of_prior = float(bits_per_dim(terms.prior, 1).mean())
    assert error < 0.06 and abs(float(bits.mean()) - 1.75) < 4 * error + of_prior
    # each sequence's own bound is near -log2 of its probability
    own = torch.stack([bits.reshape(60, 8)[:, i].mean() for i in (0, 4, 6, 7)])
    spread = torch.stack([bits.reshape(60, 8)[:, i].std() for i in (0, 4, 6, 7)]) / math.sqrt(60)
    assert bool(((own - torch.tensor([1.0, 2.0, 3.0, 3.0])).abs() < 4 * spread + 0.02).all())


def test_uniform_tokens_on_a_sphere_cost_log_v() -> None:
    """Embeddings of norm R = sqrt(d), posterior softmax(z . E / r^2): log2 V bits a token."""
    count, width, length, n = 27, 16, 5, 64
    table = torch.randn(count, width, generator=torch.Generator().manual_seed(0), dtype=F64)
    table = table / table.norm(dim=1, keepdim=True) * math.sqrt(width)
    tokens = torch.randint(count, (n, length), generator=torch.Generator().manual_seed(1))
    schedule, size = VP(), math.sqrt(width)

    def log_posterior(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, ratio = expand(schedule(t)[0], x_t), expand(schedule.noise_ratio(t), x_t)
        return torch.log_softmax((x_t / alpha) @ table.T / ratio**2, -1)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return log_posterior(x_t, t).exp() @ table

    def reconstruct(x_t: Tensor, t: Tensor) -> Tensor:
        return -log_posterior(x_t, t).gather(-1, tokens[..., None]).flatten(1).sum(1)

    levels = Continuous(schedule, 0.1 * size, 20 * size, LogNormal(math.log(0.4 * size), 0.6))
    terms = bound(denoise, table[tokens], levels, reconstruct, 0, range(n), 48)
    bits = bits_per_dim(terms.total, length)
    error = float(bits.std()) / math.sqrt(n)
    assert error < 0.1 and abs(float(bits.mean()) - math.log2(count)) < 4 * error + 0.01
    assert math.isclose(float(bits_per_dim(terms.prior, length).mean()), 1 / (2 * 400 * math.log(2)), rel_tol=1e-6)
    # a network that has learnt nothing, x_hat = 0, pays |x|^2 / 2 (1 / low^2 - 1 / high^2) for it
    zero = bound(lambda x_t, t: 0 * x_t, table[tokens], levels, None, 0, range(n), 64).diffusion
    assert math.isclose(float(zero.mean()), length / 2 * (100 - 1 / 400), rel_tol=0.05)


def test_an_antithetic_pair_is_one_noise_with_both_signs() -> None:
    schedule, x, seen = RectifiedFlow(), torch.tensor([[0.3, -0.7]], dtype=F64), []

    def watching(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append((x_t - expand(schedule(t)[0], x_t) * x) / expand(schedule(t)[1], x_t))
        return 0 * x_t

    bound(watching, x, Continuous(schedule, LOW, HIGH), None, 0, [0], 3, antithetic=True)
    assert len(seen) == 6
    for one, other in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(one, -other, rtol=1e-9, atol=1e-12)
        assert float(one.abs().min()) > 0


def test_memorising_one_example_costs_nothing() -> None:
    x = torch.tensor([[0.3, -0.7]])
    terms = bound(lambda x_t, t: x.expand_as(x_t), x, Continuous(Cosine(), 0.01, 100.0), None, 0, [0])
    assert float(terms.diffusion) == 0 and float(terms.prior) < 1e-4 and float(terms.reconstruction) == 0


def test_padding_costs_nothing() -> None:
    schedule, n = RectifiedFlow(), 8
    oracle = GaussianDenoiser(schedule)
    mask = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]).expand(n, 1, 5)
    x = torch.randn(n, 1, 5, generator=torch.Generator().manual_seed(0), dtype=F64) * mask

    def masked(x_t: Tensor, t: Tensor) -> Tensor:
        return oracle(x_t, t) * mask

    levels = Continuous(schedule, LOW, HIGH)
    padded = bound(masked, x, levels, None, 0, range(n), 40, prior_variance=1.0, mask=mask)
    short = bound(oracle, x[..., :3], levels, None, 0, range(n), 40, prior_variance=1.0)
    assert torch.equal(padded.prior, short.prior)
    assert abs(float((padded.diffusion - short.diffusion).mean())) < 3 * float(padded.diffusion.std())
    assert float(padded.diffusion.mean()) < 3 * information(std=1.0) * 1.5


def test_reconstructions_are_averaged_and_counted() -> None:
    schedule = VP()
    x = torch.zeros(300, 2, dtype=F64)
    low = float(schedule.noise_ratio(torch.tensor(Continuous(schedule, LOW, HIGH).first, dtype=F64)))

    def reconstruct(x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t / expand(schedule(t)[0], x_t)).square().sum(1)

    levels = Continuous(schedule, LOW, HIGH)
    terms = bound(lambda x_t, t: 0 * x_t, x, levels, reconstruct, 0, range(300), 2, reconstructions=50)
    assert math.isclose(float(terms.reconstruction.mean()), 2 * low**2, rel_tol=0.05)
    assert math.isclose(float(terms.variance.mean()), float(terms.reconstruction.var()), rel_tol=0.25)


def broken(levels: Levels) -> None:
    bound(lambda x_t, t: x_t, torch.zeros(2, 1), levels, None, 0, [0])


def test_what_cannot_work_says_so() -> None:
    with pytest.raises(ValueError, match=r"use Steps\.of_chain"):
        Continuous(LinearChain(100), 0.1, 1.0)
    with pytest.raises(ValueError, match="is no chain"):
        Steps.of_chain(VP())
    with pytest.raises(ValueError, match="still is noise"):
        Steps(RectifiedFlow(), torch.tensor([1.0, 0.5, 0.0]))
    with pytest.raises(ValueError, match="proportions above 0"):
        Steps(RectifiedFlow(), torch.tensor([1.0, 0.5, 0.1]), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="never draws a time"):
        Continuous(RectifiedFlow(), 0.1, 0.2, LogNormal(5.0, 0.1))
    with pytest.raises(ValueError, match="2 positions expected"):
        broken(Continuous(RectifiedFlow(), 0.1, 0.2))
