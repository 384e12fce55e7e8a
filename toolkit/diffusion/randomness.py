"""Randomness as a function of where it is used: (seed, purpose, step, position), never of what ran before.

So a resumed run needs only its step number, ranks agree without talking, and sample 17 is the same in any batch.

    key     = BLAKE2b(seed, purpose, step, ...), 128 bits
    numbers = Philox-4x64-10 under that key, its counter at (position, block)        (Salmon et al. 2011)

Philox is a bijection of its counter, so under one key the streams of two positions cannot meet, and two keys are
equal with probability 2^-128. Draws are made on the CPU and moved, so every device sees the same numbers.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

Key = SupportsIndex | str

_PLACE = 192
"""Bits of the counter below a position: 2^192 blocks of four 64-bit words each."""
_LOW = (1 << 64) - 1
_STATE = slice(24, 24 + 8 * 624)
"""Where the state of torch's Mersenne Twister lies among its bytes: 624 numbers of 64 bits that hold 32 each."""


def words(key: int, positions: Iterable[SupportsIndex], count: int) -> np.ndarray:
    """The first `count` random words of each position under a 128-bit key: (len(positions), count) uint64."""
    places = [operator.index(position) for position in positions]
    if any(place < 0 or place >> 64 for place in places):
        raise ValueError("positions are whole numbers from 0 to 2^64 - 1")
    source = np.random.Philox(key=key)
    found = np.empty((len(places), count), np.uint64)
    here = 0
    for row, place in zip(found, places, strict=True):
        start = place << _PLACE
        source.advance((start - here) % (1 << 256))
        row[:] = source.random_raw(count)
        here = start - (-count // 4)
    return found


def key(seed: SupportsIndex, *parts: Key) -> int:
    """The 128-bit key of a seed and a purpose. Equal numbers are equal, whether Python's, numpy's or torch's.

    Raises TypeError for parts that are neither whole numbers nor text.
    """
    canonical = [part if isinstance(part, str) else operator.index(part) for part in (seed, *parts)]
    return int.from_bytes(hashlib.blake2b(repr(canonical).encode(), digest_size=16).digest(), "little")


def normal(
    seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], shape: Sequence[int], *more: Key
) -> Tensor:
    """Standard normal noise, one independent draw for each position: (len(positions), *shape), float32.

    What stands at place l of the last axis does not depend on how long that axis is, so examples that are padded
    see the same noise whatever is beside them. By Box and Muller (1958).
    """
    return _last_slowest(_normals(key(seed, purpose, *more), positions, math.prod(shape)), shape)


def uniform(seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], *more: Key) -> Tensor:
    """Uniform numbers in [0, 1), one for each position: (len(positions),), float64."""
    return _fractions(words(key(seed, purpose, *more), positions, 1))[:, 0]


def stratified(seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], total: int, *more: Key) -> Tensor:
    """Low-discrepancy uniforms (Kingma et al. 2021, VDM, appendix I.1): u_p = (u_0 + p / total) mod 1, float64.

    `positions` are places in a global batch of `total`; one u_0 is shared by the whole batch, so the
    ranks of a distributed run together hold one stratified set.
    """
    start = uniform(seed, purpose, [0], *more)
    return (start + torch.tensor([operator.index(p) for p in positions], dtype=torch.float64) / total) % 1.0


