"""Speed of a small training with all threads, half of them, and threads that sleep while they wait; alone, and with
another program on one core.

    python benchmarks/threads.py --seconds 20 --rounds 3

Every setting is a process of its own, since how threads wait must be said before torch is loaded, and settings take
turns, so that a slow moment of the machine hits all of them. `others` is how much of the processor programs that are
not ours used meanwhile: above a few hundredths, the column `alone` is no such thing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def work(seconds: float) -> float:
    """Training steps a second of the recipe image/digits, after a few to warm up."""
    import torch

    from toolkit import paths, recipe
    from toolkit.discovery import find
    from toolkit.recipe import build
    from toolkit.training import loop
    from toolkit.training.batches import Batches

    chosen = recipe.load("image/digits")
    kind = find(chosen.modality)
    modality = kind(*recipe.validate_for(chosen, kind))
    modality.open(paths.cache(), lambda line: None)
    batches = Batches(modality, modality.dataset("train"), chosen.train.batch, 0, 0.1)
    denoiser = build.denoiser(chosen, modality)
    config = build.fit_config(chosen, denoiser, modality.facts, 10**6, torch.device("cpu"), True)
    state = loop.start(denoiser, config)
    began = 0.0
    for done in loop.fit(batches, config, state):
        if done.step == 2:
            began = time.perf_counter()
        elif done.step > 2 and time.perf_counter() - began > seconds:
            break
    return (state.step - 2) / (time.perf_counter() - began)


def busy() -> None:
    """Another program, until it is ended."""
    while True:
        pass


def used() -> float:
    """Processor seconds that all programs have used so far."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])
    return (sum(map(int, fields[:8])) - idle) / os.sysconf("SC_CLK_TCK")


def measure(threads: int, extra: dict[str, str], seconds: float, disturbed: bool) -> tuple[float, float]:
    """Steps a second, and cores that others used meanwhile."""
    other = multiprocessing.Process(target=busy, daemon=True)
    if disturbed:
        other.start()
    clean = {key: value for key, value in os.environ.items() if key not in PASSIVE and key != "OMP_NUM_THREADS"}
    environment = {**clean, **extra, "OMP_NUM_THREADS": str(threads)}
    began, before = time.perf_counter(), used()
    done = subprocess.run(
        [sys.executable, __file__, "--work", "--seconds", str(seconds)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    took, all_of_it = time.perf_counter() - began, used() - before
    rate, own = map(float, done.stdout.split())
    if disturbed:
        other.terminate()
        other.join()
    return rate, max(0.0, all_of_it / took - own / took - disturbed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        rate = work(chosen.seconds)
        print(rate, sum(os.times()[:2]))
        return
    cores = os.cpu_count() or 1
    settings: dict[str, tuple[int, dict[str, str]]] = {
        f"{cores} threads": (cores, {}),
        f"{cores} threads, passive": (cores, PASSIVE),
        f"{max(1, cores // 2)} thread(s)": (max(1, cores // 2), {}),
    }
    rates: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)
    others: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)
    for _ in range(chosen.rounds):
        for disturbed in (False, True):
            for name, (threads, extra) in settings.items():
                rate, around = measure(threads, extra, chosen.seconds, disturbed)
                rates[name, disturbed].append(rate)
                others[name, disturbed].append(around)
                state = "beside a program" if disturbed else "alone"
                print(f"{name:24s} {state:16s} {rate:7.3f} steps/s, others {around:.2f}", flush=True)
    print("\n| setting | alone | beside a program on one core | others (alone, beside) |\n|---|---|---|---|")
    first = next(iter(settings))
    for name in settings:
        cells = []
        for disturbed in (False, True):
            ratios = [a / b for a, b in zip(rates[name, disturbed], rates[first, disturbed], strict=True)]
            middle, spread = median(rates[name, disturbed]), f"{min(ratios):.2f} to {max(ratios):.2f}"
            cells.append(f"{middle:.2f} steps/s, {median(ratios):.2f} of the first ({spread})")
        around = ", ".join(f"{median(others[name, disturbed]):.2f}" for disturbed in (False, True))
        print(f"| {name} | {cells[0]} | {cells[1]} | {around} |")


if __name__ == "__main__":
    main()
