"""A short measurement before training: how fast is a step here, with which threads and which memory layout."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median

import torch

from toolkit.diffusion.denoiser import Denoiser
from toolkit.training.loop import BatchSource, Config, fit, start
from toolkit.training.threads import using

_WARM, _COUNTED = 2, 5
_VARIED = 16
"""Steps that are counted where batches differ in length: one pool of `Batches`."""


@dataclass(frozen=True)
class Probe:
    """The outcome of a measurement."""

    steps_per_second: float
    channels_last: bool
    dtype: torch.dtype | None
    memory: int
    """Largest resident set so far, in bytes."""
    threads: int
    most_threads: int
    """Largest number of threads that was tried."""
    seconds: float
    """Time that the probe took."""

    def describe(self) -> str:
        """Say in words which number format, layout and threads were chosen."""
        number = "float32" if self.dtype is None else str(self.dtype).removeprefix("torch.")
        fewer = self.threads < self.most_threads
        count = f"{self.threads} of {self.most_threads}" if fewer else f"{self.threads}"
        why = ", which was faster (small network, or another program on the other cores)" if fewer else ""
        threads = f"{count} thread{'s' * (max(self.threads, self.most_threads) != 1)}{why}"
        return f"{number}, {'channels last' if self.channels_last else 'channels first'}, {threads}"


def probe(
    denoiser: Denoiser,
    batches: BatchSource,
    configure: Callable[[int, bool], Config],
    notify: Callable[[str], None],
    channels_last: bool | None = None,
    threads: Sequence[int] | None = None,
    rate: Callable[[Denoiser, BatchSource, Config, bool], float] | None = None,
) -> Probe:
    """Take a few real steps on a copy with each number of `threads` (default: as now), and then with the best of them
    in each layout that makes sense; keep the fastest. `rate` measures one of these in steps a second.

    Which layout is faster depends on the processor and the number format: both were seen to win. With
    `channels_last` given, only that one is measured.
    """
    notify("measuring the speed of this machine ...")
    began = time.perf_counter()
    rate = rate or measure_speed
    # only four-dimensional weights have a second layout
    planar = any(p.ndim == 4 for p in denoiser.net.parameters())
    layouts = [channels_last] if channels_last is not None else [False, True] if planar else [False]
    # where batches differ in length the mean is what a run takes; elsewhere the median is steadier
    varied = getattr(getattr(batches, "dataset", None), "lengths", None) is not None
    counts = list(threads or [torch.get_num_threads()])
    first = configure(_WARM + (_VARIED if varied else _COUNTED), layouts[0])
    rates = {}
    for count in counts:
        with using(count):
            rates[count, layouts[0]] = rate(denoiser, batches, first, varied)
    count = max(counts, key=lambda count: rates[count, layouts[0]])
    with using(count):
        for layout in layouts[1:]:
            rates[count, layout] = rate(denoiser, batches, configure(first.steps, layout), varied)
    best = max(layouts, key=lambda layout: rates[count, layout])
    dtype, took = configure(1, best).dtype, time.perf_counter() - began
    return Probe(rates[count, best], best, dtype, peak_memory(), count, max(counts), took)


def measure_speed(denoiser: Denoiser, batches: BatchSource, config: Config, varied: bool) -> float:
    """Steps a second, an average of a few."""
    state = start(copy.deepcopy(denoiser), replace(config, warmup=0))
    seconds = []
    began = time.perf_counter()
    for step in fit(batches, config, state):
        now = time.perf_counter()
        if step.step > _WARM:
            seconds.append(now - began)
        began = now
    return 1 / (mean if varied else median)(seconds)


def peak_memory() -> int:
    """Largest resident set of this process so far in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
