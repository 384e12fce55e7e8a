"""Every figure for pictures that are spoilt in known ways: the table of docs/evaluation.md.

    python benchmarks/evaluation_table.py [--source digits] [--n 1000]

Real: n held-out pictures; the other held-out ones are the reference. Spoilt: white noise; these pictures blurred; with
one class missing; one of them again and again; training pictures in their place.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from modalities.image import Image
from modalities.image.evaluate import evaluator
from modalities.image.options import Data, Model
from toolkit import paths
from toolkit.diffusion.randomness import seeded_generator
from toolkit.evaluation.feature_metrics import compare
from toolkit.evaluation.metrics import nearest
from toolkit.evaluation.table import Table, rows
from toolkit.modality import Examples, InMemory

MISSING = 4


def blurred(raw: Tensor) -> Tensor:
    """Averages of 3 x 3 pixels."""
    padded = functional.pad(raw.float(), (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(padded, 3, 1).round().to(torch.uint8)


def sets(image: Image, held: Examples, n: int) -> Iterator[tuple[str, Examples]]:
    """Yield the sets that are judged, n pictures each, with the labels that were asked for."""
    label = held.cond["label"]
    train = image.dataset("train")
    yield "real", Examples(held.raw[:n], {"label": label[:n]})
    noise = torch.randn((n, *image.shape), generator=seeded_generator(0, "table"))
    yield "noise", Examples(image.decode(noise), {"label": label[:n]})
    yield "blurred", Examples(blurred(held.raw[:n]), {"label": label[:n]})
    rest = (label != MISSING).nonzero()[:, 0]
    rest = rest[torch.arange(n) % len(rest)]
    yield f"no {image.labels[MISSING]}", Examples(held.raw[rest], {"label": label[rest]})
    yield "one picture", Examples(held.raw[:1].expand(n, -1, -1, -1), {"label": label[:1].expand(n)})
    chosen = torch.randperm(len(train), generator=seeded_generator(0, "copies"))[:n]
    yield "training", train.take(chosen)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--source", default="digits")
    ask.add_argument("--n", type=int, default=1000)
    chosen = ask.parse_args()

    image = Image(Data(source=chosen.source), Model())
    image.open(paths.cache())
    assert image.splits is not None
    critic = evaluator.critic_of(image.splits)
    test = image.dataset("test")
    order = torch.randperm(len(test), generator=seeded_generator(0, "table"))
    n = min(chosen.n, len(test) // 2)
    train = image.dataset("train")
    held, reference = test.take(order[:n]), InMemory(*test.take(order[n:]))
    outlines = torch.cat(
        [evaluator.copy_features(train.take(part).raw) for part in torch.arange(len(train)).split(1000)]
    )
    tables = []
    for name, made in sets(image, held, n):
        found = compare(
            critic, train, reference, made,
            lambda count: image.decode(torch.randn((count, *image.shape), generator=seeded_generator(0, "ceiling"))),
            lambda raw, own: nearest.nearest_of_many(evaluator.copy_features(raw), outlines, own),
        )  # fmt: skip
        tables.append(Table(tuple(f for f in found.figures if "/" not in f.name), {"subject": name}))
    headings, cells = rows(tables)
    print(f"judge {critic.name}: {critic.accuracy:.1%} of {critic.tested:,}; n = {n:,}, reference {len(reference):,}")
    wide = len(tables) + 1
    print("| " + " | ".join(["figure", *headings[1:wide], "better"]) + " |")
    print("|" + "---|" * (wide + 1))
    for row in cells:
        values = [cell.split(" (")[0] for cell in row[1:wide]]
        print("| " + " | ".join([row[0].removesuffix(f"-{critic.name}"), *values, row[-2]]) + " |")


if __name__ == "__main__":
    main()
