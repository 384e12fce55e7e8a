"""The denoiser of tokens beside the exact posterior, and what it promises of given tokens, padding and temperature."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from modalities.text.network.denoiser import TokenDenoiser
from tests.modalities.text.denoisers import (
    DIMS,
    F64,
    LENGTH,
    V,
    draw,
    fresh,
    noised,
    oracle,
    untrained,
    words,
)
from toolkit.diffusion import DDIM, SAMPLERS, Cosine, RectifiedFlow, Schedule, conditional
from toolkit.diffusion.grid import log_snr
from toolkit.diffusion.sampler import sample


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("t", [1e-3, 0.2, 0.5, 0.9, 1.0])
def test_a_new_one_finds_all_words_equally_likely_at_any_noise(t: float, training: bool) -> None:
    """The first loss is the log of the number of words: all tokens but padding."""
    denoiser, x = fresh().train(training), words(4, LENGTH)
    loss = denoiser.loss(x, torch.full((4,), t, dtype=F64), draw(4, DIMS, LENGTH))
    torch.testing.assert_close(loss, torch.full((4,), math.log(V - 1)), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("schedule", [RectifiedFlow(), Cosine()], ids=repr)
@pytest.mark.parametrize("noise", [0.3, 1.0, 4.0])
def test_an_open_gate_alone_is_the_exact_posterior(schedule: Schedule, noise: float) -> None:
    """Beside Bayes' rule, read aloud: p(w | z) ~ exp(-|z - alpha E_w|^2 / (2 sigma^2)), in float64."""
    denoiser = oracle(schedule)
    t = schedule.time(torch.full((6,), -2 * math.log(noise), dtype=F64))
    x_t = noised(denoiser, denoiser.embed(words(6, LENGTH)), t)
    alpha, sigma = (float(c[0]) for c in schedule(t))
    table = denoiser.table.double()[1:]
    gap = x_t.double().transpose(1, 2)[:, :, None] - alpha * table
    posterior = (-gap.square().sum(-1) / (2 * sigma**2)).softmax(-1)
    found = denoiser.logits(x_t, t).double().softmax(-1)
    assert float(found[..., 0].abs().max()) == 0
    torch.testing.assert_close(found[..., 1:], posterior, rtol=0, atol=1e-5)
    torch.testing.assert_close(denoiser(x_t, t).double(), (posterior @ table).transpose(1, 2), rtol=0, atol=3e-5)


@torch.no_grad()
def test_sampling_with_the_exact_posterior_lands_on_words_all_equally_often() -> None:
    denoiser = oracle()
    times = log_snr(denoiser.schedule, 60, sigma_min=0.02, sigma_max=40.0)
    x = sample(conditional(denoiser, {}), denoiser.schedule, DDIM(), draw(100, DIMS, 30), times)
    tokens = denoiser.unembed(x)
    assert float((x - denoiser.embed(tokens)).abs().max()) < 1e-4
    counts = torch.bincount(tokens.flatten(), minlength=V)
    expected = 3000 / (V - 1)
    assert counts[0] == 0
    # chi squared with 10 degrees of freedom is above 40 once in 60,000; the way has 60 steps, so it errs a little too
    assert float(((counts[1:] - expected) ** 2 / expected).sum()) < 40


@torch.no_grad()
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_given_words_come_back_whatever_the_network_thinks(name: str) -> None:
    """1,000 texts of every length of hole, by an untrained network with opinions."""
    denoiser = untrained()
    rows = 1000 if name == "ddim" else 50
    tokens = words(rows, LENGTH, seed=1)
    given = (draw(rows, 1, LENGTH, seed=2) > draw(rows, 1, 1, seed=3)).float()
    cond = {"tokens": tokens[:, None], "given": given}
    times = log_snr(denoiser.schedule, 4, sigma_min=0.1)
    noise = torch.Generator().manual_seed(4)
    x = sample(
        conditional(denoiser, cond), denoiser.schedule, SAMPLERS[name](), draw(rows, DIMS, LENGTH, seed=5), times,
        lambda: torch.randn(rows, DIMS, LENGTH, generator=noise),
    )  # fmt: skip
    found = denoiser.unembed(x)
    told = given[:, 0] > 0
    assert torch.equal(found[told], tokens[told]) and int(found.min()) > 0
    assert 0.2 < float(told.float().mean()) < 0.8 and bool((found[~told] != tokens[~told]).any())


