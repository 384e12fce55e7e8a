"""Cost of n-gram models and of the lengths of items in bits per character of held-out text: no training, seconds.

    python benchmarks/text_ngrams.py [--recipes names backwards e2e abc shakespeare] [--rows 128]

Items: none is told where it ends. n-grams pay for an end symbol; a model that is given its length by a mask pays for
"lengths" (modalities/text/evaluate/lengths.py), added to what the rest costs; in brackets, by lengths alone,
whatever the source of a pair. `--rows 0` takes all held-out items. +-: 1.96 standard errors over items.
"""

from __future__ import annotations

import argparse
import math

import torch

from modalities.text.data.dataset import Texts
from modalities.text.evaluate.evaluator import held_out, length_costs, real
from modalities.text.evaluate.lengths import LengthLaw
from modalities.text.evaluate.ngram import item_ladder, ladder, ratio
from modalities.text.modality import Text
from modalities.text.options import Data, Model
from toolkit import paths
from toolkit.errors import DataError

DATA = {
    "names": Data(source="names", tokens="char", items="line", length=32),
    "backwards": Data(source="backwards", tokens="char", length=48),
    "e2e": Data(source="e2e", tokens="bpe:512", length=128),
    "abc": Data(source="abc", tokens="char", length=256),
    "shakespeare": Data(source="shakespeare", tokens="char", length=128),
    "tinyshakespeare": Data(source="tinyshakespeare", tokens="char", length=128),
}
"""As in the recipes of these names."""


def describe(name: str, rows: int) -> None:
    """Print the ladder of one data set, and what lengths cost."""
    text = Text(DATA[name], Model())
    text.open(paths.cache(), lambda line: None)
    assert text.splits is not None
    train, held = real(text.splits)
    if isinstance(train, str) or isinstance(held, str):
        train, held = (part if isinstance(part, str) else "\n".join(part) for part in (train, held))
        print(f"{name}: {len(held):,} held-out characters of running text")
        for order, value in ladder(train, held):
            print(f"  {order}-grams {value:.3f}")
        return
    examples = held_out(text.splits, rows or len(held))
    texts = text.texts(examples.raw)
    sizes = [len(item) for item in texts]
    print(f"{name}: {len(texts)} of {len(held)} held-out items, {sum(sizes) / len(texts):.2f} characters each")
    for order, value, error in item_ladder(train, texts):
        print(f"  {order}-grams {value:.3f} +- {1.96 * error:.3f}")
    data = text.splits.train
    assert isinstance(data, Texts)
    value, error = ratio(length_costs(data, examples) / math.log(2), sizes)
    given = examples.cond.get("given", torch.zeros_like(examples.cond["length"]))
    alone = LengthLaw(data.sizes - (0 if data.given is None else data.given)).nats(examples.cond["length"] - given)
    told = ratio(alone / math.log(2), sizes)[0]
    print(f"  lengths {value:.3f} +- {1.96 * error:.3f} ({told:.3f})")
    print(f"  characters with ends over characters: {(sum(sizes) + len(texts)) / sum(sizes):.4f}")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--recipes", nargs="*", choices=list(DATA), default=["names", "backwards", "e2e", "abc"])
    ask.add_argument("--rows", type=int, default=128, help="held-out items, as many as the bound is of")
    chosen = ask.parse_args()
    for name in chosen.recipes:
        try:
            describe(name, chosen.rows)
        except DataError as error:
            print(f"{name}: left out, {error}")


if __name__ == "__main__":
    main()
