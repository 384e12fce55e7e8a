"""The autoregressive judge: bits of each token of a text under a small causal transformer.

It is trained once on a run's own training tokens with a fixed seed, kept in the cache, and identified by a hash,
because bits mean something only under one judge, beside those of real held-out text of the same lengths. It learns
crops that begin anywhere, so it can judge such crops. Few bits alone are no praise: repeated words need fewest of all.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit import paths
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import DataError
from toolkit.evaluation import judge_file
from toolkit.nn.transformer import Stack, heads_of
from toolkit.training.loop import Config, optimizer_for
from toolkit.training.precision import autocast, resolve

_VERSION = 2
"""Increased when the network (also toolkit/nn/transformer.py) or its training changes, so that no older judge loads."""
_AT_ONCE = 1 << 14
"""Tokens scored in one piece."""


@dataclass(frozen=True)
class Course:
    """A training on random crops, with warm-up and a cosine to 0 over `steps`, or over `minutes` if given."""

    steps: int = 1000
    minutes: float | None = None
    batch: int = 16
    length: int = 128
    """Tokens of a crop."""
    lr: float = 3e-3
    warmup: float = 0.05
    """Share of the training."""
    weight_decay: float = 0.1
    optimizer: str = "muon"
    """Optimiser, "muon" or "adamw" as in a recipe."""
    seed: int = 0


class CausalLM(nn.Module):
    """A transformer on token ids: (B, L) int64 -> logits (B, L, size).

    One more token, number `size`, stands for the beginning of a causal text, or for a masked place. The last linear
    map starts at 0, so a new network finds all tokens equally likely.
    """

    def __init__(self, size: int, width: int = 128, layers: int = 4, causal: bool = True) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Embedding(size + 1, width)
        self.stack = Stack(width, layers, heads_of(width), causal=causal)
        self.head = nn.Linear(width, size)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        if self.stack.causal and length < 2:  # the trunk looks two places back, and needs two
            ids = functional.pad(ids, (0, 1), value=self.size)
        output: Tensor = self.head(self.stack(self.embed(ids)))
        return output[:, :length]


def next_nats(net: CausalLM, ids: Tensor) -> Tensor:
    """Return -ln P of each token given those before it in its row of ids (B, L): (B, L)."""
    begin = torch.full_like(ids[:, :1], net.size)
    logits = net(torch.cat([begin, ids[:, :-1]], dim=1))
    return functional.cross_entropy(logits.float().transpose(1, 2), ids, reduction="none")


def train(net: CausalLM, ids: Tensor, loss: Callable[[Tensor, torch.Generator], Tensor], course: Course) -> int:
    """Train `net` in place on crops of ids (N,), and return the number of steps.

    `loss`: a batch of crops (B, length) and a generator for other random numbers, to a scalar. Raises DataError when
    there are not more than `length` tokens.
    """
    if len(ids) <= course.length:
        raise DataError(f"{len(ids)} training tokens are too few for crops of {course.length}")
    dtype = resolve("auto", ids.device)
    config = Config(1, weight_decay=course.weight_decay, optimizer=course.optimizer, ema=(), dtype=dtype)
    optimizer = optimizer_for(net, config)
    start, step, progress = time.perf_counter(), 0, 0.0
    place = torch.arange(course.length)
    net.train()
    while progress < 1:
        generator = seeded_generator(course.seed, "crops", step)
        starts = torch.randint(len(ids) - course.length + 1, (course.batch, 1), generator=generator)
        with autocast(ids.device, dtype):
            value = loss(ids[starts + place], generator)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for group in optimizer.param_groups:
            rise = min(1.0, (progress + 1e-4) / course.warmup) if course.warmup else 1.0
            group["lr"] = course.lr * rise * 0.5 * (1 + math.cos(math.pi * progress))
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if course.minutes is None:
            progress = step / course.steps
        else:
            progress = (time.perf_counter() - start) / (60 * course.minutes)
    net.eval()
    return step


@torch.inference_mode()
def next_bits(net: CausalLM, ids: Tensor, context: int) -> Tensor:
    """Return -log2 P of each token of ids (B, L) given up to `context` - 1 before it, in float32: (B, L).

    Rows longer than the even `context` are read in windows that overlap by half, so that every token but the first
    ones has at least half a context before it.
    """
    length, half = ids.shape[1], context // 2
    if length <= context:
        return torch.cat([next_nats(net, part) for part in ids.split(max(1, _AT_ONCE // max(length, 1)))]) / math.log(2)
    padded = functional.pad(ids, (0, -length % half))
    windows = padded.unfold(1, context, half)
    parts = windows.flatten(0, 1).split(max(1, _AT_ONCE // context))
    bits = torch.cat([next_nats(net, part) for part in parts]).unflatten(0, windows.shape[:2]) / math.log(2)
    return torch.cat([bits[:, 0, :half], bits[:, :, half:].flatten(1)], dim=1)[:, :length]


class ARJudge:
    """A trained network with a name; `obtain` returns one."""

    name = ""
    """Hash of the weights, e.g. "text-3f2a1c"."""
    held_out_bits = float("nan")
    """Bits per token of the held-out stream, in windows as `next_bits` reads it."""

    def __init__(self, net: CausalLM, context: int) -> None:
        self.net, self.context = net, context

    def bits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the bits of each token of ids (B, L), which begin anywhere in a text: (B, L).

        `mask`: (B, L), 0 at the padding that ends a row; the bits are 0 there. Raises ValueError for ids outside the
        vocabulary.
        """
        if mask is not None:
            ids = ids.masked_fill(mask == 0, 0)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.net.size:
            raise ValueError(f"token ids from 0 to {self.net.size - 1} expected")
        bits = next_bits(self.net, ids, self.context)
        return bits if mask is None else bits.masked_fill(mask == 0, 0)


def obtain(
    train_ids: Tensor, held_ids: Tensor, size: int, notify: Callable[[str], None] = print, course: Course | None = None
) -> ARJudge:
    """Return the judge for streams of token ids below `size`, (N,) and (M,) int64, from the cache or trained now.

    Training takes 3.6 minutes on two cores with AVX2 only. Raises DataError when there is too little text for it.
    """
    course = course or Course()
    digest = hashlib.sha256(f"{_VERSION} {course} {size}".encode())
    digest.update(train_ids.long().contiguous().numpy().tobytes())
    path = paths.cache() / "judges" / f"text-{digest.hexdigest()[:16]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # only initialises the network; restored afterwards
        net = CausalLM(size)
    if (stored := judge_file.load(path, net.state_dict())) is not None:
        net.load_state_dict(stored.weights)
    else:
        why = f"the judge in {path} is damaged: " if path.exists() else ""
        notify(f"{why}training the judge of texts (once; kept in {path})")
        train(net, train_ids, lambda crops, _: next_nats(net, crops).mean(), course)
        judge_file.keep(path, net.state_dict())
    judge = ARJudge(net.eval(), course.length)
    judge.name = f"text-{judge_file.digest(net.state_dict())[:6]}"
    judge.held_out_bits = float(judge.bits(held_ids[None]).double().mean())
    notify(f"judge {judge.name}: {judge.held_out_bits:.3f} bits for a token of {len(held_ids):,} held out")
    return judge
