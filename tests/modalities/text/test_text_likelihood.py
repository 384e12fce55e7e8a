"""The bound of texts against entropies that are known, with noise levels that are equal or differ between tokens."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modalities.text.evaluate.likelihood import Bits, bits, terms
from modalities.text.network import token_noise
from modalities.text.network.denoiser import GATE_GAIN, TokenDenoiser
from modalities.text.network.transformer import build
from modalities.text.options import Model
from tests.modalities.text import denoisers
from tests.modalities.text.laws import DIMS, LENGTH, Law, V, chain
from toolkit.diffusion import RectifiedFlow
from toolkit.diffusion.likelihood import prior_divergence
from toolkit.diffusion.vlb import Continuous, bound

LEAST, MOST = 0.1 * DIMS**0.5, 30 * DIMS**0.5
SPREADS = [0.0, 1.5, 4.0, 5.0, 6.0]


def measured(denoiser: TokenDenoiser, tokens: Tensor, spread: float, draws: int = 32) -> Bits:
    cond = token_noise.scales(spread, LENGTH, 0, range(len(tokens)))
    ends = LEAST / math.exp(spread), MOST * math.exp(spread)
    return bits(denoiser.eval(), None, ends, tokens, torch.full((len(tokens),), LENGTH), cond, draws=draws)


@pytest.mark.parametrize("spread", SPREADS)
def test_tokens_that_know_nothing_of_each_other_cost_the_log_of_their_number(spread: float) -> None:
    """With the network silent and the gate open, which is the exact posterior."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = TokenDenoiser(build(Model(preset="smoke", width=16, depth=1, dims=DIMS), V, 0), RectifiedFlow())
    with torch.no_grad():
        denoiser.net.gate.fill_(1 / GATE_GAIN)
    tokens = torch.randint(1, V, (256, LENGTH), generator=torch.Generator().manual_seed(1))
    found = measured(denoiser, tokens, spread)
    assert found.total == pytest.approx(math.log2(V - 1), abs=3.5 * found.error + found.prior)
    assert found.error < 0.05 and found.prior < 0.02


@pytest.mark.parametrize("spread", SPREADS)
def test_a_chain_of_tokens_costs_its_entropy(spread: float) -> None:
    """Each token mostly follows from the one before: 2.58 bits for the first, and 1.19 for each after it."""
    start, following = chain()
    draw = torch.Generator().manual_seed(2)
    tokens = [torch.multinomial(start, 256, True, generator=draw)]
    for _ in range(LENGTH - 1):
        tokens.append(torch.multinomial(following[tokens[-1]], 1, generator=draw)[:, 0])
    rows = torch.stack(tokens, 1)
    steps = following[rows[:, :-1], rows[:, 1:]].log2().sum(1)
    truth = -(steps + math.log2(1 / (V - 1))) / LENGTH  # of these very rows
    found = measured(Law(start, following), rows, spread)
    assert found.total == pytest.approx(float(truth.mean()), abs=3.5 * found.error + found.prior)
    assert found.error < 0.06


def test_a_text_known_by_heart_costs_nothing() -> None:
    start, following = torch.full((V,), 1e-12), torch.full((V, V), 1e-12)
    start[1] = 1
    for token in range(V):
        following[token, token % (V - 1) + 1] = 1
    rows = (torch.arange(LENGTH) % (V - 1) + 1).expand(8, -1)
    found = measured(Law(start, following), rows, 2.0, draws=4)
    assert found.diffusion + found.reconstruction < 1e-6 and found.prior < 0.02


def test_every_text_has_all_levels_and_a_position_has_its_own() -> None:
    made = token_noise.scales(2.0, 5, 3, range(40))["scale"]
    assert torch.allclose(made.log().sort(-1).values, torch.tensor([-1.6, -0.8, 0.0, 0.8, 1.6]).expand(40, 1, 5))
    assert torch.equal(made[[7, 2]], token_noise.scales(2.0, 5, 3, [7, 2])["scale"])
    assert len({tuple(row) for row in made.flatten(1).tolist()}) > 20
    assert token_noise.scales(0.0, 5, 3, range(4)) == {}


def test_an_own_estimate_is_of_a_first_pass_at_the_same_noise() -> None:
    denoiser = denoisers.untrained()
    tokens = denoisers.words(6, denoisers.LENGTH)
    levels_ = Continuous(denoiser.schedule, 1.0, 30.0)
    found = terms(denoiser, levels_, tokens, {}, 3, range(6), 4)
    x = denoiser.embed(tokens)

    def second(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            return denoiser(x_t, t, {"estimate": denoiser(x_t, t)})

    assert torch.equal(found.diffusion, bound(second, x, levels_, None, 3, range(6), 4).diffusion)
    once = bound(torch.no_grad()(denoiser), x, levels_, None, 3, range(6), 4)
    assert float((found.diffusion - once.diffusion).abs().min()) > 1e-3


def test_given_tokens_cost_nothing_in_any_term() -> None:
    """Given tokens drop out of each term; the noise is so high that each term is large."""
    denoiser = denoisers.untrained()
    tokens = denoisers.words(1, denoisers.LENGTH)
    given = (torch.arange(denoisers.LENGTH) >= 4).float().expand(1, 1, -1)
    levels_ = Continuous(denoiser.schedule, 2.0, 3.0)
    found = terms(denoiser, levels_, tokens, {"given": given}, 0, [0], 2)  # type: ignore[arg-type]
    x = denoiser.embed(tokens)
    alpha, sigma = denoiser.schedule(torch.tensor(levels_.last, dtype=torch.float64))
    assert torch.equal(found.prior, prior_divergence(x[..., :4], alpha, sigma))
    everything = terms(denoiser, levels_, tokens, {}, 0, range(1), 2)
    assert float(found.prior) < 0.6 * float(everything.prior)
    # with an untrained network a token costs some log V nats, and here four of ten are counted
    assert 0 < float(found.reconstruction) < 0.7 * float(everything.reconstruction)
