"""The autoregressive judge: it learns by heart, reads long texts in windows, and is kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from modalities.text.evaluate import judge as module
from modalities.text.evaluate.judge import ARJudge, CausalLM, Course, next_bits, next_nats, obtain, train
from toolkit.errors import DataError


def net(size: int = 8, width: int = 32, layers: int = 2, causal: bool = True) -> CausalLM:
    """An untrained one that does not find all tokens equally likely."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = CausalLM(size, width, layers, causal)
        torch.nn.init.normal_(made.head.weight, std=0.3)
        for layer in made.stack.layers:
            torch.nn.init.normal_(layer.out.weight, std=0.2)
            torch.nn.init.normal_(layer.back.weight, std=0.2)
    return made.eval()


def ids(*shape: int, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


def test_a_new_network_needs_log2_of_the_vocabulary() -> None:
    bits = next_bits(CausalLM(8, 32, 1).eval(), ids(3, 20), 32)
    torch.testing.assert_close(bits, torch.full((3, 20), 3.0))


def test_a_token_is_judged_by_what_stands_before_it() -> None:
    made, x = net(), ids(2, 12)
    changed = x.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 8
    a, b = (next_bits(made, row, 16) for row in (x, changed))
    torch.testing.assert_close(a[:, :7], b[:, :7])
    assert (a[:, 7:] - b[:, 7:]).abs().min() > 1e-4
    # the probabilities of all possible next tokens sum to 1
    rows = torch.cat([x[:1, :5].expand(8, 5), torch.arange(8)[:, None]], dim=1)
    assert float((-next_nats(made, rows)[:, -1].detach()).exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("length", [1, 8, 9, 12, 13, 30])
def test_long_rows_are_read_in_windows_that_overlap_by_half(length: int) -> None:
    made, x = net(), ids(3, length)
    found = next_bits(made, x, 8)
    assert found.shape == (3, length)
    for i in range(length):
        start = max(0, (i // 4 - 1) * 4)
        alone = next_nats(made, x[:, start : i + 1])[:, -1] / math.log(2)
        torch.testing.assert_close(found[:, i], alone, atol=1e-5, rtol=1e-5)


def test_padding_costs_nothing_and_changes_nothing() -> None:
    judge, x = ARJudge(net(), 8), ids(2, 20)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[0, 11:] = False
    padded = x.masked_fill(~mask, 99)
    bits = judge.bits(padded, mask)
    torch.testing.assert_close(bits[0, :11], judge.bits(x)[0, :11])
    assert not bits[0, 11:].any() and torch.equal(bits[1], judge.bits(x)[1])
    with pytest.raises(ValueError, match="from 0 to 7"):
        judge.bits(padded)


def test_it_learns_a_sequence_by_heart_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    text = ids(40, seed=3).repeat(8)
    course = Course(steps=100, batch=8, length=32, lr=5e-3)
    said: list[str] = []
    first = obtain(text, text[:80], 8, said.append, course)
    again = obtain(text, text[:80], 8, said.append, course)
    assert [line.startswith("training") for line in said] == [True, False, False] and "bits" in said[1]
    assert first.name == again.name and first.name.startswith("text-") and first.held_out_bits == again.held_out_bits
    bits = first.bits(text[5:37][None])[0]
    # where a crop begins must be found out from its first tokens; after that all is known
    assert bits[:2].mean() > 1 and bits[6:].mean() < 0.2
    other = obtain(text.flip(0), text[:80], 8, said.append, course)
    assert other.name != first.name and len(list((tmp_path / "judges").iterdir())) == 2


def test_crops_need_enough_text() -> None:
    with pytest.raises(DataError, match="32 training tokens are too few"):
        train(net(), ids(32), lambda crops, draw: next_nats(net(), crops).mean(), Course(length=32))
    assert module.Course().length % 2 == 0


@torch.no_grad()
def test_what_kept_weights_mean_has_not_changed() -> None:
    """Weights in a cache know nothing of the code around them: when these numbers change, raise judge._VERSION."""
    net = CausalLM(5, width=16, layers=2)
    for i, weight in enumerate(net.parameters()):
        weight.copy_(0.4 * torch.sin(torch.arange(weight.numel()) * 0.7 + i).reshape(weight.shape))
    nats = next_nats(net, torch.tensor([[0, 3, 1, 4, 2, 2, 0, 1]]))[0]
    assert module._VERSION == 2
    expected = [2.99397, 1.26813, 2.43132, 1.25198, 1.68702, 4.35478, 1.26161, 2.08723]
    assert nats.tolist() == pytest.approx(expected, abs=1e-4)
