"""Measurements of one sound file as it is decoded, block by block: nothing is read for them alone."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalities.audio.data.decode import About

CLIPPED_RUN = 3
"""Number of consecutive samples at full scale that are clipping."""
OFFSET_SHARE = 1e-3
"""Share of the peak below which an offset is none."""
OFFSET_LEAST = 2 / 32768
_FULL_SCALE = 1 - 2**-11
_SIDES_DIFFER = 2**-10
_PARTS = 8
"""Parts of a block whose means are compared."""
_ONE_SIDE = 0.8
"""Share of the parts whose mean must lie on the side of an offset."""
_ALIKE = 2.0
"""Factor within which the mean of the quietest part must be the offset: what decays comes to rest there."""
_SCATTER = 0.5
"""Share of an offset by which the middle one of the parts may be off it."""
_FEWEST = 256
"""Frames below which an offset cannot be told from a sound."""
_AT_ENDS = 64
"""Zeros in a row at an end that show that there is no offset."""
_BITS = 17
"""Bits of a sample that count where the median of a long file is found: sign, exponent, eight of the fraction."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one readable file, at its own rate and with all its channels."""

    name: str
    about: About
    frames: int
    """Number of frames that could be decoded."""
    peak: float
    """Largest magnitude, the offset left aside."""
    power: float
    """Mean square over all samples and channels, full scale 1, the offset left aside."""
    offset: float
    """Constant offset of the channel where it is largest; 0: none."""
    clipped: bool
    differs: bool
    """True where its channels are unequal."""
    digest: str
    """Hash of the decoded samples and the rate."""
    mended: tuple[str, ...] = ()
    """Faults of the file that did not keep it from being decoded."""
    before: float = 0.0
    after: float = 0.0
    """Seconds of silence that were cut at both ends."""
    gain: float = 1.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Measured:
        """Return the measurements whose fields are `values`, or JSON of them."""
        return cls(**{**values, "about": About(*values["about"]), "mended": tuple(values["mended"])})

    @property
    def seconds(self) -> float:
        return self.frames / self.about.rate


