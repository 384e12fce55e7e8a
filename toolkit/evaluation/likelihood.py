"""Bits of held-out examples under a model of numbers on a grid: pixels, samples of sound.

They come from the variational bound, with its terms, and from the probability-flow ODE. Both begin with noise well
below one step of the grid, and end with noise far above the data. Intervals are of 95 %; that of the flow includes the
solver's error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.likelihood import Bins, DiscretisedGaussian, dequantise, total
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.ode_likelihood import Hutchinson, log_density
from toolkit.diffusion.vlb import Continuous, Steps, Terms, bound, with_second_pass
from toolkit.evaluation.table import Metric

LEAST = 0.5
"""Lowest noise level, in steps of the grid."""
MAX_NEPERS = 100.0
"""Highest noise level, in deviations of the data."""
DRAWS = 8
"""Noise levels for each example."""
FLOW_STEPS = 12
"""Steps of the fourth-order method, four network calls each; an even number."""
FLOW_CHECKED = 4
"""One in so many examples, and at least two, are also followed in half as many steps."""


def figures(
    denoiser: Denoiser,
    times: TimeDistribution | None,
    x: Tensor,
    bins: Bins,
    cond: Mapping[str, Tensor],
    unit: str,
    seed: int = 0,
    batch: int = 64,
    flow: int = 16,
) -> list[Metric]:
    """Return the bits for each number of x (N, *), which lies on `bins` in model space.

    times: distribution of the noise levels. cond: conditions, each (N, ...); where cond["mask"] is 0 nothing counts.
    flow: how many examples are also measured along the probability flow, which takes many more network calls.
    """
    batches = []
    for start in range(0, len(x), batch):
        rows = slice(start, start + batch)
        batches.append(_bound(denoiser, times, x[rows], _part(bins, rows), _rows(cond, rows), seed, start))
    numbers = _numbers(x, cond)
    value, error = _ratio(torch.cat([terms.total for terms in batches]), numbers)
    metrics = [
        Metric(unit, value, value - 1.96 * error, value + 1.96 * error, len(x), unit=unit, note="an upper bound")
    ]
    for name in ("prior", "diffusion", "reconstruction"):
        part, _ = _ratio(torch.cat([getattr(terms, name) for terms in batches]), numbers)
        metrics.append(Metric(f"{unit}: {name}", part, n=len(x), unit=unit))
    if flow:
        metrics.append(_flow_metric(denoiser, x[:flow], _part(bins, slice(flow)), _rows(cond, slice(flow)), unit, seed))
    return metrics


@torch.no_grad()
def _bound(
    denoiser: Denoiser,
    times: TimeDistribution | None,
    x: Tensor,
    bins: Bins,
    cond: dict[str, Tensor],
    seed: int,
    start: int,
) -> Terms:
    schedule = denoiser.schedule
    if schedule.T:
        levels: Continuous | Steps = Steps.of_chain(schedule)
    else:
        levels = Continuous(schedule, LEAST * bins.step, MAX_NEPERS, times)
    denoise = with_second_pass(denoiser, cond)
    mask = cond.get("mask")
    reconstruct = DiscretisedGaussian(denoise, schedule, x, bins, mask)
    return bound(
        denoise, x, levels, reconstruct, seed, range(start, start + len(x)), DRAWS, prior_variance=1.0, mask=mask
    )


def _flow_metric(denoiser: Denoiser, x: Tensor, bins: Bins, cond: dict[str, Tensor], unit: str, seed: int) -> Metric:
    """Return the bits along the flow, in an interval for chance and for the solver's error.

    The latter is Richardson's (1911): if the error of half as many steps is 2^p times as large, the difference is
    2^p - 1 times the error. p = 4 holds where steps are short for what they cross; p = 2 allows for those that are not.
    """
    numbers = _numbers(x, cond)
    nats = _flow(denoiser, x, bins, cond, seed, FLOW_STEPS)
    value, error = _ratio(nats, numbers)
    rows = slice(max(2, len(x) // FLOW_CHECKED))
    coarse = _flow(denoiser, x[rows], _part(bins, rows), _rows(cond, rows), seed, FLOW_STEPS // 2)
    off = abs(_ratio(coarse - nats[rows], numbers[rows])[0]) / 3
    note = f"probability flow, {FLOW_STEPS} steps of fourth order, which may be off by {off:.1g}; one random probe"
    reach = 1.96 * error + off
    return Metric(f"{unit}: flow", value, value - reach, value + reach, len(x), unit=unit, note=note)


def _flow(denoiser: Denoiser, x: Tensor, bins: Bins, cond: dict[str, Tensor], seed: int, steps: int) -> Tensor:
    """Return -log P in nats: (B,)."""
    mask = cond.get("mask")
    places = range(len(x))
    noisy = dequantise(x, bins.step, seed, places)
    noisy = noisy if mask is None else noisy * mask
    density = log_density(
        with_second_pass(denoiser, cond),
        noisy,
        denoiser.schedule,
        LEAST * bins.step,
        MAX_NEPERS,
        steps,
        Hutchinson(seed, places, x.shape[1:]),
        "rk4",
        1.0,
        mask,
    )
    return -density.nats - _numbers(x, cond) * math.log(bins.step)


def _rows(cond: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in cond.items()}


def _part(bins: Bins, rows: slice) -> Bins:
    return Bins(bins.count, bins.low[rows], bins.step) if isinstance(bins.low, Tensor) else bins


def _numbers(x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """Return how many numbers of each example count: (N,) float64."""
    return total(torch.ones_like(x), cond.get("mask"))


def _ratio(nats: Tensor, numbers: Tensor) -> tuple[float, float]:
    """Return the bits for each number over all examples, and the standard error of that ratio."""
    value = float(nats.sum() / numbers.sum())
    error = float((nats - value * numbers).square().sum().sqrt() / numbers.sum())
    return value / math.log(2), error / math.log(2)