@torch.no_grad()
def test_x_hat_of_what_is_given_is_its_embedding_and_noise_there_does_not_matter() -> None:
    denoiser, tokens = untrained(), words(3, LENGTH)
    given = torch.zeros(3, 1, LENGTH)
    given[:, :, 2:6] = 1
    cond, t = {"tokens": tokens[:, None], "given": given}, torch.tensor([0.3, 0.6, 0.9], dtype=F64)
    x_t = draw(3, DIMS, LENGTH)
    x_hat = denoiser(x_t, t, cond)
    assert torch.equal(x_hat[..., 2:6], denoiser.embed(tokens)[..., 2:6])
    assert torch.equal(x_hat, denoiser(torch.where(given > 0, 100 * draw(3, DIMS, LENGTH, seed=9), x_t), t, cond))
    # what is given changes what is found elsewhere
    assert float((x_hat - denoiser(x_t, t, {}))[..., :2].abs().max()) > 1e-3


@torch.no_grad()
def test_what_is_given_does_not_count() -> None:
    denoiser, x = untrained(), words(2, LENGTH)
    t, eps = torch.tensor([0.5, 0.7], dtype=F64), draw(2, DIMS, LENGTH)
    given = torch.ones(2, 1, LENGTH)
    given[0, 0, 3], given[1] = 0, 1
    cond = {"given": given}
    lost = -denoiser.logits(noised(denoiser, denoiser.embed(x), t), t, {**cond, "tokens": x[:, None]}).log_softmax(-1)
    loss = denoiser.loss(x, t, eps, cond)
    assert float(loss[0]) == pytest.approx(float(lost[0, 3, x[0, 3]]), rel=1e-5)
    assert float(loss[1]) == 0  # nothing to find


@torch.no_grad()
def test_padding_is_never_a_word() -> None:
    denoiser = untrained()
    head = denoiser.net.body.head
    head.bias[0] = 1e3  # the network would like it best
    x_t, t = draw(4, DIMS, LENGTH), torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=F64)
    for temperature in (1.0, 10.0):
        posterior = denoiser.logits(x_t, t, {"temperature": torch.full((4,), temperature)}).softmax(-1)
        assert float(posterior[..., 0].max()) == 0
        torch.testing.assert_close(posterior.sum(-1), torch.ones(4, LENGTH))
    assert int(denoiser.unembed(denoiser(x_t, t)).min()) > 0


@torch.no_grad()
def test_the_limits_of_temperature() -> None:
    """Cold, x_hat is the likeliest word; hot, the mean of all."""
    denoiser, x_t, t = untrained(), draw(4, DIMS, LENGTH), torch.full((4,), 0.6, dtype=F64)
    likeliest = denoiser.logits(x_t, t).argmax(-1)
    torch.testing.assert_close(denoiser(x_t, t, {"temperature": torch.full((4,), 1e-6)}), denoiser.embed(likeliest))
    assert torch.equal(denoiser(x_t, t, {"temperature": torch.ones(4)}), denoiser(x_t, t))
    denoiser.net.gate.zero_()
    mean = denoiser.table[1:].mean(0)[None, :, None].expand(4, -1, LENGTH)
    torch.testing.assert_close(denoiser(x_t, t, {"temperature": torch.full((4,), 100.0)}), mean, rtol=0, atol=0.05)


@torch.no_grad()
def test_embedding_has_unit_variance_and_is_undone_for_every_token() -> None:
    denoiser = untrained()
    torch.testing.assert_close(denoiser.table.square().sum(1), torch.full((V,), float(DIMS)))
    tokens = torch.arange(V).expand(2, V)
    x = denoiser.embed(tokens)
    assert x.shape == (2, *denoiser.space((V,))) and float(x[:, :, 0].abs().max()) == 0
    assert torch.equal(denoiser.unembed(x), tokens)
    assert torch.equal(denoiser.unembed(x + 0.1 * (x != 0) * draw(2, DIMS, V)), tokens)


def shown(denoiser: TokenDenoiser, batch: int) -> Tensor:
    """Return a (B,) bool: the examples of a training batch that see an own estimate."""
    seen: list[Tensor] = []
    forward = denoiser.net.forward

    def spy(x: Tensor, c_noise: Tensor, cond: Any) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(x[:, -1 - DIMS : -1])
        return forward(x, c_noise, cond)

    denoiser.net.forward = spy  # type: ignore[method-assign]
    t = torch.linspace(0.1, 0.9, batch, dtype=F64)
    denoiser.loss(words(batch, LENGTH), t, draw(batch, DIMS, LENGTH)).sum().backward()
    assert len(seen) == 1
    return seen[0].detach().flatten(1).abs().sum(1) > 0


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.5, 0.75, 1.0])
def test_the_share_of_a_batch_that_is_shown_an_own_estimate(share: float) -> None:
    some = shown(untrained(recall=share).train(), 40)
    assert abs(int(some.sum()) - 40 * share) <= 1
    # spread over the batch, and so over the noise levels
    halves = some.reshape(2, 20).sum(1)
    assert abs(int(halves[0] - halves[1])) <= 1


