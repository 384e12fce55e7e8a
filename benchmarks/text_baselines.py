"""Train other kinds of text model for the same minutes: autoregressive, and masked discrete diffusion.

    python benchmarks/text_baselines.py [--minutes 15] [--data shakespeare] [--width 192 --layers 4] [--threads 2] ...

Both have the trunk of the continuous model of the same width and depth (toolkit/nn/transformer.py), and by default the
batch, crop length, optimiser and learning rate of the recipe "shakespeare".

Bits are of held-out text. "rows alone": of the examples that the continuous model's bound is of, each without what
stands before it; exact for the autoregressive model, an upper bound for the masked one. "sliding": exact, with at least
half a context before every token. In brackets: 1.96 standard errors over rows.
Other jobs on the machine make minutes shorter: compare the steps and processor minutes as well.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from text_masked import bound, loss, sample_causal, sample_masked
from text_quality import ngram_model, ngram_samples, show, table
from torch import Tensor

from modalities.text.evaluate.judge import CausalLM, Course, next_bits, next_nats, train
from modalities.text.evaluate.ngram import ratio
from modalities.text.modality import Text
from modalities.text.options import Data, Model
from toolkit import paths
from toolkit.errors import UsageError
from toolkit.evaluation.table import Metric


def held_rows(text: Text, count: int) -> Tensor:
    """Held-out examples without padding, spread evenly: (count, L), or all there are."""
    data = text.dataset("test")
    full = (data.sizes == text.shape[-1]).nonzero()[:, 0]
    return data.take(full[torch.linspace(0, len(full) - 1, min(count, len(full))).round().long()]).raw


def cost(text: Text, rows: Tensor, bits: Tensor, name: str) -> Metric:
    """Bits per character of rows (B, L), from those of whole rows (B,)."""
    characters = text.codec.vocabulary.characters(rows.numpy()).sum(1)
    value, error = ratio(bits.double().numpy(), characters)
    error = error if math.isfinite(error) else 0.0
    return Metric(f"bits/character, {name}", value, value - 1.96 * error, value + 1.96 * error, len(rows))


def trained(
    text: Text, causal: bool, course: Course, width: int, layers: int, aim: Callable[..., Tensor]
) -> tuple[CausalLM, str]:
    """A network, and what its training took. `aim`: network, crops and a generator to the loss."""
    torch.manual_seed(course.seed)
    net = CausalLM(text.codec.vocabulary.size, width, layers, causal)
    began = time.process_time()
    steps = train(net, text.dataset("train").stream, lambda crops, draw: aim(net, crops, draw), course)
    minutes = (time.process_time() - began) / 60
    size = sum(p.numel() for p in net.parameters()) / 1e6
    seen = steps * course.batch * course.length / 1e6
    return net, f"{size:.2f} M parameters, {steps} steps, {seen:.1f} M tokens, {minutes:.2f} processor minutes"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--minutes", type=float, default=15)
    ask.add_argument("--data", default="shakespeare")
    ask.add_argument("--layers", type=int, default=4)
    ask.add_argument("--width", type=int, default=192)
    ask.add_argument("--batch", type=int, default=16)
    ask.add_argument("--length", type=int, default=128)
    ask.add_argument("--lr", type=float, default=3e-3)
    ask.add_argument("--weight-decay", type=float, default=0.01)
    ask.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--rows", type=int, default=256, help="held-out examples for the bits")
    ask.add_argument("--n", type=int, default=256, help="samples")
    ask.add_argument("--steps", type=int, nargs="*", default=[32, 128], help="of the masked sampler")
    chosen = ask.parse_args()

    torch.set_num_threads(chosen.threads)
    text = Text(Data(source=chosen.data, length=chosen.length), Model())
    text.open(paths.cache())
    if text.codec.items:
        raise UsageError(f"data '{chosen.data}' is items, and these baselines are for running text")
    rows, stream = held_rows(text, chosen.rows), text.dataset("test").stream
    course = Course(
        minutes=chosen.minutes, batch=chosen.batch, length=chosen.length, lr=chosen.lr,
        weight_decay=chosen.weight_decay, optimizer=chosen.optimizer, seed=chosen.seed,
    )  # fmt: skip
    model = ngram_model(text)
    alone = torch.tensor([model.bits(made).sum() for made in text.texts(rows)])
    whole = torch.from_numpy(model.bits(text.texts(stream[None])[0]))
    bits = [cost(text, rows, alone, "rows alone"), cost(text, stream[None], whole.sum()[None], "sliding")]
    made = ngram_samples(text, model, chosen.n, chosen.length, chosen.seed)
    tables = [table(text, made, f"{model.order}-gram model", bits)]

    net, took = trained(text, True, course, chosen.width, chosen.layers, lambda n, x, draw: next_nats(n, x).mean())
    print(f"autoregressive: {took}", flush=True)
    whole = next_bits(net, stream[None], chosen.length)
    bits = [
        cost(text, rows, next_bits(net, rows, chosen.length).sum(1), "rows alone"),
        cost(text, stream[None], whole.double().sum(1), "sliding"),
    ]
    began = time.perf_counter()
    made = sample_causal(net, chosen.n, chosen.length, chosen.seed)
    print(f"  samples: {text.view().rate(made, time.perf_counter() - began)}", flush=True)
    tables.append(table(text, made, "autoregressive", bits))

    net, took = trained(text, False, course, chosen.width, chosen.layers, loss)
    print(f"masked: {took}", flush=True)
    bits = [cost(text, rows, bound(net, rows, seed=chosen.seed) * rows.shape[1] / math.log(2), "rows alone")]
    for steps in chosen.steps:
        began = time.perf_counter()
        made = sample_masked(net, chosen.n, chosen.length, steps, chosen.seed)
        print(f"  samples in {steps} steps: {text.view().rate(made, time.perf_counter() - began)}", flush=True)
        tables.append(table(text, made, f"masked, {steps} steps", bits))
    show(tables)


if __name__ == "__main__":
    main()