class Meter:
    """Measures the blocks that pass through `add`."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._digest = hashlib.blake2b(f"{about.rate} {about.channels}".encode(), digest_size=16)
        self.frames = 0
        self._sum = np.zeros(about.channels)
        self._square = np.zeros(about.channels)
        self._low = np.full(about.channels, np.inf)
        self._high = np.full(about.channels, -np.inf)
        self._clipped = self._differs = False
        self._first: np.ndarray | None = None
        self._counts: np.ndarray | None = None
        self._parts: list[np.ndarray] = []
        self._start = self._end = np.zeros((0, about.channels), np.float32)

    def add(self, block: np.ndarray) -> np.ndarray:
        """Measure a block (frames, n) float32, and return it."""
        if not len(block):
            return block
        self._digest.update(np.ascontiguousarray(block).data)
        columns = np.ascontiguousarray(block.T)  # several times as fast as numpy along a short axis
        low, high = columns.min(axis=1), columns.max(axis=1)
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        count, size = min(_PARTS, len(block)), len(block) // min(_PARTS, len(block))
        exact = columns.astype(np.float64)
        parts, rest = exact[:, : count * size].reshape(len(exact), count, size), exact[:, count * size :]
        sums, squares = parts.sum(axis=2), np.einsum("cpk,cpk->cp", parts, parts)
        self._sum += sums.sum(axis=1) + rest.sum(axis=1)
        self._square += squares.sum(axis=1) + np.einsum("ck,ck->c", rest, rest)
        if not self.frames or size >= _AT_ENDS:
            means = np.einsum("cpk,k->cp", parts, _window(size))
            self._parts.append(np.stack([means, squares / size - (sums / size) ** 2]))
        if not self._clipped and max(high.max(), -low.min()) >= _FULL_SCALE:
            self._clipped = _has_run((np.abs(columns) >= _FULL_SCALE).T)
        if not self._differs and block.shape[1] > 1:
            self._differs = bool((np.abs(columns[1:] - columns[:1]) > _SIDES_DIFFER).any())
        if not self.frames:
            self._first, self._start = block, block[:_AT_ENDS].copy()
        else:
            if self._first is not None:
                self._count(self._first)
                self._first = None
            self._count(block)
        self._end = np.concatenate([self._end, block[-_AT_ENDS:]])[-_AT_ENDS:]
        self.frames += len(block)
        return block

    def offset(self) -> np.ndarray:
        """Return the constant offset of each channel, (n,) float32: 0 where there is none.

        The mean or the median, whichever is smaller, if both lie on one side, nearly all parts do, and the quietest
        rests there too. So a decaying hit and a pulse wave have none, nor does what begins or ends in zeros.
        """
        if self.frames < _FEWEST:
            return np.zeros(self._about.channels, np.float32)
        mean, median = self._sum / self.frames, self._median()
        value = np.where(np.abs(mean) < np.abs(median), mean, median)
        means, spreads = np.concatenate(self._parts, axis=2).swapaxes(1, 2)  # (parts, channels) each
        rest = np.take_along_axis(means, spreads.argmin(axis=0)[None], 0)[0]
        one_side = (np.sign(mean) == np.sign(median)) & ((means * value > 0).mean(axis=0) >= _ONE_SIDE)
        one_side &= (rest * value > value**2 / _ALIKE) & (np.abs(rest) < _ALIKE * np.abs(value))
        one_side &= np.median(np.abs(means - value), axis=0) < _SCATTER * np.abs(value)
        peak = np.maximum(self._high - value, value - self._low)
        large = np.abs(value) > np.maximum(OFFSET_SHARE * peak, OFFSET_LEAST)
        zeros = [len(end) == _AT_ENDS and not end[:, i].any() for i in range(len(value)) for end in self._ends()]
        silent = np.array(zeros, bool).reshape(len(value), 2).any(axis=1)
        return np.where(one_side & large & ~silent, value, 0).astype(np.float32)

    def result(self, name: str, mended: list[str]) -> Measured:
        """Return the measurements of a file, after its last block."""
        offset = self.offset().astype(np.float64)
        mean = self._sum / self.frames
        power = (self._square / self.frames - 2 * offset * mean + offset**2).mean()
        peak = np.maximum(self._high - offset, offset - self._low).max()
        largest = float(offset[np.abs(offset).argmax()])
        digest = self._digest.hexdigest()
        return Measured(name, self._about, self.frames, float(peak), max(0.0, float(power)), largest,
                        self._clipped, self._differs, digest, tuple(mended))  # fmt: skip

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return self._start, self._end

    def _median(self) -> np.ndarray:
        if self._first is not None:
            return np.median(self._first, axis=0).astype(np.float64)
        assert self._counts is not None
        codes = [int(np.searchsorted(np.cumsum(row), self.frames / 2)) for row in self._counts]
        return _value(np.array(codes, np.int64)).astype(np.float64)

    def _count(self, block: np.ndarray) -> None:
        if self._counts is None:
            self._counts = np.zeros((block.shape[1], 1 << _BITS), np.int64)
        for row, column in zip(self._counts, block.T):
            row += np.bincount(_code(column), minlength=1 << _BITS)


@functools.lru_cache(maxsize=64)
def _window(size: int) -> np.ndarray:
    """Return weights (size,) float64 that add up to 1 and fade at both ends: periods that are cut hardly count."""
    window = 1 - np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
    return window / window.sum()


def _code(samples: np.ndarray) -> np.ndarray:
    """Return float32 samples as whole numbers in the same order, of `_BITS` bits."""
    bits = np.ascontiguousarray(samples + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    ordered = np.where(bits < 0, ~bits, bits ^ np.int32(-(2**31)))
    return ordered.view(np.uint32) >> (32 - _BITS)


def _value(codes: np.ndarray) -> np.ndarray:
    """Return the samples nearest to 0 that have these codes."""
    high = codes << (32 - _BITS)
    negative = codes < 1 << (_BITS - 1)
    bits = np.where(negative, ~(high + (1 << (32 - _BITS)) - 1) & 0xFFFFFFFF, high ^ 0x80000000)
    return bits.astype(np.uint32).view(np.float32)


def _has_run(full: np.ndarray) -> bool:
    """Return True where any channel of `full` (frames, n) bool is true CLIPPED_RUN times in a row."""
    if len(full) < CLIPPED_RUN or not full.any():
        return False
    run = full[CLIPPED_RUN - 1 :].copy()
    for i in range(CLIPPED_RUN - 1):
        run &= full[i : len(full) - CLIPPED_RUN + 1 + i]
    return bool(run.any())


def decibels(power: float) -> float:
    """Return a mean square, full scale 1, in decibels, at least -120."""
    return 10 * math.log10(max(power, 1e-12))
