"""Measure whether holes are filled well, and what was given is left alone.

    python benchmarks/text_infill.py runs/shakespeare

Spans of held-out text become holes. In each case the given characters must come back unchanged, and the filled spans
are judged, in place, beside the real spans and beside spans taken from elsewhere in the training text.
"""

from __future__ import annotations

import argparse
import time

import torch

import toolkit
from modalities.text import Text
from modalities.text.evaluate import judge
from modalities.text.evaluate.evaluator import real
from modalities.text.evaluate.ngram import NGram
from modalities.text.network import token_noise
from toolkit import paths
from toolkit import recipe as recipes
from toolkit.diffusion import seeded_generator
from toolkit.modality import Request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--restarts", type=int, default=None, help="as in toolkit sample; default: the recipe's")
    parser.add_argument("--holes", type=int, nargs=2, default=(4, 64), metavar=("LEAST", "MOST"), help="characters")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = toolkit.load(args.run)
    made = Text(*recipes.validate_for(run.recipe, Text))
    made.open(paths.cache())
    length = run.modality.shape[-1]
    test = made.dataset("test").stream
    train = made.dataset("train").stream
    draw = seeded_generator(0, "infill")
    starts = torch.randint(len(test) - length, (args.n,), generator=draw)
    rows = torch.stack([test[i : i + length] for i in starts.tolist()])
    given = torch.ones(args.n, length, dtype=torch.bool)
    for i in range(args.n):
        span = int(torch.randint(args.holes[0], min(args.holes[1], length - 1) + 1, (), generator=draw))
        at = int(torch.randint(0, length - span, (), generator=draw))
        given[i, at : at + span] = False

    began = time.perf_counter()
    filled = torch.empty_like(rows)
    for start in range(0, args.n, 50):
        which = slice(start, min(start + 50, args.n))
        told = {
            "tokens": rows[which].masked_fill(~given[which], 1)[:, None],
            "given": given[which].float()[:, None],
            "temperature": torch.full((which.stop - which.start,), args.temperature),
            **token_noise.scales(made.model.spread, length, 0, range(which.start, which.stop)),
        }
        request = Request(tuple(range(which.start, which.stop)), (length,), told)
        last = list(run.trajectory(request.which, steps=args.steps, restarts=args.restarts, request=request))[-1]
        filled[which] = run.denoiser.unembed(last.x.float(), request.cond)
    seconds = time.perf_counter() - began
    unchanged = int(((filled == rows) | ~given).all(1).sum())

    elsewhere = torch.randint(len(train) - length, (args.n,), generator=draw)
    other = torch.stack([train[i : i + length] for i in elsewhere.tolist()])
    random = torch.where(given, rows, other)
    vocabulary = made.codec.vocabulary
    assert made.splits is not None
    text, held = real(made.splits)
    assert isinstance(text, str) and isinstance(held, str)
    grams = NGram(text, 5, held)
    critic = judge.obtain(train, test, vocabulary.size)

    def cost(group: torch.Tensor) -> tuple[float, float]:
        """Bits a character of whole texts, so that what follows a hole must fit too, over the characters in holes."""
        by_grams = sum(float(grams.bits(vocabulary.decode(row)).sum()) for row in group.tolist())
        by_network = float(critic.bits(group).double().sum())
        holes = int((~given).sum())
        return by_grams / holes, by_network / holes

    base = cost(rows)
    print(f"{unchanged} of {args.n} with every given character unchanged; {args.steps} steps, {seconds:.0f} s")
    print(f"holes of {args.holes[0]} to {args.holes[1]} characters")
    print("extra bits for each character in a hole, over the real text (5-grams, network):")
    for name, group in (("filled", filled), ("random spans of the training text", random)):
        found = cost(group)
        print(f"  {name:36s}{found[0] - base[0]:+.3f}  {found[1] - base[1]:+.3f}")
    right = float((filled == rows)[~given].double().mean())
    print(f"characters in holes that are the real ones: {right:.1%}")


if __name__ == "__main__":
    main()
