"""The masked diffusion that the benchmark compares with: its bound in closed form, and both samplers on known laws."""

from __future__ import annotations

import importlib.util
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.text.evaluate.judge import CausalLM
from tests.conftest import ROOT


def load() -> Any:
    spec = importlib.util.spec_from_file_location("text_masked", ROOT / "benchmarks" / "text_masked.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


masked = load()


class Law:
    """A network that is right: (B, L) -> (B, L, size), by what a function says of each row."""

    def __init__(self, size: int, law: Any) -> None:
        self.size, self.law = size, law

    def __call__(self, ids: Tensor) -> Tensor:
        return torch.stack([self.law(row) for row in ids])


def pair(row: Tensor) -> Tensor:
    """Return the posterior of two tokens below 4 that are always the same, each given the other."""
    told = row[row < 4]
    logits = torch.zeros(2, 4) if len(told) == 0 else torch.full((2, 4), -30.0)
    if len(told):
        logits[:, told[0]] = 0
    return logits


def ids(*shape: int, size: int = 4) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(0))


def test_independent_uniform_tokens_cost_log_v_whatever_is_masked() -> None:
    found = masked.bound(CausalLM(16, 32, 1, causal=False).eval(), ids(5, 12, size=16), draws=4)
    torch.testing.assert_close(found, torch.full((5,), math.log(16), dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_right_posterior_gives_the_entropy() -> None:
    # two equal tokens are worth one: ln 4 for both
    rows = torch.tensor([[0, 0], [3, 3], [1, 1]])
    found = masked.bound(Law(4, pair), rows, draws=8)
    torch.testing.assert_close(found, torch.full((3,), math.log(4) / 2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_bound_is_the_integral_over_time() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = CausalLM(4, 32, 1, causal=False).eval()
        torch.nn.init.normal_(net.head.weight, std=0.5)
    row = torch.tensor([2, 0, 3])
    t = (np.arange(20_000) + 0.5) / 20_000
    expected = 0.0
    for mask in itertools.product([False, True], repeat=3):
        hidden = torch.tensor(mask)
        with torch.inference_mode():
            log_p = net(row.masked_fill(hidden, 4)[None])[0].log_softmax(-1)
        nats = -float(log_p[hidden, row[hidden]].sum())
        k = sum(mask)
        expected += float((t**k * (1 - t) ** (3 - k) / t).mean()) * nats / 3 if k else 0.0
    found = masked.bound(net, row.expand(200, 3), draws=12)
    error = float(found.std()) / math.sqrt(200)
    assert error < 0.02 and float(found.mean()) == pytest.approx(expected, abs=4 * error)


def test_the_loss_of_a_batch_has_a_gradient_for_the_masked_places_only() -> None:
    net = CausalLM(4, 32, 1, causal=False)
    value = masked.loss(net, ids(6, 10), torch.Generator().manual_seed(0))
    value.backward()
    assert float(value.detach()) == pytest.approx(math.log(4), abs=1e-5)
    assert net.head.bias.grad is not None and float(net.head.bias.grad.abs().max()) > 0


def test_more_steps_of_the_masked_sampler_keep_tokens_together() -> None:
    net = Law(4, pair)
    apart = {steps: masked.sample_masked(net, 400, 2, steps) for steps in (1, 50)}
    unequal = {steps: float((x[:, 0] != x[:, 1]).double().mean()) for steps, x in apart.items()}
    # both at once: 3 in 4 differ; one after the other: they do so only when drawn in one step, 1 time in 50
    assert unequal[1] == pytest.approx(0.75, abs=0.08) and unequal[50] < 0.05
    assert int(apart[50].max()) < 4 and torch.equal(apart[50], masked.sample_masked(net, 400, 2, 50))


def test_the_causal_sampler_follows_what_it_drew() -> None:
    def next_one(row: Tensor) -> Tensor:
        """Begins anywhere (4 is the beginning), then counts on."""
        logits = torch.full((len(row), 4), -30.0)
        logits[torch.arange(len(row)), (row + 1) % 4] = 0
        logits[row == 4] = 0
        return logits

    x = masked.sample_causal(Law(4, next_one), 200, 6)
    assert x.shape == (200, 6) and torch.equal(x[:, 1:], (x[:, :-1] + 1) % 4)
    assert torch.bincount(x[:, 0], minlength=4).min() > 25
