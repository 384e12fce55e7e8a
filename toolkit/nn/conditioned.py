"""What networks that are told a noise level and perhaps a label have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.nn.embedding import LabelEmbedding, NoiseEmbedding


class Conditioned(nn.Module, ABC):
    """A network net(x (B, C, *space), c_noise (B,), cond) whose blocks take one embedding of it all.

    cond["dropout"], (B, K) int64, when it is there, says what is dropped of each example (`Dropout`).
    """

    def __init__(
        self, embedding: int, labels: int, divisor: int, features: int = 64, numbers: Sequence[str] = ()
    ) -> None:
        """`embedding`: its channels; `divisor`: what every side of space must be a multiple of.

        `numbers`: further conditions that are one number for each example, in [0, 1], (B,).
        """
        super().__init__()
        self.divisor = divisor
        self.noise = NoiseEmbedding(embedding, features)
        self.label = LabelEmbedding(labels, embedding) if labels else None
        self.numbers = nn.ModuleDict({name: NoiseEmbedding(embedding, features) for name in numbers})

    @abstractmethod
    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor: ...

    def embed(self, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """silu(noise + label + numbers), (B, embedding).

        Without cond["label"], (B,) int64, the label is the null label; a number that is not given is 1.
        """
        emb: Tensor = self.noise(c_noise)
        if self.label is not None:
            null = torch.full_like(c_noise, self.label.num_embeddings - 1, dtype=torch.int64)
            emb = emb + self.label(cond.get("label", null))
        for name, module in self.numbers.items():
            emb = emb + module(cond.get(name, torch.ones_like(c_noise)))
        return functional.silu(emb)

    def check(self, x: Tensor) -> None:
        """Raise ValueError when a side of x does not divide among the strides."""
        if any(side % self.divisor for side in x.shape[2:]):
            raise ValueError(f"every side of {tuple(x.shape[2:])} must be a multiple of {self.divisor}")
