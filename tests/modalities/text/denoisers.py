"""Small denoisers of tokens, and tokens and noise for them."""

from __future__ import annotations

import torch
from torch import Tensor

from modalities.text.network.denoiser import GATE_GAIN, TokenDenoiser
from modalities.text.network.transformer import build
from modalities.text.options import Model
from tests.nn.common import randomise
from toolkit.diffusion import RectifiedFlow, Schedule

V, DIMS, LENGTH = 12, 8, 10
F64 = torch.float64
MODEL = Model(preset="smoke", width=16, depth=1, dims=DIMS)


def fresh(schedule: Schedule | None = None, recall: float = 0.25, labels: int = 0) -> TokenDenoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TokenDenoiser(build(MODEL, V, labels), schedule or RectifiedFlow(), recall).eval()


def untrained(recall: float = 0.25) -> TokenDenoiser:
    """With opinions: no parameter is zero."""
    made = fresh(recall=recall)
    randomise(made.net)
    return made


def oracle(schedule: Schedule | None = None) -> TokenDenoiser:
    """Return the exact denoiser of independent, equally likely tokens: the network is silent, the gate open."""
    made = fresh(schedule)
    with torch.no_grad():
        made.net.gate.fill_(1 / GATE_GAIN)
    return made


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def words(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(1, V, shape, generator=torch.Generator().manual_seed(seed))


def noised(denoiser: TokenDenoiser, x: Tensor, t: Tensor, seed: int = 0) -> Tensor:
    alpha, sigma = (c.float()[:, None, None] for c in denoiser.schedule(t))
    return alpha * x + sigma * draw(*x.shape, seed=seed)