def test_no_estimate_when_there_is_to_be_none() -> None:
    assert not bool(shown(untrained(recall=0).train(), 8).any()) and not fresh(recall=0).self_conditioning
    assert not bool(shown(untrained().eval(), 8).any()) and fresh().self_conditioning
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"share in \[0, 1\]"):
            fresh(recall=wrong)


@torch.no_grad()
def test_an_estimate_of_zero_is_none_and_another_matters() -> None:
    denoiser, x_t, t = untrained(), draw(3, DIMS, LENGTH), torch.full((3,), 0.5, dtype=F64)
    none = denoiser(x_t, t)
    assert torch.equal(none, denoiser(x_t, t, {"estimate": torch.zeros_like(x_t)}))
    assert float((none - denoiser(x_t, t, {"estimate": none})).abs().max()) > 1e-3


@torch.no_grad()
def test_a_text_is_denoised_alike_alone_and_with_padding_after_it() -> None:
    denoiser, x = untrained(), words(2, LENGTH)
    x[0, 6:] = 0
    mask = (torch.arange(LENGTH) < torch.tensor([[[6]], [[LENGTH]]])).float()
    t = torch.tensor([0.4, 0.8], dtype=F64)
    x_t, eps = draw(2, DIMS, LENGTH), draw(2, DIMS, LENGTH, seed=1)
    x_hat = denoiser(x_t, t, {"mask": mask})
    assert float(x_hat[0, :, 6:].abs().max()) == 0
    torch.testing.assert_close(x_hat[:1, :, :6], denoiser(x_t[:1, :, :6], t[:1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(x_hat[1:], denoiser(x_t[1:], t[1:]), rtol=0, atol=1e-5)
    loss = denoiser.loss(x, t, eps, {"mask": mask})
    assert float(loss[0]) == pytest.approx(float(denoiser.loss(x[:1, :6], t[:1], eps[:1, :, :6])[0]), rel=1e-5)
    other = torch.where(mask > 0, x_t, 1e3)
    assert torch.equal(denoiser(other, t, {"mask": mask}), x_hat)


def test_half_precision_networks_give_x_hat_in_the_states_own_type() -> None:
    denoiser, x_t = untrained(), draw(2, DIMS, LENGTH)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x_hat = denoiser(x_t, torch.tensor(0.4, dtype=F64))
    assert x_hat.dtype == x_t.dtype
    torch.testing.assert_close(x_hat, denoiser(x_t, torch.tensor(0.4, dtype=F64)).detach(), rtol=0, atol=0.15)


@torch.no_grad()
def test_the_ends_of_the_schedule_are_finite() -> None:
    denoiser, x_t = untrained(), draw(2, DIMS, LENGTH)
    for t in (1e-6, 1 - 1e-6, 1.0):
        assert bool(denoiser(x_t, torch.tensor(t, dtype=F64)).isfinite().all())


def test_no_end_is_predicted_where_none_may_come() -> None:
    denoiser = untrained()
    x_t, t = draw(3, *denoiser.space((8,))), torch.full((3,), 0.7, dtype=torch.float64)
    free = denoiser.logits(x_t, t, {}).softmax(-1)
    bound = denoiser.logits(x_t, t, {"endless": torch.ones(3)}).softmax(-1)
    assert float(free[..., 1].detach().min()) > 0 and float(bound[..., 1].detach().max()) == 0
    rest = free.detach().clone()
    rest[..., 1] = 0
    assert torch.allclose(bound.detach(), rest / rest.sum(-1, keepdim=True), atol=1e-6)


@torch.no_grad()
def test_what_is_given_looks_the_same_at_any_noise() -> None:
    """To the network: else a text would be written before its source, or what is around its hole, can be read."""
    denoiser, tokens, seen = untrained(), words(3, LENGTH), []
    given = (torch.arange(LENGTH) < 6).float().expand(3, 1, LENGTH)
    denoiser.net.register_forward_pre_hook(lambda net, told: seen.append(told[0]))
    for t in (0.01, 0.5, 0.999, 1.0):
        for spread in (0.0, 5.0):
            cond = {"given": given, "tokens": tokens[:, None], "scale": (spread * draw(3, 1, LENGTH)).exp()}
            denoiser.logits(draw(3, DIMS, LENGTH), torch.full((3,), t, dtype=F64), cond)
    assert all(torch.equal(one[:, :, :6], seen[0][:, :, :6]) for one in seen)
    shown = seen[0][:, :DIMS, :6].transpose(1, 2)
    assert torch.equal(denoiser.unembed(shown.transpose(1, 2)), tokens[:, :6])
    torch.testing.assert_close(shown.square().mean(-1), torch.full((3, 6), 1 / (1 + 0.01 * DIMS)), rtol=1e-4, atol=0)
