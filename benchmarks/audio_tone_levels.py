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
from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.guidance import conditional
from toolkit.diffusion.randomness import Draws, seeded_generator
from toolkit.diffusion.sampler import Heun, call, sample
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


def outcomes(run: Generator, x: Tensor, eps: Tensor, cond: Cond, level: float, steps: int) -> tuple[Tensor, Tensor]:
    """Return x_hat of x (B, C, L) under noise of that level, and what Heun's method makes of it, both (B, C, L)."""
    schedule = run.denoiser.schedule
    times = schedule.time(-2 * torch.linspace(level, LAST, steps + 1, dtype=torch.float64))
    estimates, samples = [], []
    for part in torch.arange(len(x)).split(AT_ONCE):
        denoise = conditional(run.denoiser, {name: value[part] for name, value in cond.items()})
        t = times[0].expand(len(part))
        alpha, sigma = (expand(value, x) for value in schedule(t))
        x_t = alpha * x[part] + sigma * eps[part]
        estimates.append(call(denoise, x_t, float(times[0])))
        samples.append(sample(denoise, schedule, Heun("sigma"), x_t, times, clean=True))
    return torch.cat(estimates), torch.cat(samples)


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
        estimate, end = outcomes(run, x, eps, cond, level, ask.steps)
        line(real.decode(estimate * cond["mask"]), rate, f"estimate at {level}")
        line(real.decode(end * cond["mask"]), rate, f"sampled from {level}")


if __name__ == "__main__":
    main()
