"""Two figures that need no judge but the network itself: its loss on held-out examples, and on its own samples.

The loss is that of training, weighting included, with the averaged weights, at noise levels that depend on the seed
and the place of an example only. A network that has learned nothing has a high loss on held-out examples. Samples that
it would not have learned from, because the sampler, the schedule or the way back to files is wrong, cost it more than
real examples do; blurred or equal ones cost it less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from toolkit.diffusion import Denoiser
from toolkit.diffusion.loss import weighted
from toolkit.diffusion.randomness import Draws, normal
from toolkit.evaluation.table import Metric
from toolkit.modality import Modality
from toolkit.recipe import build
from toolkit.run.generator import Generator
from toolkit.run.samples import Samples
from toolkit.training.objective import example_losses
from toolkit.training.precision import autocast

HELD_OUT, SAMPLED = "held-out loss", "sample loss"
OWN = (HELD_OUT, SAMPLED)
MAX_EXAMPLES = 128
"""Held-out examples."""
_LEVELS, _AT_ONCE = 8, 32
_GOLDEN = (math.sqrt(5) - 1) / 2

Batch = tuple[Tensor, dict[str, Tensor]]
"""Encoded examples (B, *) and their conditions."""


def self_loss_metrics(run: Generator, real: Modality, samples: Samples, seed: int = 0) -> list[Metric]:
    """Both. `real`: the opened data; the ceiling is the loss of the same network untrained."""
    held = list(held_out_batches(real, seed))
    new = build.denoiser(run.recipe, real).to(run.device)
    value, ceiling = losses(run, run.denoiser, held, seed), losses(run, new, held, seed)
    first = _figure(HELD_OUT, value, None, float(ceiling.mean()))
    sample_losses = losses(run, run.denoiser, sample_batches(run, samples), seed)
    return [first, _figure(SAMPLED, sample_losses, first.value, None)]


@torch.no_grad()
def losses(run: Generator, denoiser: Denoiser, batches: Iterable[Batch], seed: int) -> Tensor:
    """The mean loss of each example over stratified levels of the time distribution that training began with: (n,)."""
    denoiser.eval()
    time_distribution = build.time_distribution(run.recipe.diffusion, denoiser, run.modality.facts)
    weighting, objective = build.weighting(run.recipe.diffusion), build.objective(run.recipe.diffusion)
    parts: list[Tensor] = []
    start = 0
    for x, cond in batches:
        places = range(start, start + len(x))
        start += len(x)
        eps = normal(seed, "own loss", places, denoiser.space(x.shape[1:])).to(run.device)
        part = torch.tensor([place * _GOLDEN % 1 for place in places], dtype=torch.float64)
        cond = {name: value.to(run.device) for name, value in cond.items()}
        rows = []
        for level in range(_LEVELS):
            t = time_distribution.time((level + part) / _LEVELS, denoiser.schedule).to(run.device)
            with autocast(run.device, run.dtype):
                loss = example_losses(objective, denoiser, x.to(run.device), t, eps, cond)
            rows.append(weighted(loss, denoiser, weighting, t).cpu().double())
        parts.append(torch.stack(rows).mean(0))
    return torch.cat(parts)


def held_out_batches(real: Modality, seed: int) -> Iterator[Batch]:
    """Held-out examples spread evenly, or training examples where none are, as training would be given them."""
    data = real.dataset("test")
    data = data if len(data) else real.dataset("train")
    n = min(MAX_EXAMPLES, len(data))
    for rows in (torch.arange(n) * len(data) // n).split(_AT_ONCE):
        examples = real.conditioning().batch(data.take(rows), Draws(seed, rows.tolist(), ("held out",)))
        yield real.encode(examples.raw), dict(examples.cond)


def sample_batches(run: Generator, samples: Samples) -> Iterator[Batch]:
    """Samples as they would be read back, with the conditions that they were asked under."""
    x = run.modality.encode(samples.raw)
    names = {name: i for i, name in enumerate(run.modality.labels)}
    numbers = [names.get(label, len(names)) for label in samples.labels] or None
    for request in run.requests(len(samples), numbers, samples.seed, samples.ask):
        which = torch.tensor(request.which)
        for rows in torch.arange(len(which)).split(_AT_ONCE):
            cond = {name: value[rows] for name, value in request.cond.items()}
            if numbers is not None:
                cond["label"] = torch.tensor(numbers)[which[rows]]
            yield x[which[rows]][..., : request.shape[-1]], cond


def _figure(what: str, each: Tensor, floor: float | None, ceiling: float | None) -> Metric:
    value, error = float(each.mean()), float(each.std()) / math.sqrt(len(each))
    low, high = (value - 1.96 * error, value + 1.96 * error) if math.isfinite(error) else (None, None)
    return Metric(what, value, low, high, len(each), floor, ceiling, "lower" if floor is None else "floor")
