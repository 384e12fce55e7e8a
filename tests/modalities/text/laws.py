"""Sequences of tokens whose law is known, with the exact posterior of each token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modalities.text.network.denoiser import TokenDenoiser
from modalities.text.network.transformer import build
from modalities.text.options import Model
from toolkit.diffusion import RectifiedFlow
from toolkit.diffusion.schedule import expand

V, DIMS, LENGTH = 7, 16, 12


class Law(TokenDenoiser):
    """The exact posterior of sequences whose tokens have these probabilities, start (V,) and next (V, V)."""

    def __init__(self, start: Tensor, following: Tensor) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(build(Model(preset="smoke", width=16, depth=1, dims=DIMS), V, 0), RectifiedFlow(), 0)
        self.start, self.following = start.double().log(), following.double().log()

    def logits(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """By adding up what is before and what is behind (Baum et al. 1970), all in float64."""
        alpha, sigma = (expand(c, x_t).double() for c in self.schedule(t))
        scale = cond["scale"].double() if "scale" in cond else 1.0
        z, table = x_t.double().transpose(1, 2), self.table.double()
        heard = z @ table.T * (alpha * scale / sigma**2).transpose(1, 2)
        before, behind = [self.start.expand(len(x_t), -1)], [torch.zeros(len(x_t), V, dtype=torch.float64)]
        for place in range(LENGTH - 1):
            before.append(((before[-1] + heard[:, place])[:, :, None] + self.following).logsumexp(1))
            behind.append(((behind[-1] + heard[:, -1 - place])[:, None] + self.following).logsumexp(2))
        joint = torch.stack(before, 1) + heard + torch.stack(behind[::-1], 1)
        # where a token is loud they reach 1e10, and float32 would keep no digit of what is said between tokens
        return joint.log_softmax(-1).float()


def chain() -> tuple[Tensor, Tensor]:
    """Each token is followed by the next with probability 0.8: start (V,) and next (V, V); none is padding."""
    following = torch.full((V, V), 0.2 / (V - 2))
    following[:, 0] = 1e-12
    for token in range(1, V):
        following[token, token % (V - 1) + 1] = 0.8
    start = torch.full((V,), 1 / (V - 1))
    start[0] = 1e-12
    return start, following
