"""Random variations of a batch of sounds, each example on its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modalities.audio.options import Data
from toolkit.diffusion.randomness import Draws

_DRAWS = 4  # speed, delay, gain, polarity


def augment(raw: Tensor, length: Tensor, options: Data, rate: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return raw and length after random speed, delay, gain and polarity, in this order.

    raw: (B, C, L) float in [-1, 1], zero from length: (B,) int64 on; so is the result. rate: in Hz. The same four
    numbers are drawn for an example whatever is switched on and whatever is beside it, so options can be compared
    like with like.
    """
    if not (options.speed or options.shift or options.gain or options.polarity):
        return raw, length
    u = draws.uniform("augment", _DRAWS).to(raw.device)
    if options.speed or options.shift:
        speed = 1 + options.speed * (2 * u[:, 0].double() - 1)
        delay = (u[:, 1] * (options.shift * rate + 1)).long().clamp(max=round(options.shift * rate))
        raw, length = _move(raw, length, speed, delay)
    if options.gain or options.polarity:
        factor = 10 ** (options.gain / 20 * (2 * u[:, 2] - 1))
        peak = raw.abs().amax((1, 2)).clamp(min=1e-9)
        factor = torch.minimum(factor, 1 / peak)
        if options.polarity:
            factor = torch.where(u[:, 3] < 0.5, -factor, factor)
        raw = (raw * factor[:, None, None]).clamp(-1, 1)  # 1 / peak may round up
    return raw, length


def note(options: Data) -> str:
    """Return one line that describes `augment`; empty when it does nothing."""
    parts = [
        f"gain of up to ±{options.gain:g} dB" if options.gain else "",
        "polarity" if options.polarity else "",
        f"delays of up to {options.shift:g} s" if options.shift else "",
        f"speeds of up to ±{options.speed:.1%}".replace(".0%", "%") if options.speed else "",
    ]
    return ", ".join(part for part in parts if part)


def _move(raw: Tensor, length: Tensor, speed: Tensor, delay: Tensor) -> tuple[Tensor, Tensor]:
    """Return sounds whose sample n is sample (n - delay) * speed of `raw`, by a cubic (Catmull-Rom), and their lengths.

    speed: (B,) float64, about 1; delay: (B,) int64 samples. Zeros come first; a sound is cut off at the end of the
    array, but at least half of it stays: a longer delay is shortened.
    """
    frames = raw.shape[-1]
    duration = ((length - 1) / speed).long() + 1  # up to the last sample that lies within the sound
    delay = torch.minimum(delay, (frames - (duration + 1) // 2).clamp(min=0))
    end = (delay + duration).clamp(max=frames)
    n = torch.arange(frames, device=raw.device)
    # float64, as float32 has no room for a fraction behind tens of thousands of samples
    place = ((n - delay[:, None]) * speed[:, None]).clamp(0, frames - 1)
    whole = place.long()
    share = (place - whole).to(raw.dtype)[:, None]
    source = functional.pad(raw, (1, 2))  # one neighbour before and two after
    result = torch.zeros_like(raw)
    for tap, weight in enumerate(_catmull_rom(share)):
        result += source.gather(2, (whole + tap)[:, None].expand_as(raw)) * weight
    result *= ((n >= delay[:, None]) & (n < end[:, None]))[:, None]
    return result.clamp_(-1, 1), end


def _catmull_rom(u: Tensor) -> list[Tensor]:
    """Return the weights of the samples at -1, 0, 1 and 2 for the value at u in [0, 1); they add up to 1."""
    return [
        0.5 * u * ((2 - u) * u - 1),
        0.5 * (u * u * (3 * u - 5) + 2),
        0.5 * u * ((4 - 3 * u) * u + 1),
        0.5 * u * u * (u - 1),
    ]
