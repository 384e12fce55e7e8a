"""From noise to sample, as a strip and as an animation, for every modality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

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
            states.append((step.x / torch.sqrt(alpha**2 + sigma**2)).float().cpu())
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
