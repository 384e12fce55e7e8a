"""What held-out examples cost in bits under a model of numbers on a grid: pixels, samples of sound.

By the variational bound, with its terms, and by the probability-flow ODE. Both begin with noise well below one step of
the grid, and end with noise far above the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from toolkit.diffusion.bound import Continuous, Steps, Terms, bound
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.flow_likelihood import Hutchinson, log_density
from toolkit.diffusion.guidance import conditional
from toolkit.diffusion.likelihood import Bins, DiscretisedGaussian, bits_per_dim, dequantise, total
from toolkit.diffusion.loss import TimeLaw
from toolkit.evaluation.figures import Figure

LEAST = 0.5
"""Of a step of the grid: the least noise."""
MOST = 100.0
"""Deviations of the data: the most noise."""
DRAWS = 8
"""Noise levels for each example."""
FLOW_STEPS = 24


def figures(
    denoiser: Denoiser,
    law: TimeLaw | None,
    x: Tensor,
    bins: Bins,
    cond: Mapping[str, Tensor],
    unit: str,
    seed: int = 0,
    batch: int = 64,
    flow: int = 16,
) -> list[Figure]:
    """Bits for each number of x (N, *), which lies on `bins` in model space.

    cond: conditions of the examples, each (N, ...); where cond["mask"] is 0 nothing counts. flow: how many of the
    examples are also measured along the probability flow, which takes many more network calls.
    """
    found = []
    for start in range(0, len(x), batch):
        rows = slice(start, start + batch)
        found.append(_bound(denoiser, law, x[rows], _part(bins, rows), _rows(cond, rows), seed, start))
    numbers = _numbers(x, cond)
    value, error = _ratio(torch.cat([terms.total for terms in found]), numbers)
    figures = [
        Figure(unit, value, value - 1.96 * error, value + 1.96 * error, len(x), unit=unit, note="an upper bound")
    ]
    for name in ("prior", "diffusion", "reconstruction"):
        part, _ = _ratio(torch.cat([getattr(terms, name) for terms in found]), numbers)
        figures.append(Figure(f"{unit}: {name}", part, n=len(x), unit=unit))
    if flow:
        flow = min(flow, len(x))
        rows = slice(0, flow)
        nats = _flow(denoiser, x[rows], _part(bins, rows), _rows(cond, rows), seed)
        value, error = _ratio(nats, numbers[rows])
        note = f"probability flow, {FLOW_STEPS} steps, one random probe"
        figures.append(
            Figure(f"{unit}: flow", value, value - 1.96 * error, value + 1.96 * error, flow, unit=unit, note=note)
        )
    return figures


@torch.no_grad()
def _bound(
    denoiser: Denoiser, law: TimeLaw | None, x: Tensor, bins: Bins, cond: dict[str, Tensor], seed: int, start: int
) -> Terms:
    schedule = denoiser.schedule
    if schedule.T:
        levels: Continuous | Steps = Steps.of_chain(schedule)
    else:
        levels = Continuous(schedule, LEAST * bins.step, MOST, law)
    denoise = conditional(denoiser, cond)
    mask = cond.get("mask")
    reconstruct = DiscretisedGaussian(denoise, schedule, x, bins, mask)
    return bound(
        denoise, x, levels, reconstruct, seed, range(start, start + len(x)), DRAWS, prior_variance=1.0, mask=mask
    )


def _flow(denoiser: Denoiser, x: Tensor, bins: Bins, cond: dict[str, Tensor], seed: int) -> Tensor:
    """-log P in nats: (B,)."""
    mask = cond.get("mask")
    places = range(len(x))
    noisy = dequantise(x, bins.step, seed, places)
    noisy = noisy if mask is None else noisy * mask
    found = log_density(
        conditional(denoiser, cond),
        noisy,
        denoiser.schedule,
        LEAST * bins.step,
        MOST,
        FLOW_STEPS,
        Hutchinson(seed, places, x.shape[1:]),
        "heun",
        1.0,
        mask,
    )
    return -found.nats - _numbers(x, cond) * math.log(bins.step)


def _rows(cond: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in cond.items()}


def _part(bins: Bins, rows: slice) -> Bins:
    return Bins(bins.count, bins.low[rows], bins.step) if isinstance(bins.low, Tensor) else bins


def _numbers(x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """How many numbers of each example count: (N,) float64."""
    return total(torch.ones_like(x), cond.get("mask"))


def _ratio(nats: Tensor, numbers: Tensor) -> tuple[float, float]:
    """Bits for each number over all examples, and the standard error of that ratio."""
    value = float(nats.sum() / numbers.sum())
    error = float((nats - value * numbers).square().sum().sqrt() / numbers.sum())
    return float(bits_per_dim(torch.tensor(value), 1.0)), error / math.log(2)
