"""A run's convergence view: where its loss stands over the noise levels, for both averages of its weights."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolkit.diffusion.level_loss import (
    LEVELS,
    LevelLoss,
    join,
    level_density,
    linear_loss,
    loss_by_level,
    spectrum,
)
from toolkit.diffusion.randomness import Draws
from toolkit.evaluation.self_loss import Batch, held_out_batches
from toolkit.modality import Modality
from toolkit.run.generator import Generator
from toolkit.training.precision import autocast
from toolkit.training.storage.files import write_bytes_atomic

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
    held = list(held_out_batches(real, seed))
    curves = {f"held out, EMA {width:g}": levels(other(width), held) for width in run.recipe.train.ema}
    curves["training examples"] = levels(run, training_batches(real, seed))
    references = {}
    data = real.dataset("train")
    if data.lengths is None and not run.denoiser.self_conditioning:
        x = real.encode(data.take(torch.arange(min(SPREAD, len(data))) * len(data) // min(SPREAD, len(data))).raw)
        references["best linear denoiser"] = (LEVELS, linear_loss(spectrum(x), LEVELS))
    density = (
        (LEVELS, level_density(run.time_distribution, run.denoiser.schedule, LEVELS))
        if run.time_distribution is not None
        else None
    )
    folder.mkdir(parents=True, exist_ok=True)
    return plot(folder / NAME, curves, references, density)


def levels(run: Generator, batches: list[Batch]) -> LevelLoss:
    """The loss of a run at each level, given all conditions of the examples."""
    parts = []
    start = 0
    for data, cond in batches:
        data, cond = data.to(run.device), {name: value.to(run.device) for name, value in cond.items()}
        x = run.denoiser.embed(data, cond).detach()
        known = run.denoiser.conditions(data, cond)
        with autocast(run.device, run.dtype):
            parts.append(
                loss_by_level(
                    lambda x_t, t, known=known: run.denoiser(x_t, t, known),  # type: ignore[misc]
                    x,
                    run.denoiser.schedule,
                    positions=range(start, start + len(x)),
                    mask=known.get("mask"),
                )
            )
        start += len(x)
    return join(parts)


def training_batches(real: Modality, seed: int) -> list[Batch]:
    """Training examples, spread evenly."""
    data = real.dataset("train")
    n = min(TRAINED, len(data))
    batches = []
    for rows in (torch.arange(n) * len(data) // n).split(AT_ONCE):
        examples = real.conditioning().batch(data.take(rows), Draws(seed, rows.tolist(), ("trained",)))
        batches.append((real.encode(examples.raw), dict(examples.cond)))
    return batches


def plot(
    path: Path,
    curves: Mapping[str, LevelLoss],
    references: Mapping[str, tuple[Tensor, Tensor]],
    density: tuple[Tensor, Tensor] | None = None,
) -> Path:
    """Draw losses over log-SNR as a PNG at `path`, replacing it in one step, and return the path.

    curves: networks, snapshots or EMA widths by name, with bands of two standard errors. references: (log-SNR,
    loss), each (n,), by name, dashed. The lower panel shows curves over the first reference, at the same levels.
    density: (log-SNR, density) of the time distribution, shaded. Raises StorageError.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    first = next(iter(references.items()), None)

    def relative(places: Tensor, loss: Tensor, **style: Any) -> None:
        if first is not None and len(first[1][1]) == len(loss):
            lower.plot(places.tolist(), (loss / first[1][1]).tolist(), linewidth=1.2, **style)

    for name, (places, loss) in references.items():
        (line,) = upper.plot(places.tolist(), loss.tolist(), "--", linewidth=1, label=name)
        relative(places, loss, linestyle="--", color=line.get_color())
    least = math.inf
    for name, curve in curves.items():
        levels, mean, error = curve.log_snr.tolist(), curve.mean, curve.error.nan_to_num()
        (line,) = upper.plot(levels, mean.tolist(), linewidth=1.2, marker=".", label=name)
        low, high = (mean - 2 * error).tolist(), (mean + 2 * error).tolist()
        upper.fill_between(levels, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        relative(curve.log_snr, mean, marker=".", color=line.get_color())
        least = min([least, *mean[mean > 0].tolist()])
    upper.set(yscale="log", ylabel="|x - x_hat|^2 a number")
    if math.isfinite(least):  # a training set's own floor goes down to 1e-300, and would leave the curves no room
        upper.set_ylim(bottom=least / 3)
    lower.set(xlabel="log-SNR (noise to the left)", ylabel=f"loss / {first[0]}" if first else "", ylim=(0, None))
    if density is not None:
        shade = lower.twinx()
        shade.fill_between(density[0].tolist(), density[1].tolist(), color="0.5", alpha=0.2, linewidth=0)
        shade.set(ylabel="trained on (density)", ylim=(0, None))
    upper.legend(fontsize=8)
    memory = io.BytesIO()
    canvas.print_png(memory)
    write_bytes_atomic(path, memory.getvalue())
    return path
