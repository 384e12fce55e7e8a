"""A run's convergence view: where its loss stands over the noise levels, for both averages of its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from toolkit.diffusion.randomness import Draws
from toolkit.evaluation.loss_curve import (
    LEVELS,
    LevelLoss,
    join,
    level_density,
    linear_loss,
    loss_by_level,
    plot,
    spectrum,
)
from toolkit.evaluation.self_loss import Batch, held_out
from toolkit.modality import Modality
from toolkit.run.generator import Generator
from toolkit.training.precision import autocast

NAME = "convergence.png"
TRAINED, AT_ONCE = 128, 32
"""Training examples that are looked at, and at once."""
SPREAD = 2_000
"""Training examples whose variances make the best linear denoiser."""


def view(run: Generator, other: Callable[[float], Generator], real: Modality, folder: Path, seed: int = 0) -> Path:
    """Draw FOLDER/convergence.png: |x - x_hat|^2 on held-out examples for each average, and on training examples.

    other: the same run with the average of a width. A gap between training and held-out examples is overfitting, one
    between the averages says that the learning rate or the time was too short, and a level at which all are near the
    linear denoiser is one at which little was learned. The shade is where training looked.
    """
    held = list(held_out(real, seed))
    curves = {f"held out, EMA {width:g}": levels(other(width), held) for width in run.recipe.train.ema}
    curves["training examples"] = levels(run, trained(real, seed))
    references = {}
    data = real.dataset("train")
    if data.lengths is None and not run.denoiser.self_conditioning:
        x = real.encode(data.take(torch.arange(min(SPREAD, len(data))) * len(data) // min(SPREAD, len(data))).raw)
        references["best linear denoiser"] = (LEVELS, linear_loss(spectrum(x), LEVELS))
    density = (LEVELS, level_density(run.law, run.denoiser.schedule, LEVELS)) if run.law is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    return plot(folder / NAME, curves, references, density)


def levels(run: Generator, batches: list[Batch]) -> LevelLoss:
    """The loss of a run at each level, given all conditions of the examples."""
    parts = []
    start = 0
    for data, cond in batches:
        told = {name: value.to(run.device) for name, value in cond.items()}
        x = run.denoiser.embed(data.to(run.device), told).detach()
        if run.denoiser.space(data.shape[1:]) != tuple(data.shape[1:]):
            told["tokens"] = data[:, None].to(run.device)
        with autocast(run.device, run.dtype):
            parts.append(
                loss_by_level(
                    lambda x_t, t, told=told: run.denoiser(x_t, t, told),  # type: ignore[misc]
                    x,
                    run.denoiser.schedule,
                    positions=range(start, start + len(x)),
                    mask=told.get("mask"),
                )
            )
        start += len(x)
    return join(parts)


def trained(real: Modality, seed: int) -> list[Batch]:
    """Training examples, spread evenly."""
    data = real.dataset("train")
    n = min(TRAINED, len(data))
    found = []
    for rows in (torch.arange(n) * len(data) // n).split(AT_ONCE):
        examples = real.conditioning().batch(data.take(rows), Draws(seed, rows.tolist(), ("trained",)))
        found.append((real.encode(examples.raw), dict(examples.cond)))
    return found
