"""The transformer beside torch's own attention and convolution, by what it may see, and from its first steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.nn.common import randomise
from toolkit.nn.transformer import Rotary, Stack, Transformer, attention, heads_of, shift

F64 = torch.float64


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("biased", [False, True])
def test_attention_written_out_is_torchs(biased: bool) -> None:
    q, k, v = draw(3, 2, 4, 17, 8, dtype=F64)
    bias = torch.zeros(2, 1, 1, 17, dtype=F64).masked_fill(draw(2, 1, 1, 17) > 0.5, -1e4) if biased else None
    wanted = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    torch.testing.assert_close(attention(q, k, v, bias), wanted, rtol=0, atol=1e-13)


def test_long_sequences_take_the_fused_kernel_to_the_same_result() -> None:
    q, k, v = draw(3, 1, 1, 1025, 4)
    whole = attention(q, k, v, None)
    torch.testing.assert_close(attention(q[..., :64, :], k, v, None), whole[..., :64, :], rtol=0, atol=1e-5)


def test_turned_vectors_meet_by_their_distance_alone() -> None:
    """q at place i and k at place j: q.k depends on i - j, and is q.k itself where i = j (Su et al. 2021, eq. 16)."""
    q, k = draw(2, 16)
    angles = Rotary(16).angles(40, q.device)
    turned = [Rotary.turn(x.expand(40, 16), angles) for x in (q, k)]
    scores = turned[0] @ turned[1].T
    for distance in (-39, -7, 0, 1, 20):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-4)
    assert float(scores[0, 0]) == pytest.approx(float(q @ k), abs=1e-5)
    assert float(scores[0].std()) > 0.1
    # pair 0 turns by one radian a place
    a, b = float(q[0]), float(q[1])
    assert float(turned[0][3, 0]) == pytest.approx(a * math.cos(3) - b * math.sin(3), abs=1e-5)
    with pytest.raises(ValueError, match="even number"):
        Rotary(7)


@torch.no_grad()
def test_a_network_sees_places_only_relative_to_each_other() -> None:
    """Far from the ends, what stands one place further on comes out one place further on."""
    net = randomise(Stack(32, 2, 2))
    part = draw(1, 5, 32)
    mask = torch.zeros(2, 12)
    h = torch.zeros(2, 12, 32)
    for row, start in enumerate((2, 6)):
        h[row, start : start + 5] = part
        mask[row, start : start + 5] = 1
    found = net(h, mask=mask)
    torch.testing.assert_close(found[0, 2:7], found[1, 6:11], rtol=0, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_shifting_is_a_convolution_with_kernels_of_a_single_one(causal: bool) -> None:
    h = draw(2, 9, 12)
    kernel = torch.zeros(12, 12, 3)
    places = [0, 2, 1] if not causal else [1, 0, 2]  # for the first quarter, the second, and the rest
    for channel in range(12):
        kernel[channel, channel, places[min(channel // 3, 2)]] = 1
    x = functional.pad(h.transpose(1, 2), (2, 0) if causal else (1, 1))
    assert torch.equal(shift(h, causal), functional.conv1d(x, kernel).transpose(1, 2))


@torch.no_grad()
@pytest.mark.parametrize("place", [1, 5, 9])
def test_a_causal_stack_sees_nothing_behind(place: int) -> None:
    h = draw(2, 10, 32)
    changed = h.clone()
    changed[:, place] = draw(2, 32, seed=1)
    causal, both = randomise(Stack(32, 3, 2, causal=True)), randomise(Stack(32, 3, 2))
    gap = (causal(h) - causal(changed)).abs().amax((0, 2))
    assert float(gap[:place].max()) < 1e-6 and float(gap[place:].min()) > 1e-4
    assert float((both(h) - both(changed)).abs().amax((0, 2)).min()) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_what_stands_in_the_padding_does_not_matter_nor_that_there_is_any(causal: bool) -> None:
    net, emb = randomise(Stack(32, 3, 2, embedding=8, causal=causal)), draw(2, 8, seed=1)
    h, mask = draw(2, 10, 32), torch.ones(2, 10)
    mask[0, 6:] = 0
    other = torch.where(mask[..., None] > 0, h, 100 * draw(2, 10, 32, seed=2))
    a, b = net(h, emb, mask), net(other, emb, mask)
    torch.testing.assert_close(a[0, :6], b[0, :6], rtol=0, atol=1e-5)
    torch.testing.assert_close(a[0, :6], net(h[:1, :6], emb[:1])[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(a[1], net(h[1:], emb[1:])[0], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("embedding", [0, 8])
def test_a_new_stack_is_its_skip_and_a_new_transformer_says_nothing(embedding: int) -> None:
    h = draw(2, 7, 32)
    found = Stack(32, 3, 2, embedding)(h, draw(2, 8) if embedding else None)
    assert torch.equal(found, functional.layer_norm(h, (32,)))
    logits = Transformer(5, 11, 32, 2, 2, labels=3)(draw(2, 5, 7), torch.zeros(2), {"label": torch.tensor([0, 3])})
    assert logits.shape == (2, 7, 11) and float(logits.abs().max()) == 0


def silent(net: torch.nn.Module) -> list[str]:
    """Parameters that the last gradient did not reach."""
    return [name for name, p in net.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]


def test_gradient_reaches_every_parameter() -> None:
    def loss(net: torch.nn.Module) -> Tensor:
        label = {"label": torch.tensor([0, 3])}
        output: Tensor = net(draw(2, 5, 7), torch.tensor([0.3, -0.4]), label)
        return (output - draw(2, 7, 11, seed=1)).square().mean()

    net = randomise(Transformer(5, 11, 32, 2, 2, labels=3)).train()
    loss(net).backward()
    assert silent(net) == []
    # and from the zeros that it starts with: first the head, then the ends of the branches, then what is before them
    torch.manual_seed(0)
    net = Transformer(5, 11, 32, 2, 2, labels=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    reached = []
    for _ in range(4):
        optimizer.zero_grad()
        loss(net).backward()
        optimizer.step()
        reached.append(len(silent(net)))
    assert reached[0] > reached[1] > reached[-1] == 0


@torch.no_grad()
def test_noise_and_label_matter_and_no_label_is_the_null_label() -> None:
    net, x, c_noise = randomise(Transformer(5, 11, 32, 2, 2, labels=3)), draw(2, 5, 7), torch.zeros(2)
    none = net(x, c_noise, {})
    assert torch.equal(none, net(x, c_noise, {"label": torch.tensor([3, 3])}))
    assert float((none - net(x, c_noise, {"label": torch.tensor([0, 1])})).abs().max()) > 1e-3
    assert float((none - net(x, c_noise + 0.5, {})).abs().max()) > 1e-3


def test_heads_divide_every_width_and_a_width_that_does_not_is_refused() -> None:
    for width in range(16, 1025, 8):
        assert width % (4 * heads_of(width)) == 0
    assert [heads_of(width) for width in (64, 128, 256, 512)] == [1, 2, 4, 8]
    with pytest.raises(ValueError, match="multiple of 4 times 3"):
        Stack(32, 1, 3)
