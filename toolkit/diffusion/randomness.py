"""Randomness as a function of where it is used: (seed, purpose, step, position), never of what ran before.

So a resumed run needs only its step number, ranks agree without communication, and sample 17 is equal in any batch.

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
"""Bits of the counter below a position: 2^192 blocks of four 64-bit words for each position."""
_LOW = (1 << 64) - 1
_STATE = slice(24, 24 + 8 * 624)
"""Bytes of torch's generator state that hold its Mersenne Twister: 624 numbers of 64 bits, 32 of them used."""


def words(key: int, positions: Iterable[SupportsIndex], count: int) -> np.ndarray:
    """Return the first `count` random words of each position under a 128-bit key: (len(positions), count) uint64."""
    places = [operator.index(position) for position in positions]
    if any(place < 0 or place >> 64 for place in places):
        raise ValueError("positions are whole numbers from 0 to 2^64 - 1")
    source = np.random.Philox(key=key)
    rows = np.empty((len(places), count), np.uint64)
    here = 0
    for row, place in zip(rows, places, strict=True):
        start = place << _PLACE
        source.advance((start - here) % (1 << 256))
        row[:] = source.random_raw(count)
        here = start - (-count // 4)
    return rows


def key(seed: SupportsIndex, *parts: Key) -> int:
    """Return the 128-bit key of a seed and a purpose; whole numbers of Python, numpy and torch count alike.

    Raises TypeError for parts that are neither whole numbers nor text.
    """
    canonical = [part if isinstance(part, str) else operator.index(part) for part in (seed, *parts)]
    return int.from_bytes(hashlib.blake2b(repr(canonical).encode(), digest_size=16).digest(), "little")


def normal(
    seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], shape: Sequence[int], *more: Key
) -> Tensor:
    """Draw standard normal noise, independent for each position: (len(positions), *shape), float32.

    The values at place l of the last axis do not depend on the length of that axis, so a padded example has the same
    noise in any batch. By Box and Muller (1958).
    """
    return _last_slowest(_normals(key(seed, purpose, *more), positions, math.prod(shape)), shape)


def uniform(seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], *more: Key) -> Tensor:
    """Draw uniform numbers in [0, 1), one for each position: (len(positions),), float64."""
    return _fractions(words(key(seed, purpose, *more), positions, 1))[:, 0]


def stratified(seed: SupportsIndex, purpose: Key, positions: Iterable[SupportsIndex], total: int, *more: Key) -> Tensor:
    """Draw low-discrepancy uniforms u_p = (u_0 + p / total) mod 1, float64 (Kingma et al. 2021, VDM, appendix I.1).

    `positions` are places in a global batch of `total`; the whole batch shares one u_0, so the ranks of a
    distributed run together hold one stratified set.
    """
    start = uniform(seed, purpose, [0], *more)
    return (start + torch.tensor([operator.index(p) for p in positions], dtype=torch.float64) / total) % 1.0


@dataclass(frozen=True)
class Draws:
    """Random numbers for the examples of a batch, by name: functions of (seed, key, name, position of the example).

    As in `normal`, the values at place l of the last axis do not depend on the length of that axis.
    """

    seed: int
    positions: Sequence[int]
    """Positions of the examples, e.g. their places in the global batch."""
    key: tuple[Key, ...] = ()
    """Further parts of the key, e.g. the step."""

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1): (B, *shape) float32."""
        count = math.prod(shape)
        bits = words(key(self.seed, name, *self.key), self.positions, -(-count // 2)).view(np.uint32)[:, :count]
        # a float32 below 1 holds 24 bits
        return _last_slowest(torch.from_numpy((bits >> 8).astype(np.float32)) * 2.0**-24, shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Draw standard normal noise: (B, *shape) float32."""
        return normal(self.seed, name, self.positions, shape, *self.key)


class NoiseStream:
    """Fresh standard normal noise at each call, (len(positions), *shape), float32: a stream for each position.

    The streams are independent, and position i has the same numbers in a batch of any size.
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
    """Return `keys` of `dropout_uniforms`, (B, 3) int64 on the CPU: both halves of a key, and the position.

    Rows can be selected and reordered together with their examples.
    """
    secret = key(seed, "dropout", step)
    halves = [_to_signed(secret & _LOW), _to_signed(secret >> 64)]
    return torch.tensor([[*halves, operator.index(position)] for position in positions], dtype=torch.int64)


def dropout_uniforms(layer: str, keys: Tensor, n: int) -> Tensor:
    """Draw n numbers in [0, 1) for each row of `keys`, a function of it and of the layer's name: (B, n) float32.

    They have 16 bits each, four to a word.
    """
    bits = np.empty((len(keys), -(-n // 4)), np.uint64)
    rows = keys.tolist()
    for row, (low, high, position) in zip(bits, rows, strict=True):
        row[:] = words(key((high % (1 << 64)) << 64 | low % (1 << 64), layer), [position], len(row))[0]
    return torch.from_numpy(bits.view(np.uint16)[:, :n].astype(np.float32)) * 2.0**-16


def seeded_generator(seed: SupportsIndex, *parts: Key) -> torch.Generator:
    """Return a CPU generator that depends on `seed` and `parts` only, for long sequences of torch's own draws.

    torch seeds its Mersenne Twister with 32 bits, so a few ten thousand generators have equal seeds among them. Here
    all 624 words of the state are random.
    """
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    bits = words(key(seed, *parts, "generator"), [0], 312).view(np.uint32)[0]
    state[_STATE] = torch.from_numpy(bits.astype(np.int64)).view(torch.uint8)
    generator.set_state(state)
    return generator


def _fractions(bits: np.ndarray) -> Tensor:
    """Return 64-bit words as numbers in [0, 1), float64: their upper 53 bits."""
    return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64)) * 2.0**-53


def _normals(secret: int, positions: Iterable[SupportsIndex], count: int) -> Tensor:
    """Draw (len(positions), count) normal float32: two from the halves of each word."""
    bits = words(secret, positions, -(-count // 2)).view(np.uint32)
    # rounded to 24 bits only after the conversion, so that small numbers keep theirs: tails reach 6.8 deviations
    u = torch.from_numpy(bits.astype(np.float32)).add_(0.5).mul_(2.0**-32).unflatten(1, (-1, 2))
    radius, angle = u[..., 0].log().mul_(-2).clamp_(min=0).sqrt_(), u[..., 1] * (2 * math.pi)
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], 2)
    return pairs.flatten(1)[:, :count]


def _last_slowest(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape (B, prod(shape)) to (B, *shape), filling one place of the last axis after the other."""
    if len(shape) < 2:
        return flat.reshape(len(flat), *shape)
    return flat.reshape(len(flat), shape[-1], *shape[:-1]).movedim(1, -1).contiguous()


def _to_signed(value: int) -> int:
    """Return the int64 with the bits of a uint64."""
    return value - (1 << 64) if value >> 63 else value
