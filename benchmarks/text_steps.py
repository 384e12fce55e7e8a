"""Quality against network calls, as a table and a plot.

    python benchmarks/text_steps.py runs/shakespeare

A sampler by itself takes so many steps; with "+restarts" behind its name it takes three eighths as many, and spends the
rest on restarts of as many steps as the recipe says.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import toolkit
from modalities.text import Text
from modalities.text.evaluate.evaluator import real
from modalities.text.evaluate.ngram import NGram
from modalities.text.evaluate.words import like, valid_words, words
from toolkit import paths
from toolkit import recipe as recipes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256])
    parser.add_argument("--samplers", nargs="+", default=["ddim", "euler-ancestral", "euler-ancestral+restarts"])
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plot", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = toolkit.load(args.run)
    made = Text(*recipes.validate_for(run.recipe, Text))
    made.open(paths.cache())
    back = run.recipe.sample.back
    assert made.splits is not None
    train, held = real(made.splits)
    assert isinstance(train, str) and isinstance(held, str)
    grams, known = NGram(train, 5, held), set(words(train))
    rows = []
    for sampler in args.samplers:
        base, _, more = sampler.partition("+")
        for steps in args.steps:
            first = max(1, steps * 3 // 8) if more else steps
            rounds = (steps - first) // back
            began = time.perf_counter()
            samples = run.sample(args.n, steps=first, sampler=base, temperature=args.temperature, restarts=rounds)
            seconds = time.perf_counter() - began
            texts = made.texts(samples.raw)
            bits, error = grams.bits_per_character(texts)
            valid = valid_words([words(text, inner=True) for text in texts], known)[0]
            rows.append((sampler, steps, bits, error, valid, seconds))
            print(
                f"{sampler:26s}{steps:5d}  {bits:.3f} +- {error:.3f} bits  {valid:6.1%} valid  {seconds:6.1f} s",
                flush=True,
            )
    control = like(texts, held)
    bits, _ = grams.bits_per_character(control)
    valid = valid_words([words(text, inner=True) for text in control], known)[0]
    print(f"{'held-out text':31s}  {bits:.3f}           bits  {valid:6.1%} valid")
    if args.plot:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.4), layout="constrained")
        for place, (column, label) in enumerate(((2, "bits a character under 5-grams"), (4, "valid words"))):
            axes = figure.add_subplot(1, 2, place + 1)
            for sampler in args.samplers:
                mine = [row for row in rows if row[0] == sampler]
                axes.plot([row[1] for row in mine], [row[column] for row in mine], marker="o", label=sampler)
            axes.axhline(bits if column == 2 else valid, color="grey", linestyle=":", label="held-out text")
            axes.set(xscale="log", xlabel="network calls", ylabel=label)
            axes.set_xticks(args.steps, [str(step) for step in args.steps])
            axes.minorticks_off()
        axes.legend()
        figure.savefig(args.plot, dpi=110)


if __name__ == "__main__":
    main()