@dataclass(frozen=True)
class Draws:
    """Random numbers for the examples of a batch, by name; each example's depend on (seed, key, name, position) only.

    As in `normal`, place l of the last axis has the same numbers however long that axis is.
    """

    seed: int
    positions: Sequence[int]
    """One for each example, e.g. its place in the global batch."""
    key: tuple[Key, ...] = ()
    """What else tells these draws from others, e.g. the step."""

    def uniform(self, name: str, *shape: int) -> Tensor:
        """In [0, 1): (B, *shape) float32."""
        count = math.prod(shape)
        drawn = words(key(self.seed, name, *self.key), self.positions, -(-count // 2)).view(np.uint32)[:, :count]
        # 24 bits are what a float32 below 1 holds
        return _last_slowest(torch.from_numpy((drawn >> 8).astype(np.float32)) * 2.0**-24, shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal: (B, *shape) float32."""
        return normal(self.seed, name, self.positions, shape, *self.key)


class NoiseStream:
    """Fresh standard normal noise at each call, one independent stream for each position.

    Position i gives the same numbers in a batch of any size: (len(positions), *shape), float32.
    """

    def __init__(
        self, seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], shape: Sequence[int]
    ) -> None:
        self.seed, self.purpose, self.shape = seed, purpose, tuple(shape)
        self.positions = [operator.index(position) for position in positions]
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return normal(self.seed, self.purpose, self.positions, self.shape, "call", self.calls)


def dropout_keys(seed: SupportsIndex, positions: Iterable[SupportsIndex], step: int) -> Tensor:
    """What `dropped` needs to know of each example: (B, 3) int64 on the CPU, a key's halves and the position.

    Rows can be chosen and reordered with the examples that they belong to.
    """
    secret = key(seed, "dropout", step)
    halves = [_signed(secret & _LOW), _signed(secret >> 64)]
    return torch.tensor([[*halves, operator.index(position)] for position in positions], dtype=torch.int64)


def dropped(layer: str, keys: Tensor, n: int) -> Tensor:
    """n numbers in [0, 1) for each row of `keys`, a function of it and of the layer's name: (B, n) float32.

    They have 16 bits each, four to a word.
    """
    found = np.empty((len(keys), -(-n // 4)), np.uint64)
    rows = keys.tolist()
    for row, (low, high, position) in zip(found, rows, strict=True):
        row[:] = words(key((high % (1 << 64)) << 64 | low % (1 << 64), layer), [position], len(row))[0]
    return torch.from_numpy(found.view(np.uint16)[:, :n].astype(np.float32)) * 2.0**-16


def seeded_generator(seed: SupportsIndex, *parts: Key) -> torch.Generator:
    """A CPU generator that depends on nothing but `seed` and `parts`, for one long row of draws in torch's own ways.

    torch seeds its Mersenne Twister with 32 bits, of which a few ten thousand generators have equal ones. Here all
    624 words of its state are random.
    """
    made = torch.Generator().manual_seed(0)
    state = made.get_state()
    drawn = words(key(seed, *parts, "generator"), [0], 312).view(np.uint32)[0]
    state[_STATE] = torch.from_numpy(drawn.astype(np.int64)).view(torch.uint8)
    made.set_state(state)
    return made


def _fractions(drawn: np.ndarray) -> Tensor:
    """64-bit words as numbers in [0, 1), float64: their upper 53 bits."""
    return torch.from_numpy((drawn >> np.uint64(11)).astype(np.float64)) * 2.0**-53


def _normals(secret: int, positions: Iterable[SupportsIndex], count: int) -> Tensor:
    """(len(positions), count) float32: two from the halves of each word."""
    drawn = words(secret, positions, -(-count // 2)).view(np.uint32)
    # rounded to 24 bits only after the conversion, so that small numbers keep theirs: tails reach 6.8 deviations
    u = torch.from_numpy(drawn.astype(np.float32)).add_(0.5).mul_(2.0**-32).unflatten(1, (-1, 2))
    radius, angle = u[..., 0].log().mul_(-2).clamp_(min=0).sqrt_(), u[..., 1] * (2 * math.pi)
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], 2)
    return pairs.flatten(1)[:, :count]


def _last_slowest(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, prod(shape)) as (B, *shape), filled one place of the last axis after the other."""
    if len(shape) < 2:
        return flat.reshape(len(flat), *shape)
    return flat.reshape(len(flat), shape[-1], *shape[:-1]).movedim(1, -1).contiguous()


def _signed(value: int) -> int:
    """64 bits as an int64 has them."""
    return value - (1 << 64) if value >> 63 else value
