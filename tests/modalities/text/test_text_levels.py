"""Tokens with noise levels of their own: what the denoiser sees, and what counts in the loss."""

from __future__ import annotations

import math

import pytest
import torch

from modalities.text.denoiser import SWIFT
from tests.modalities.text.denoisers import DIMS, F64, LENGTH, draw, noised, oracle, untrained, words


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
    torch.testing.assert_close(denoiser.unknown(loss, t, cond), expected * 0.5075, rtol=1e-4, atol=0)


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
    assert torch.equal(denoiser.unknown(loss, times), loss)
    torch.testing.assert_close(denoiser.unknown(loss, times, ones), loss, rtol=1e-5, atol=0)


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
    assert float(gate.grad) == pytest.approx(slope / SWIFT, rel=0.02)
