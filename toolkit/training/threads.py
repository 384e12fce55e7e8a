"""Processor threads of torch.

All of them are not always best: threads wait for each other after each operation, so one that shares its core with
another program makes all of them wait (measured: `python benchmarks/threads.py`), and small networks have little to
share.
Sums are grouped by thread, so another number of threads gives other last digits: a run keeps the one it began with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def candidates(given: int | None, device: torch.device, notify: Callable[[str], None]) -> list[int]:
    """Numbers of threads to try, most first: the one `given`, at most one for each core; else all, and half of them.

    What torch uses now is all there is when OMP_NUM_THREADS says so or the work is done elsewhere.
    """
    cores = max(os.cpu_count() or 1, torch.get_num_threads())
    if given is not None:
        if given > cores:
            notify(f"{given} threads are asked for and this machine has {cores} cores: taking {cores}")
        return [min(given, cores)]
    everything = torch.get_num_threads()
    if device.type != "cpu" or "OMP_NUM_THREADS" in os.environ or everything == 1:
        return [everything]
    return [everything, everything // 2]


@contextmanager
def using(count: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
