"""Find at which noise levels a trained model loses the tones of sounds.

    python benchmarks/audio_tone_levels.py runs/drums [-n 96] [--steps 24]

Noise is added to training clips up to each of `LEVELS`. The model then estimates the clips at once, and samples on from
there to the end. Printed are the share of voiced sounds, their mean harmonics-to-noise ratio in dB and the median
change of f0 in 10 ms in cents (toolkit evaluate's `voiced`, `HNR` and `f0 change`). What real clips still have when
sampling begins at one level, and no longer at the next one, is lost between the two.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

import toolkit
from modalities.audio.codec import rate_of
from modalities.audio.evaluate.tones import tones
from modalities.audio.modality import Audio
from toolkit import paths
from toolkit.diffusion.randomness import Draws, seeded_generator
from toolkit.diffusion.schedule import expand
from toolkit.run.generator import Generator

LEVELS = (-3, -2, -1, 0, 1, 2)
"""log(sigma / alpha), noise over data."""
LAST = -6.0
AT_ONCE = 16


def line(raw: Tensor, rate: int, name: str) -> None:
    """Print the figures of sounds (B, C, L)."""
    figures = tones(raw, rate)
    hnr = figures.hnr[figures.hnr.isfinite()].mean()
    change = figures.f0_change[figures.f0_change.isfinite()]
    cents = change.median() if len(change) else math.nan
    print(f"{name} | {figures.voiced.mean():.2f} | {hnr:.2f} | {cents:.1f}", flush=True)


def estimate(run: Generator, y: Tensor, level: float, cond: dict[str, Tensor]) -> Tensor:
    """Return x_hat of y = x + exp(level) eps, (B, C, L)."""
    schedule = run.denoiser.schedule
    t = schedule.time(torch.full((len(y),), -2.0 * level, dtype=torch.float64))
    x_t = expand(schedule(t)[0], y) * y
    parts = torch.arange(len(y)).split(AT_ONCE)
    return torch.cat([run.denoiser(x_t[i], t[i], {name: value[i] for name, value in cond.items()}) for i in parts])


def onwards(run: Generator, y: Tensor, start: float, steps: int, cond: dict[str, Tensor]) -> Tensor:
    """Return samples from y = x + exp(start) eps on, by Heun's method in the noise level."""
    grid = torch.linspace(start, LAST, steps + 1).tolist()
    for level, after in zip(grid, grid[1:], strict=False):
        step = math.exp(after) - math.exp(level)
        slope = (y - estimate(run, y, level, cond)) / math.exp(level)
        ahead = y + step * slope
        y = y + step / 2 * (slope + (ahead - estimate(run, ahead, after, cond)) / math.exp(after))
    return y


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=int, default=96)
    parser.add_argument("--steps", type=int, default=24)
    ask = parser.parse_args()
    run = toolkit.load(ask.run)
    real = run.fresh_modality()
    assert isinstance(real, Audio)
    real.data = real.data.model_copy(update={"gain": 0.0, "speed": 0.0, "polarity": False})
    real.open(paths.cache(), print)
    data, rate = real.dataset("train"), rate_of(real.facts)
    rows = torch.linspace(0, len(data) - 1, min(ask.n, len(data))).round().long()
    clips = real.conditioning().batch(data.take(rows), Draws(0, rows.tolist(), ("tones",)))
    x, cond = real.encode(clips.raw), dict(clips.cond)
    eps = torch.randn(x.shape, generator=seeded_generator(0, "tones"))
    print("sounds | voiced | HNR in dB | change of f0 in cents")
    line(real.decode(x), rate, "real")
    for level in LEVELS:
        y = x + math.exp(level) * eps
        for name, x_hat in (
            ("estimate at", estimate(run, y, level, cond)),
            ("sampled from", onwards(run, y, level, ask.steps, cond)),
        ):
            line(real.decode(x_hat * cond["mask"]), rate, f"{name} {level}")


if __name__ == "__main__":
    main()
