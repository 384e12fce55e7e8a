"""How good generated texts are, and what held-out ones cost: the figures of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from modalities.text.codec import Codec
from modalities.text.data.dataset import Texts
from modalities.text.data.tokens import EOS, PAD
from modalities.text.evaluate import abc_metrics, copying, judge, likelihood, slot_accuracy, words
from modalities.text.evaluate.lengths import LengthLaw
from modalities.text.evaluate.ngram import NGram, item_ladder, ladder
from modalities.text.network import token_noise
from modalities.text.network.denoiser import TokenDenoiser
from modalities.text.options import Model
from toolkit.data.dataset import Examples, Splits
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.errors import DataError
from toolkit.evaluation.evaluator import Evaluator, Notify
from toolkit.evaluation.table import EvaluationResult, Metric
from toolkit.recipe.options import Options

ORDER = 5
"""Of the n-gram judge: at our sizes longer grams are too rare to help."""


class TextEvaluator(Evaluator):
    """Words, n-grams, two judges and copies, each beside held-out text; bits per character."""

    counts_bits = True

    def __init__(self, model: Model) -> None:
        self.model = model

    def metrics(self, samples: Examples, data: Splits, options: Options, notify: Notify) -> EvaluationResult:
        """Metrics of generated tokens (B, L) beside held-out real text."""
        codec = Codec.of(data.facts)
        train, held = real(data)
        texts = codec.texts(samples.raw)
        if not any(texts):
            raise DataError("every generated text is empty, so there is nothing to judge")
        rows = [*words.describe(texts, train, held), *copying.describe(texts, train, held)]
        if data.source == "abc" and not isinstance(held, str):
            rows += abc_metrics.describe(texts, held)
        if codec.paired:
            rows += slot_accuracy.describe(codec.sources(samples.raw), texts, references(data))
        return EvaluationResult(
            [*_judges(data, texts, train, held, notify), *(_metric(row, len(texts)) for row in rows)]
        )

    def check(self, count: int, data: Splits) -> None:
        if not len(data.test):
            raise DataError("no text was held out, so there is nothing to compare with; set data.test")

    def likelihood(
        self, denoiser: Denoiser, times: TimeDistribution | None, data: Splits, count: int, notify: Notify
    ) -> list[Metric]:
        """The variational bound of held-out texts in bits per character, its terms, and n-gram models beside it."""
        return likelihood_metrics(data, self.model.spread, denoiser, times, count, notify)


def references(data: Splits) -> dict[str, list[str]]:
    """The held-out texts of each source, of pairs."""
    codec, raw = Codec.of(data.facts), data.test.take(torch.arange(len(data.test))).raw
    targets: dict[str, list[str]] = {}
    for source, target in zip(codec.sources(raw), codec.texts(raw), strict=True):
        targets.setdefault(source, []).append(target)
    return targets


def held_out(data: Splits, count: int) -> Examples:
    """`count` held-out examples, spread evenly over the split: whole items, or full rows. Raises DataError for none."""
    test, length = data.test, data.facts.shape[-1]
    assert isinstance(test, Texts)
    if not len(test):
        raise DataError("no text was held out, so no likelihood can be told; set data.test")
    items = Codec.of(data.facts).items
    full = torch.arange(len(test)) if items else (test.sizes == length).nonzero()[:, 0]
    if not len(full):
        raise DataError(f"no held-out text has {length} tokens; raise data.test, or lower data.length")
    return test.take(full[torch.linspace(0, len(full) - 1, min(count, len(full))).round().long()])


def length_costs(train: Texts, rows: Examples) -> torch.Tensor:
    """Nats that the lengths of items cost, (B,), by the law of the training items; of pairs, given the source's."""
    length, given = rows.cond["length"], rows.cond.get("given")
    if given is None or train.given is None:
        return LengthLaw(train.sizes).nats(length)
    return LengthLaw(train.sizes - train.given, train.given).nats(length - given, given)


def bits_of(
    data: Splits,
    spread: float,
    denoiser: Denoiser,
    times: TimeDistribution | None,
    examples: Examples,
    seed: int = 0,
) -> likelihood.Bits:
    """The bound on examples. Items are not told their lengths, and their ends are no characters."""
    assert isinstance(denoiser, TokenDenoiser) and isinstance(data.train, Texts)
    codec, rows = Codec.of(data.facts), examples.raw
    real = (rows != PAD).sum(1)
    cond = token_noise.scales(spread, rows.shape[1], seed, range(len(rows)), real=real)
    if bool((rows == PAD).any()):
        cond["mask"] = (rows != PAD).float()[:, None]
    if "given" in examples.cond:
        given = torch.arange(rows.shape[1]) < examples.cond["given"][:, None]
        cond["given"] = given.float()[:, None]
    each = codec.characters(rows).double()
    if not codec.items:  # between the documents of a running text it is a mark that was read
        each = each + (rows == EOS).double()
    characters = (each * denoiser.counted(rows, cond)).sum(1)
    lowest, _, highest = denoiser.noise_range
    lengths = length_costs(data.train, examples) if codec.items else None
    return likelihood.bits(denoiser, times, (lowest, highest), rows, characters, cond, seed, lengths=lengths)


