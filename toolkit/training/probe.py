"""A short measurement before training: how fast is a step here, and which memory layout is faster."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean, median

import torch

from toolkit.diffusion.denoiser import Denoiser
from toolkit.training.loop import BatchSource, Config, fit, start

_WARM, _COUNTED = 2, 5
_VARIED = 16
"""Steps that are counted where batches differ in length: one pool of `Batches`."""


@dataclass(frozen=True)
class Probe:
    """What was measured."""

    steps_per_second: float
    channels_last: bool
    dtype: torch.dtype | None
    memory: int
    """Largest resident set so far, in bytes."""

    def describe(self) -> str:
        """In words: the number format and the layout that were chosen."""
        number = "float32" if self.dtype is None else str(self.dtype).removeprefix("torch.")
        return f"{number}, {'channels last' if self.channels_last else 'channels first'}"


def probe(
    denoiser: Denoiser,
    batches: BatchSource,
    configure: Callable[[int, bool], Config],
    notify: Callable[[str], None],
    channels_last: bool | None = None,
) -> Probe:
    """Take a few real steps on a copy, in each layout that makes sense, and keep the faster.

    Which layout is faster depends on the processor and the number format: both were seen to win. With
    `channels_last` given, only that one is measured.
    """
    notify("measuring the speed of this machine ...")
    # only four-dimensional weights have a second layout
    planar = any(p.ndim == 4 for p in denoiser.net.parameters())
    layouts = [channels_last] if channels_last is not None else [False, True] if planar else [False]
    # where batches differ in length the mean is what a run takes; elsewhere the median is steadier
    varied = getattr(getattr(batches, "dataset", None), "lengths", None) is not None
    counted, average = (_VARIED, mean) if varied else (_COUNTED, median)
    rates = {layout: _rate(denoiser, batches, configure(_WARM + counted, layout), average) for layout in layouts}
    best = max(rates, key=lambda layout: rates[layout])
    return Probe(rates[best], best, configure(1, best).dtype, peak_memory())


def _rate(denoiser: Denoiser, batches: BatchSource, config: Config, average: Callable[[list[float]], float]) -> float:
    """Steps a second, an average of a few."""
    state = start(copy.deepcopy(denoiser), replace(config, warmup=0))
    seconds = []
    began = time.perf_counter()
    for done in fit(batches, config, state):
        now = time.perf_counter()
        if done.step > _WARM:
            seconds.append(now - began)
        began = now
    return 1 / average(seconds)


def peak_memory() -> int:
    """Largest resident set of this process so far in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
