"""Tokens with noise levels of their own: what the denoiser sees, and what counts in the loss."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from modalities.text.network.denoiser import GATE_GAIN, TokenDenoiser
from modalities.text.network.token_noise import spread_out
from modalities.text.network.transformer import NOISE_FEATURES
from modalities.text.options import Model
from tests.modalities.text.denoisers import DIMS, F64, LENGTH, draw, noised, oracle, untrained, words
from toolkit.diffusion import RectifiedFlow
from toolkit.diffusion.denoiser import Cond


@torch.no_grad()
def test_a_scale_is_another_noise_level_for_that_token_alone() -> None:
    """The gate alone knows each place by itself: scaled by s, it says what it says at noise / s without a scale."""
    denoiser, x = oracle(), words(5, LENGTH)
    t = denoiser.schedule.time(torch.full((5,), -2 * math.log(1.5), dtype=F64))
    scale = torch.linspace(-1, 1, LENGTH).exp().expand(5, 1, LENGTH)
    embedded = denoiser.embed(x, {"scale": scale})
    assert torch.equal(embedded, scale * denoiser.embed(x)) and torch.equal(denoiser.unembed(embedded), x)
    eps = draw(5, DIMS, LENGTH)
    alpha, sigma = (c.float()[:, None, None] for c in denoiser.schedule(t))
    found = denoiser(alpha * embedded + sigma * eps, t, {"scale": scale})
    for place in range(LENGTH):
        factor = float(scale[0, 0, place])
        alone = denoiser.schedule.time(torch.full((5,), -2 * math.log(1.5 / factor), dtype=F64))
        a, s = (c.float()[:, None, None] for c in denoiser.schedule(alone))
        same = denoiser(a * denoiser.embed(x) + s * eps, alone)
        torch.testing.assert_close(found[..., place], factor * same[..., place], rtol=0, atol=2e-4)


@torch.no_grad()
def test_scales_of_one_change_nothing_and_given_words_come_back_scaled() -> None:
    denoiser, tokens = untrained(), words(3, LENGTH)
    x_t, t = draw(3, DIMS, LENGTH), torch.tensor([0.3, 0.6, 0.9], dtype=F64)
    ones = torch.ones(3, 1, LENGTH)
    assert torch.equal(denoiser(x_t, t), denoiser(x_t, t, {"scale": ones}))
    scale = torch.linspace(0.1, 5, LENGTH).expand(3, 1, LENGTH)
    told = {"scale": scale, "given": ones, "tokens": tokens[:, None]}
    assert torch.equal(denoiser(x_t, t, told), denoiser.embed(tokens, {"scale": scale}))
    x_hat = denoiser(x_t, t, {"scale": scale})
    assert float((x_hat / scale).square().sum(1).max()) <= DIMS * 1.0001  # each within its sphere
    assert float((x_hat - denoiser(x_t, t)).abs().max()) > 1e-3


@torch.no_grad()
def test_the_loss_is_of_the_tokens_that_noise_leaves_open() -> None:
    """Half of the tokens clear, half noise: the loss is that of the noisy half, and half of that is not known."""
    denoiser, x = untrained().eval(), words(6, LENGTH)
    t = denoiser.schedule.time(torch.zeros(6, dtype=F64))
    noisy = (torch.arange(LENGTH) % 2).float().expand(6, LENGTH)
    cond = {"scale": torch.where(noisy > 0, 1e-3, 1e3)[:, None]}
    eps = draw(6, DIMS, LENGTH)
    embedded = denoiser.embed(x, cond)
    alpha, sigma = (c.float()[:, None, None] for c in denoiser.schedule(t))
    logits = denoiser.logits(alpha * embedded + sigma * eps, t, cond)
    lost = torch.nn.functional.cross_entropy(logits.transpose(1, 2), x, reduction="none")
    expected = (lost * (noisy + 0.015 * (1 - noisy))).sum(1) / (1.015 * noisy.sum(1))
    loss = denoiser.loss(x, t, eps, cond)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(denoiser.uncertainty(loss, t, cond), expected * 0.5075, rtol=1e-4, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("t", [0.01, 0.3, 0.7, 0.99])
def test_tokens_of_one_level_count_alike(t: float) -> None:
    """Then the loss is the plain mean, which is what is not known."""
    denoiser, x, times = untrained().eval(), words(4, LENGTH), torch.full((4,), t, dtype=F64)
    ones = {"scale": torch.ones(4, 1, LENGTH)}
    loss = denoiser.loss(x, times, draw(4, DIMS, LENGTH))
    lost = torch.nn.functional.cross_entropy(
        denoiser.logits(noised(denoiser, denoiser.embed(x), times), times).transpose(1, 2), x, reduction="none"
    )
    torch.testing.assert_close(loss, lost.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, denoiser.loss(x, times, draw(4, DIMS, LENGTH), ones), rtol=1e-5, atol=1e-6)
    assert torch.equal(denoiser.uncertainty(loss, times), loss)
    torch.testing.assert_close(denoiser.uncertainty(loss, times, ones), loss, rtol=1e-5, atol=0)


def test_the_gates_gradient_is_that_of_the_gate_itself() -> None:
    """The gate counts SWIFT times; its gradient is told without that factor, or it would rule clipping."""
    denoiser, x = untrained().eval(), words(4, LENGTH)
    t, eps, gate, step = torch.full((4,), 0.5, dtype=F64), draw(4, DIMS, LENGTH), denoiser.net.gate, 1e-4
    denoiser.loss(x, t, eps).mean().backward()
    assert gate.grad is not None
    with torch.no_grad():
        there = []
        for move in (step, -2 * step):
            gate += move
            there.append(float(denoiser.loss(x, t, eps).double().mean()))
    slope = (there[0] - there[1]) / (2 * step)
    assert abs(slope) > 0.1
    assert float(gate.grad) == pytest.approx(slope / GATE_GAIN, rel=0.02)


@torch.no_grad()
def test_neither_padding_nor_what_is_given_is_unknown() -> None:
    """The uncertainty counts the unknown tokens as a share of those that are to be found."""
    denoiser = untrained().eval()
    t = denoiser.schedule.time(torch.zeros(1, dtype=F64))
    noisy = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    cond = {"scale": torch.where(noisy > 0, 1e-3, 1e3)[None, None]}
    loss = torch.tensor([2.0])
    mask, given = torch.tensor([[[1.0, 1, 1, 1, 0, 0]]]), torch.tensor([[[0.0, 0, 0, 1, 0, 0]]])
    for told, share in (({}, 4 / 6), ({"mask": mask}, 2 / 4), ({"mask": mask, "given": given}, 1 / 3)):
        found = float(denoiser.uncertainty(loss, t, {**cond, **told}))
        assert found == pytest.approx(2 * (share + 0.015 * (1 - share)), rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("lowest", "highest"), [(0.1, 10.0), (0.03, 3.0)])
def test_the_network_is_told_noise_over_the_range_of_the_options(lowest: float, highest: float) -> None:
    """At its ends the first and the last input are 1; what is given looks as at its lower end."""
    seen: list[torch.Tensor] = []
    denoiser = TokenDenoiser(untrained().net, RectifiedFlow(), lowest=lowest, highest=highest)
    forward = denoiser.net.forward

    def spy(x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        seen.append(x[:, DIMS : DIMS + NOISE_FEATURES])
        return forward(x, c_noise, cond)

    denoiser.net.forward = spy  # type: ignore[method-assign]
    norms = torch.tensor([lowest, highest], dtype=F64)
    t = denoiser.schedule.time(-2 * (norms * DIMS**0.5).log())
    x_t, tokens = draw(2, DIMS, LENGTH), words(2, LENGTH)
    denoiser(x_t, t)
    one = torch.ones(LENGTH)
    torch.testing.assert_close(seen[0][0, 0], one)
    torch.testing.assert_close(seen[0][1, -1], one)
    denoiser(x_t, t, {"given": torch.ones(2, 1, LENGTH), "tokens": tokens[:, None]})
    torch.testing.assert_close(seen[1], seen[0][:1].expand(2, -1, -1))


def test_noise_levels_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="positive and rise, got 3 to 2"):
        TokenDenoiser(untrained().net, RectifiedFlow(), lowest=3, highest=2)
    with pytest.raises(ValidationError, match="lowest 30 is not below highest 10"):
        Model(lowest=30)


@torch.no_grad()
def test_an_estimate_is_shown_without_its_scale() -> None:
    """x_hat = scale E[tokens] is told as E[tokens], as large at every noise level."""
    denoiser, seen = untrained(), []
    denoiser.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    x_t, t = draw(3, DIMS, LENGTH), torch.tensor([0.3, 0.6, 0.9], dtype=F64)
    scale = torch.linspace(0.1, 5, LENGTH).expand(3, 1, LENGTH)
    clear = denoiser.embed(words(3, LENGTH))
    denoiser(x_t, t, {"scale": scale, "estimate": scale * clear})
    shown = seen[0][:, -1 - DIMS : -1]  # before the channel that says what is given
    torch.testing.assert_close(shown, clear, rtol=0, atol=1e-5)


def test_padded_texts_have_every_level_among_their_own_tokens() -> None:
    length = torch.tensor([1, 4, 9])
    found = spread_out(torch.rand(3, 9, generator=torch.Generator().manual_seed(0)), 2.0, length)[:, 0]
    for row, size in zip(found, length.tolist(), strict=True):
        expected = torch.exp(2.0 * ((2 * torch.arange(size) + 1) / size - 1))
        torch.testing.assert_close(row[:size].sort().values, expected)
        assert row[size:].tolist() == [1.0] * (9 - size)
    # what is behind changes nothing
    order = torch.rand(3, 9, generator=torch.Generator().manual_seed(1))
    cut = spread_out(order[:2, :4], 2.0, length[:2])
    assert torch.equal(spread_out(order, 2.0, length)[:2, :, :4], cut)