def likelihood_metrics(
    data: Splits,
    spread: float,
    denoiser: Denoiser,
    times: TimeDistribution | None,
    count: int,
    notify: Notify,
) -> list[Metric]:
    """The bound, its terms, and what n-gram models of the training text say of the same held-out text.

    Items: of the very same rows, none told where it ends; the bound pays by a law of lengths, the n-grams by an end.
    """
    codec, examples = Codec.of(data.facts), held_out(data, count)
    found = bits_of(data, spread, denoiser, times, examples)
    terms = ("prior", "diffusion", "reconstruction", *(("lengths",) if codec.items else ()))
    parts = " + ".join(f"{name} {getattr(found, name):.4f}" for name in terms)
    notify(f"bound {found.total:.3f} +- {found.error:.3f} bits per character = {parts}, over {found.texts} texts")
    unit, low, high = "bits/character", found.total - 1.96 * found.error, found.total + 1.96 * found.error
    rows = [Metric("bits/character", found.total, low, high, found.texts, unit=unit, note="an upper bound")]
    rows.append(Metric("nats/token", found.nats_per_token, n=found.texts, unit="nats"))
    rows += [Metric(f"bits/character: {name}", getattr(found, name), n=found.texts, unit=unit) for name in terms]
    train, held = real(data)
    if isinstance(train, str) or isinstance(held, str):
        train, held = (part if isinstance(part, str) else "\n".join(part) for part in (train, held))
        return rows + [Metric(f"{n}-gram model", value, n=1, unit=unit) for n, value in ladder(train, held)]
    same = codec.texts(examples.raw)
    for n, value, error in item_ladder(train, same):
        reach = 1.96 * error if math.isfinite(error) else 0.0
        rows.append(Metric(f"{n}-gram model", value, value - reach, value + reach, len(same), unit=unit))
    return rows


def real(data: Splits) -> tuple[words.Real, words.Real]:
    """The training text and the held-out text: as one each where it is running text. Raises DataError."""
    codec, train, test = Codec.of(data.facts), data.train, data.test
    assert isinstance(train, Texts) and isinstance(test, Texts)
    if not len(test):
        raise DataError("no text was held out, so there is nothing to compare with; set data.test")
    if not codec.items:
        return codec.vocabulary.decode(train.stream.tolist()), codec.vocabulary.decode(test.stream.tolist())
    every = [split.take(torch.arange(len(split))).raw for split in (train, test)]
    return codec.texts(every[0]), codec.texts(every[1])


def _judges(data: Splits, texts: Sequence[str], train: words.Real, held: words.Real, notify: Notify) -> list[Metric]:
    """Bits per character under an n-gram model and under a small autoregressive network of the training text."""
    control = words.like(texts, held)
    body = train if isinstance(train, str) else "\n".join(train)
    model = NGram(body, ORDER, held if isinstance(held, str) else "".join(held))
    made, floor = ([float(model.bits(t).sum()) for t in group] for group in (texts, control))
    rows = [_bits(f"bits under {ORDER}-grams", made, texts, floor, control, "")]
    vocabulary = Codec.of(data.facts).vocabulary
    assert isinstance(data.train, Texts) and isinstance(data.test, Texts)
    critic = judge.obtain(data.train.stream, data.test.stream, vocabulary.size, notify)

    def cost(group: Sequence[str]) -> list[float]:
        ids = [torch.from_numpy(vocabulary.encode(t)).long() for t in group]
        rows = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in ids], batch_first=True)
        costs: list[float] = critic.bits(rows, mask).double().sum(1).tolist()
        return costs

    return [*rows, _bits("bits under the network", cost(texts), texts, cost(control), control, critic.name)]


def _bits(
    what: str, made: list[float], texts: Sequence[str], floor: list[float], control: Sequence[str], judged: str
) -> Metric:
    reference = sum(floor) / max(1, sum(len(t) for t in control))
    row = words.averaged(what, np.array(made), np.array([len(t) for t in texts]), reference)
    low, high = (None if math.isnan(v) else v for v in (row.low, row.high))
    return Metric(what, row.value, low, high, len(made), reference, better="floor", judge=judged, unit="bits/character")


def _metric(row: words.Row, n: int) -> Metric:
    value, low, high, reference = (None if math.isnan(v) else v for v in row[1:5])
    if value is None:
        return Metric(row.name, None, note="there is nothing to count in these texts")
    return Metric(row.name, value, low, high, n, reference, better=row.better, unit=row.unit)
