"""Measure the samples of a text run: words, judges and copies over temperatures and steps, beside real text.

    python benchmarks/text_quality.py runs/shakespeare [--temperature 0.8 0.9 1.0] [--steps 32 64] [--restarts 0 20] ...

Read the bits together with the entropy and the distances, never alone: a low temperature makes text that a judge finds
easy because there is little in it. `real` is held-out text of the same number and lengths, and the first column is
what samples of a 5-gram model of the training text score, which is what a trained model has to be better than.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import torch

import toolkit
from modalities.text.evaluate.evaluator import ORDER, real
from modalities.text.evaluate.ngram import NGram
from modalities.text.modality import Text
from toolkit import paths, recipe
from toolkit.evaluation.table import Metric, Table, rows
from toolkit.modality import Examples


def table(text: Text, raw: torch.Tensor, subject: str, first: Sequence[Metric] = ()) -> Table:
    """All figures of tokens (B, L), after those that are known already."""
    assert text.splits is not None
    found = text.evaluator().metrics(Examples(raw, {}), text.splits, text.EvaluationOptions(), lambda line: None)
    return Table((*first, *found.figures), {"subject": subject})


def ngram_model(text: Text) -> NGram:
    """The n-gram model of the training text."""
    assert text.splits is not None
    train, _ = real(text.splits)
    return NGram(train if isinstance(train, str) else "\n".join(train), ORDER)


def ngram_samples(text: Text, model: NGram, n: int, length: int, seed: int) -> torch.Tensor:
    """Tokens (n, L) of a model's samples of `length` characters, PAD where they have fewer."""
    ids = [torch.from_numpy(text.codec.vocabulary.encode(made)).long() for made in model.sample(n, length, seed)]
    return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)


def show(tables: Sequence[Table]) -> None:
    """Figures below each other, a column for each table, then real text; intervals are 95 %."""
    headings, cells = rows(tables)
    width = len(tables) + 2
    for line in ([*headings[:width]], *(row[:width] for row in cells)):
        print("| " + " | ".join(line) + " |")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("run")
    ask.add_argument("--n", type=int, default=256)
    ask.add_argument("--temperature", type=float, nargs="*", default=[1.0])
    ask.add_argument("--steps", type=int, nargs="*", default=[None])
    ask.add_argument("--restarts", type=int, nargs="*", default=[None])
    ask.add_argument("--sampler", nargs="*", default=[None])
    ask.add_argument("--ema", type=float, default=None)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--batch", type=int, default=64)
    chosen = ask.parse_args()

    generator = toolkit.load(chosen.run, ema=chosen.ema)
    text = Text(*recipe.validate_for(generator.recipe, Text))
    text.open(paths.cache())
    length = text.shape[-1]
    made = ngram_samples(text, ngram_model(text), chosen.n, length, chosen.seed)
    tables = [table(text, made, f"{ORDER}-gram model")]
    settings = itertools.product(chosen.sampler, chosen.steps, chosen.restarts, chosen.temperature)
    for sampler, steps, restarts, temperature in settings:
        began = time.perf_counter()
        samples = generator.sample(
            chosen.n,
            steps=steps,
            sampler=sampler,
            restarts=restarts,
            seed=chosen.seed,
            batch=chosen.batch,
            temperature=temperature,
        )
        seconds = time.perf_counter() - began
        s = generator.recipe.sample
        again = s.restarts if restarts is None else restarts
        subject = f"{sampler or s.sampler}, {steps or s.steps} steps, {again} restarts, temperature {temperature:g}"
        print(f"{subject}: {text.view().rate(samples.raw, seconds)}", flush=True)
        tables.append(table(text, samples.raw, subject))
    show(tables)


if __name__ == "__main__":
    main()
