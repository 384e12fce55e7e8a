"""From noise to sample, as a strip and as an animation, for every modality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toolkit.diffusion.adaptive import Adaptive
from toolkit.generator import gather

if TYPE_CHECKING:
    from toolkit.generator import Generator


def moments(generator: Generator, n: int = 9, count: int = 10, seed: int = 0) -> Tensor:
    """n samples at `count` moments on their way, noise first, in the modality's raw form: (count, n, ...).

    What is shown is x_t / sqrt(alpha_t^2 + sigma_t^2), which has the variance of the data at every t.
    """
    known = generator.modality.labels
    schedule = generator.denoiser.schedule
    labels = [i % len(known) for i in range(n)] if known else None
    parts = []
    for job in generator.requests(n, labels, seed):
        chosen = [labels[i] for i in job.which] if labels else None
        states = []
        for step in generator.trajectory(job.which, chosen, seed=seed, request=job):
            alpha, sigma = schedule(torch.tensor(step.s, dtype=torch.float64))
            x = (step.x / torch.sqrt(alpha**2 + sigma**2)).float()
            states.append(generator.denoiser.unembed(x).cpu())
        shown = torch.linspace(0, len(states) - 1, min(count, len(states))).round().long().tolist()
        parts.append((job.which, torch.stack([states[i] for i in shown], 1)))
    return torch.stack([generator.modality.decode(moment) for moment in gather(parts).unbind(1)])


def film(generator: Generator, stem: Path, n: int = 9) -> list[Path]:
    """Write `moments` as stem.png, a strip, and stem.gif, which rests on the last moment."""
    raw = moments(generator, n)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".gif")]
    generator.modality.strip(raw).save(paths[0])
    frames = [generator.modality.preview(moment) for moment in raw]
    times = [150] * (len(frames) - 1) + [2000]
    frames[0].save(paths[1], save_all=True, append_images=frames[1:], duration=times, loop=0)
    return paths


def draw_law(law: Adaptive, path: Path) -> Path:
    """Plot what an adaptive time law has learned: what is unknown at each noise level, and how often it is visited."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    level = law.edges.exp()
    middle = (level[1:] * level[:-1]).sqrt()
    if int((law.count > 0).sum()) >= 3:
        left.plot(middle, law.means(), color="#b5541c")
    right.stairs(law.shares() * law.bins, level, color="#1f7a5c", fill=True, alpha=0.25)
    right.stairs(law.initial * law.bins, level, color="#6b6b70", linestyle=":")
    left.set(xscale="log", xlabel="noise, sigma / alpha", ylabel="unknown (line)")
    right.set(ylabel="density, 1 = even (dotted: at first)", ylim=(0, None))
    figure.savefig(path, dpi=110)
    return path
