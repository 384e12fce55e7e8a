"""From noise to sample as a film: made of the modality's own previews, so every modality has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import PIL.Image

    from toolkit.generator import Generator


def film(generator: Generator, n: int = 8, frames: int = 10, seed: int = 0) -> list[PIL.Image.Image]:
    """Previews of n samples at `frames` moments on their way, noise first.

    What is drawn is x_t / sqrt(alpha_t^2 + sigma_t^2), which has the variance of the data at every t.
    """
    labels = [i % len(generator.modality.labels) for i in range(n)] if generator.modality.labels else None
    schedule = generator.denoiser.schedule
    states = []
    for step in generator.trajectory(range(n), labels, seed=seed):
        alpha, sigma = schedule(torch.tensor(step.s, dtype=torch.float64))
        states.append((step.x / torch.sqrt(alpha**2 + sigma**2)).float().cpu())
    chosen = torch.linspace(0, len(states) - 1, min(frames, len(states))).round().long().tolist()
    return [generator.modality.preview(generator.modality.decode(states[i])) for i in chosen]


def animate(frames: list[PIL.Image.Image], strip: Path, gif: Path) -> None:
    """The frames below each other in one picture, and as an endless animation that rests on the last."""
    from PIL import Image

    width, height = frames[0].size
    whole = Image.new("RGB", (width, len(frames) * height), "white")
    for i, frame in enumerate(frames):
        whole.paste(frame.convert("RGB"), (0, i * height))
    whole.save(strip)
    times = [150] * (len(frames) - 1) + [2000]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=times, loop=0)
