"""Bounds, loudness and gain of a sound, each in one pass over its blocks.

A sound is a function that yields its blocks, (frames, channels) float32, as often as it is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from modalities.audio.data.decode import envelope
from modalities.audio.data.treatment import Treatment

Blocks = Callable[[], Iterator[np.ndarray]]

BEFORE_SECONDS, AFTER_SECONDS = 0.005, 0.020
"""Margins around the part above the silence threshold, so that no onset or decay is cut hard."""
LEVELS = {"peak": -0.45, "rms": -20.0, "lufs": -23.0, "none": 0.0}
"""Default of data.level in dB relative to full scale (LUFS for lufs)."""
_BLOCK_SECONDS, _OVERLAP = 0.4, 4
_GATE_LUFS, _RELATIVE_GATE = -70.0, -10.0


def bounds(blocks: Blocks, peak: float, trim: float, rate: int) -> tuple[int, int]:
    """Return the first and last + 1 sample to keep; trim: dB below `peak` that count as silence, 0 keeps all."""
    threshold = peak * 10 ** (-trim / 20) if trim else 0.0
    first, last, total = None, 0, 0
    for block in blocks():
        loud = np.flatnonzero(envelope(block) >= threshold)
        if len(loud):
            first = total + int(loud[0]) if first is None else first
            last = total + int(loud[-1])
        total += len(block)
    if first is None or not trim:
        return 0, total
    return max(0, first - round(BEFORE_SECONDS * rate)), min(total, last + 1 + round(AFTER_SECONDS * rate))


def gain(blocks: Blocks, peak: float, treatment: Treatment) -> float:
    """Return the factor that brings a sound to its level, or its peak to full scale where that is less.

    peak: largest absolute sample, above 0.
    """
    kind = treatment.loudness
    level = LEVELS[kind] if treatment.level is None else treatment.level
    if kind == "peak":
        factor = 10 ** (level / 20) / peak
    elif kind == "rms":
        factor = 10 ** (level / 20) / rms(blocks)
    elif kind == "lufs":
        # Measured with its peak at full scale, so that a quiet recording does not fall below the absolute gate.
        loudness = lufs(lambda: (block / peak for block in blocks()), treatment.rate)
        factor = 10 ** ((level - loudness) / 20) / peak
    else:
        factor = 1.0
    return min(factor, 1 / peak)


def rms(blocks: Blocks) -> float:
    """Return the root of the mean power over all samples and channels, full scale 1."""
    power = count = 0.0
    for block in blocks():
        power += float(np.square(block, dtype=np.float64).sum())
        count += block.size
    return math.sqrt(power / count) if count else 0.0


def lufs(blocks: Blocks, rate: int) -> float:
    """Return the integrated loudness in LUFS (ITU-R BS.1770-4); -inf when nothing is above -70 LUFS.

    Power of the K-weighted signal, summed over channels, in blocks of 400 ms that overlap by 75 %; the mean of those
    above -70 LUFS and within 10 LU of the mean of those. A sound shorter than a block is padded with silence.
    """
    hop = round(_BLOCK_SECONDS / _OVERLAP * rate)
    power = np.convolve(_hop_energies(blocks, rate, hop), np.ones(_OVERLAP), "valid") / (_OVERLAP * hop)
    power = power[power > 10 ** ((_GATE_LUFS + 0.691) / 10)]
    if not len(power):
        return -math.inf
    power = power[power > power.mean() * 10 ** (_RELATIVE_GATE / 10)]
    return -0.691 + 10 * math.log10(power.mean())


def _hop_energies(blocks: Blocks, rate: int, hop: int) -> np.ndarray:
    """Return the energy of the K-weighted signal in each whole hop of `hop` samples, (n,) float64."""
    from scipy import signal  # type: ignore[import-untyped]  # slow to import, and only needed here

    stages = k_weighting(rate)
    state: np.ndarray | None = None
    energies, rest = [np.zeros(0)], np.zeros(0)
    for block in _pad(blocks, _OVERLAP * hop):
        if state is None:
            state = np.zeros((len(stages), 2, block.shape[1]))
        weighted, state = signal.sosfilt(stages, block.astype(np.float64), axis=0, zi=state)
        power = np.concatenate([rest, np.square(weighted).sum(axis=1)])
        whole = len(power) // hop
        energies.append(power[: whole * hop].reshape(whole, hop).sum(axis=1))
        rest = power[whole * hop :]
    return np.concatenate(energies)


def _pad(blocks: Blocks, least: int) -> Iterator[np.ndarray]:
    """Yield the blocks, and silence after them up to `least` frames."""
    total, channels = 0, 1
    for block in blocks():
        total, channels = total + len(block), block.shape[1]
        yield block
    if total < least:
        yield np.zeros((least - total, channels), np.float32)


def k_weighting(rate: int) -> np.ndarray:
    """Return the two filters of BS.1770 at any rate as second-order sections (2, 6): b0 b1 b2 1 a1 a2.

    The standard prints coefficients for 48 kHz; these analogue parameters give exactly those (De Man, Evaluation of
    implementations of the EBU R128 loudness measurement, AES 2018). At rates that end below the first one's shelf,
    only the second one is left.
    """
    gain, q, frequency = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    sections = []
    if frequency < 0.45 * rate:
        k = math.tan(math.pi * frequency / rate)
        high, band = 10 ** (gain / 20), 10 ** (gain / 20 * 0.4996667741545416)
        scale = 1 + k / q + k * k
        b = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
        sections.append([*(x / scale for x in b), 1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale])
    q, frequency = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * frequency / rate)
    scale = 1 + k / q + k * k
    sections.append([1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale])
    return np.array(sections)
