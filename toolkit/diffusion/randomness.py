"""Randomness as a function of where it is used: (seed, purpose, step, position), never of what ran before.

So a resumed run needs only its step number, ranks agree without talking, and sample 17 is the same in
any batch size. Draws are made on the CPU and moved, so every device sees the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Key = int | str


def generator(seed: int, *key: Key) -> torch.Generator:
    """A CPU generator that depends on nothing but `seed` and `key`."""
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def normal(seed: int, purpose: Key, positions: Iterable[int], shape: Sequence[int], *key: Key) -> Tensor:
    """Standard normal noise, one independent draw for each position: (len(positions), *shape), float32."""
    return torch.stack([torch.randn(tuple(shape), generator=generator(seed, purpose, p, *key)) for p in positions])


def uniform(seed: int, purpose: Key, positions: Iterable[int], *key: Key) -> Tensor:
    """Uniform numbers in [0, 1), one for each position: (len(positions),), float64."""
    draws = [torch.rand((), generator=generator(seed, purpose, p, *key), dtype=torch.float64) for p in positions]
    return torch.stack(draws)


def stratified(seed: int, purpose: Key, positions: Iterable[int], total: int, *key: Key) -> Tensor:
    """Low-discrepancy uniforms (Kingma et al. 2021, VDM, appendix I.1): u_p = (u_0 + p / total) mod 1, float64.

    `positions` are places in a global batch of `total`; one u_0 is shared by the whole batch, so the
    ranks of a distributed run together hold one stratified set.
    """
    start = torch.rand((), generator=generator(seed, purpose, *key), dtype=torch.float64)
    return (start + torch.as_tensor(list(positions), dtype=torch.float64) / total) % 1.0


class NoiseStream:
    """Fresh standard normal noise at each call, one independent stream for each position.

    Position i gives the same numbers in a batch of any size: (len(positions), *shape), float32.
    """

    def __init__(self, seed: int, purpose: Key, positions: Iterable[int], shape: Sequence[int]) -> None:
        self.generators = [generator(seed, purpose, p) for p in positions]
        self.shape = tuple(shape)

    def __call__(self) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])
