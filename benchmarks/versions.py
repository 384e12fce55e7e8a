"""Is this checkout slower than another one? Training steps and samples of both, taking turns.

    python benchmarks/versions.py ../other-checkout --recipe image/digits --rounds 5

Each turn is a process of its own with --threads threads: it opens the recipe's data, takes a few steps that are not
counted, then --steps that are, and samples once. Printed: medians, and the median ratio of neighbouring turns, this
checkout's time over the other's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

TURN = """
import json, sys, tempfile, time
from dataclasses import replace
from pathlib import Path
import torch
from toolkit import paths
from toolkit import recipe as recipes
try:
    from toolkit.recipe import build
    from toolkit.run.generator import Generator
    build.denoiser
except (ImportError, AttributeError):  # older checkouts
    from toolkit import assemble as build
    from toolkit.generator import Generator
try:
    from toolkit.discovery import find
    about = lambda denoiser, modality: (denoiser, modality.facts)
except ImportError:  # older checkouts
    from toolkit.modality import find
    about = lambda denoiser, modality: (modality,)
from toolkit.training import loop
from toolkit.training.batches import Batches

name, steps, n, threads = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
recipe = recipes.load(name)
kind = find(recipe.modality)
modality = kind(*recipes.validate_for(recipe, kind))
modality.open(paths.cache(), lambda text: None)
denoiser = build.denoiser(recipe, modality)
config = build.fit_config(recipe, *about(denoiser, modality), 10_000, torch.device("cpu"), False)
state = loop.start(denoiser, config)
batches = Batches(modality, modality.dataset("train"), recipe.train.batch, 0, recipe.diffusion.label_drop)
times = []
for done in loop.fit(batches, config, state):
    times.append(time.perf_counter())
    if done.step == 3 + steps:
        break
made = Generator(recipe, modality, denoiser, torch.device("cpu"), state.time_distribution)
began = time.perf_counter()
made.sample(n, steps=10)
print(json.dumps({"step": (times[-1] - times[2]) / steps, "sampling": time.perf_counter() - began}))
"""


def main() -> None:
    """Compare this checkout with another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--recipe", nargs="+", default=["image/digits", "audio/drums", "text/names"])
    for name, value in (("rounds", 5), ("steps", 10), ("n", 16), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    for name in asked.recipe:
        found: dict[Path, list[dict[str, float]]] = {here: [], asked.other.resolve(): []}
        for turn in range(asked.rounds):
            # who begins changes, so that a machine that slows down favours neither
            for tree in sorted(found, reverse=bool(turn % 2)):
                found[tree].append(measured(tree, name, asked.steps, asked.n, asked.threads))
        ours, theirs = found.values()
        for what in ("step", "sampling"):
            ratio = median(a[what] / b[what] for a, b in zip(ours, theirs, strict=True))
            here_, there = (median(turn[what] for turn in turns) for turns in (ours, theirs))
            print(f"{name}, {what}: {here_:.3f} s here, {there:.3f} s there, ratio {ratio:.3f}", flush=True)


def measured(tree: Path, recipe: str, steps: int, n: int, threads: int) -> dict[str, float]:
    """Seconds of a training step and of sampling by the code in `tree`."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", TURN, recipe, str(steps), str(n), str(threads)]
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return times


if __name__ == "__main__":
    main()
