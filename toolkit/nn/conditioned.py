"""Common base of networks that are conditioned on a noise level and perhaps a label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.embedding import LabelEmbedding, NoiseEmbedding


class Conditioned(nn.Module, ABC):
    """A network net(x (B, C, *space), c_noise (B,), cond) whose blocks take one embedding of c_noise and cond.

    cond["dropout"], (B, K) int64, optional, has the keys of each example's dropout (`Dropout`).
    """

    def __init__(
        self, embedding: int, labels: int, divisor: int, features: int = 64, numbers: Sequence[str] = ()
    ) -> None:
        """`embedding`: number of channels; `divisor`: the network computes on sides that are multiples of it.

        `numbers`: names of further conditions, each a number in [0, 1] for each example, (B,).
        """
        super().__init__()
        self.divisor = divisor
        self.noise = NoiseEmbedding(embedding, features)
        self.label = LabelEmbedding(labels, embedding) if labels else None
        self.numbers = nn.ModuleDict({name: NoiseEmbedding(embedding, features) for name in numbers})

    @abstractmethod
    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor: ...

    def embed(self, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """Return silu(noise + label + numbers), (B, embedding).

        Without cond["label"], (B,) int64, the label is the null label; a number that is missing is 1.
        """
        emb: Tensor = self.noise(c_noise)
        if self.label is not None:
            null = torch.full_like(c_noise, self.label.num_embeddings - 1, dtype=torch.int64)
            emb = emb + self.label(cond.get("label", null))
        for name, module in self.numbers.items():
            emb = emb + module(cond.get(name, torch.ones_like(c_noise)))
        return functional.silu(emb)

    def padded(self, x: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
        """Return x with zeros around it up to the next multiples of `divisor`, and where x is in that.

        Cut with `[..., *place]`, the output has the size of x again, so a loss never falls on what was added, which
        would teach nothing. Zeros are what convolutions see beyond an edge anyway, and the mean of the data.
        Nothing is added, not even a copy made, where all sides divide.
        """
        sides = x.shape[2:]
        missing = [-side % self.divisor for side in sides]
        place = tuple(slice(gap // 2, gap // 2 + side) for gap, side in zip(missing, sides, strict=True))
        if not any(missing):
            return x, place
        edges = [edge for gap in reversed(missing) for edge in (gap // 2, gap - gap // 2)]  # the last axis comes first
        return functional.pad(x, edges), place

    def check(self, x: Tensor) -> None:
        """Raise ValueError when a side of x is no multiple of `divisor`."""
        if any(side % self.divisor for side in x.shape[2:]):
            raise ValueError(f"every side of {tuple(x.shape[2:])} must be a multiple of {self.divisor}")
