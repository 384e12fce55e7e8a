"""Sources of symbols with known entropy, as embeddings, with the exact posterior of each symbol.

Three: independent symbols, a Markov chain, and items that end at random. A bound on their bits is at least their
entropy, and equal to it under the exact posterior; a bound below it means that the denoiser sees more than x_t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.schedule import RectifiedFlow, Schedule
from toolkit.verify.oracle import DTYPE, Oracle


@dataclass(frozen=True)
class Source:
    """A Markov chain over the symbols 0 ... V - 1. Rows of `length` symbols, or items that end, which are padded."""

    name: str
    start: Tensor
    """Distribution of the first symbol, (V,) float64."""
    following: Tensor
    """Transition matrix, (V, V) float64: row i is the distribution of the symbol after i."""
    stop: Tensor | None = None
    """Probability in (0, 1) that an item ends after each symbol, (V,) float64; None: only rows of `length`."""
    length: int = 16
    """Number of symbols in a row. Items have any number from 1 on."""

    @property
    def table(self) -> Tensor:
        """The embeddings, (V, d) float32 with d = V: orthogonal, and of norm sqrt(d), so that x has unit variance."""
        return math.sqrt(len(self.start)) * torch.eye(len(self.start))

    @property
    def schedule(self) -> Schedule:
        """A suitable schedule; a denoiser may have another."""
        return RectifiedFlow()

    @property
    def entropy(self) -> float:
        """Exact entropy in bits a symbol: that of a row or an item with its end, over its expected number of symbols.

        By the chain rule H = H(first) + sum over symbols of visits x H(next), where next may be the end.
        """
        stay = torch.ones_like(self.start) if self.stop is None else 1 - self.stop
        moves = stay[:, None] * self.following
        after = _entropy(moves) + (0.0 if self.stop is None else _entropy(self.stop[:, None]))
        if self.stop is None:
            visits, now = torch.zeros_like(self.start), self.start
            for _ in range(self.length - 1):
                visits, now = visits + now, now @ moves
            return float(_entropy(self.start) + visits @ after) / self.length
        visits = torch.linalg.solve(torch.eye(len(stay), dtype=DTYPE) - moves.T, self.start)
        return float((_entropy(self.start) + visits @ after) / visits.sum())

    def draw(self, n: int, seed: int) -> Tensor:
        """Draw symbols (n, W) int64; -1 beyond the end of an item."""
        generator = torch.Generator().manual_seed(seed)
        rows = [torch.multinomial(self.start, n, True, generator=generator)]
        going = torch.ones(n, dtype=torch.bool)
        while len(rows) < self.length or self.stop is not None:
            if self.stop is not None:
                ends = torch.rand(n, generator=generator, dtype=DTYPE) < self.stop[rows[-1].clamp(min=0)]
                going = going & ~ends
                if not bool(going.any()):
                    break
            symbols = torch.multinomial(self.following[rows[-1].clamp(min=0)], 1, generator=generator)[:, 0]
            rows.append(torch.where(going, symbols, -1))
        return torch.stack(rows, 1)

    def cost(self, symbols: Tensor) -> Tensor:
        """Return -log P in nats of each row of symbols (n, W), of items with their ends: (n,) float64."""
        index, inside = symbols.clamp(min=0), symbols >= 0
        steps = self._moves().log()[index[:, :-1], index[:, 1:]]
        log_p = self.start.log()[index[:, 0]] + torch.where(inside[:, 1:], steps, 0.0).sum(1)
        if self.stop is not None:
            last = index.gather(1, inside.sum(1, keepdim=True) - 1)[:, 0]
            log_p = log_p + self.stop.log()[last]
        return -log_p

    def length_cost(self, symbols: Tensor) -> Tensor:
        """Return -log P in nats of the length of each item, 0 for rows: (n,) float64."""
        if self.stop is None:
            return torch.zeros(len(symbols), dtype=DTYPE)
        now, mass = self.start, []
        for _ in range(symbols.shape[1]):
            mass.append(now @ self.stop)
            now = now @ self._moves()
        return -torch.stack(mass).log()[(symbols >= 0).sum(1) - 1]

    def embed(self, symbols: Tensor) -> Tensor:
        """Return x (n, d, W) float32 of symbols (n, W), 0 beyond an end."""
        return (self.table[symbols.clamp(min=0)] * (symbols >= 0)[..., None]).transpose(1, 2)

    def conditions(self, symbols: Tensor) -> dict[str, Tensor]:
        """Return the conditions: for items `mask`, (n, 1, W) float32, 0 beyond the end."""
        return {} if self.stop is None else {"mask": (symbols >= 0).float()[:, None]}

    def _moves(self) -> Tensor:
        return self.following if self.stop is None else (1 - self.stop)[:, None] * self.following


class Posterior(Oracle):
    """x_hat = E[x | x_t] of a source, given the ends of items: exact, by sums over all sequences.

    The forward-backward recursions (Baum et al. 1970) in float64, each message normalised.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.schedule)
        self.source = source

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        alpha, sigma = (c.double().expand(len(x_t))[:, None, None] for c in self.schedule(t))
        source, table = self.source, self.source.table.double()
        mask = cond["mask"][:, 0] if cond and "mask" in cond else torch.ones_like(x_t[:, 0])
        logits = x_t.double().transpose(1, 2) @ table.T * (alpha / sigma**2)
        likelihood = ((logits - logits.amax(-1, keepdim=True)) * mask[..., None]).exp()
        moves, width = source._moves(), x_t.shape[-1]
        end = torch.ones_like(source.start) if source.stop is None else source.stop
        size = mask.sum(1).long()

        before, behind = [source.start.expand(len(x_t), -1)], [end.expand(len(x_t), -1)]
        for place in range(1, width):
            before.append(_normalise((before[-1] * likelihood[:, place - 1]) @ moves))
        for place in range(width - 2, -1, -1):
            further = _normalise((behind[-1] * likelihood[:, place + 1]) @ moves.T)
            behind.append(torch.where((size <= place + 1)[:, None], end, further))
        share = _normalise(torch.stack(before, 1) * likelihood * torch.stack(behind[::-1], 1))
        return ((share @ table) * mask[..., None]).transpose(1, 2).to(x_t)


def sources() -> tuple[Source, ...]:
    """Return the three sources that `toolkit verify` measures: independent symbols, a chain, items."""
    cycle = torch.eye(4, dtype=DTYPE).roll(1, 1)
    chain = 0.7 * cycle + 0.1 * (1 - cycle)
    even, skewed = torch.full((4,), 0.25, dtype=DTYPE), torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=DTYPE)
    stop = torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=DTYPE)
    return (
        Source("independent symbols", skewed, skewed.expand(4, 4)),
        Source("Markov chain", even, chain),
        Source("items that end", skewed, chain, stop),
    )


def _entropy(p: Tensor) -> Tensor:
    """Return -sum p log2 p over the last dimension; the p need not sum to 1."""
    return -(p * p.clamp(min=1e-300).log2()).sum(-1)


def _normalise(masses: Tensor) -> Tensor:
    return masses / masses.sum(-1, keepdim=True)
