"""Masked (absorbing) discrete diffusion, to compare with: its bound, which is also its loss, and its sampler.

D3PM with an absorbing state (Austin et al. 2021) in continuous time with the linear schedule (Sahoo et al. 2024,
"MDLM"; Shi et al. 2024, "MD4"): at time t every token is masked with probability t, and

    -ln P(x) <= E over t ~ U(0, 1) of 1/t times the sum over masked i of -ln p(x_i | what is not masked).

The network is not told t, so the integral over t can be done by hand: given that k of L tokens are masked, the weights
add up to 1/k, whatever k is. So k is drawn uniformly from 1 ... L, and the bound for each token is the mean
cross-entropy of the masked ones (Hoogeboom et al. 2022, "ARDM", eq. 4, is the same for any order of generation).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modalities.text.evaluate.judge import CausalLM
from toolkit.diffusion.randomness import seeded_generator


def masked_nats(net: CausalLM, ids: Tensor, u: Tensor, draw: torch.Generator) -> Tensor:
    """An unbiased estimate of the bound for each row of ids (B, L), in nats per token: (B,).

    u: (B,) in [0, 1), which says how many are masked; at best spread evenly over the batch. `draw`: which ones.
    """
    length = ids.shape[1]
    count = (u * length).floor().clamp(max=length - 1) + 1
    masked = torch.rand(ids.shape, generator=draw).argsort(1).argsort(1) < count[:, None]
    logits = net(ids.masked_fill(masked, net.size))
    lost = functional.cross_entropy(logits.float().transpose(1, 2), ids, reduction="none")
    return (lost * masked).sum(1) / count


def loss(net: CausalLM, ids: Tensor, draw: torch.Generator) -> Tensor:
    """The mean bound of a batch in nats per token, at evenly spread times: ()."""
    u = (torch.rand((), generator=draw) + torch.arange(len(ids)) / len(ids)) % 1
    return masked_nats(net, ids, u, draw).mean()


@torch.inference_mode()
def bound(net: CausalLM, ids: Tensor, draws: int = 32, seed: int = 0, batch: int = 64) -> Tensor:
    """The bound for each row of ids (B, L), mean of `draws` evenly spread numbers of masked tokens: (B,) nats."""
    found = []
    for number, rows in enumerate(ids.split(batch)):
        draw = seeded_generator(seed, "bound", number)
        start = torch.rand(len(rows), generator=draw)
        each = [masked_nats(net, rows, (start + i / draws) % 1, draw).double() for i in range(draws)]
        found.append(torch.stack(each).mean(0))
    return torch.cat(found)


@torch.inference_mode()
def sample_masked(net: CausalLM, n: int, length: int, steps: int, seed: int = 0, batch: int = 64) -> Tensor:
    """Ancestral samples (n, length): from t to s each masked token is drawn with probability (t - s) / t."""
    found = []
    for number, part in enumerate(torch.arange(n).split(batch)):
        draw = seeded_generator(seed, "masked", number)
        x = torch.full((len(part), length), net.size)
        for left in range(steps, 0, -1):
            now = (x == net.size) & (torch.rand(x.shape, generator=draw) < 1 / left)
            tokens = torch.multinomial(net(x).softmax(-1).flatten(0, 1), 1, generator=draw).view_as(x)
            x = torch.where(now, tokens, x)
        found.append(x)
    return torch.cat(found)


@torch.inference_mode()
def sample_causal(net: CausalLM, n: int, length: int, seed: int = 0, batch: int = 64) -> Tensor:
    """Samples (n, length) of an autoregressive network, one token after the other."""
    found = []
    for number, part in enumerate(torch.arange(n).split(batch)):
        draw = seeded_generator(seed, "causal", number)
        x = torch.full((len(part), 1), net.size)
        for _ in range(length):
            p = net(x)[:, -1].softmax(-1)
            x = torch.cat([x, torch.multinomial(p, 1, generator=draw)], dim=1)
        found.append(x[:, 1:])
    return torch.cat(found)
