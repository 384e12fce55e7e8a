"""The evaluator of texts: metrics of samples, and bits per character of held-out texts."""

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
"""Order of the n-gram judge: at our sizes longer grams are too rare to help."""


MEANINGS = {
    "bits under the network": "What samples cost under a small network that predicts the next token.",
    "bits under *-grams": "What samples cost under counts of a few characters of the training text.",
    "valid words": "Words of samples that the training text has, too.",
    "valid words, each once": "The same, with each word counted once.",
    "entropy of characters*": "How evenly the characters of all samples together occur.",
    "the same in each text, mean": "How evenly the characters of one sample occur.",
    "distance of *": "How differently they occur in samples and in held-out text, from 0 to 1.",
    "distinct-*": "Different groups of so many words, of all groups in the samples.",
    "rep-*": "Groups of so many words that a sample repeats.",
    "diversity": "What is left when repetitions of two to four words are taken away.",
    "texts with * characters copied": "Samples with so long a piece of the training text in them.",
    "longest copy in a text, mean": "Longest piece of the training text in a sample, in characters.",
    "longest copy of all": "The longest of these.",
    "*-grams of words known": "Groups of so many words that stand in the training text.",
    "exact": "Samples that are one of the training texts.",
    "slots told": "Facts of the source that a sample says.",
    "tunes that parse": "Samples that a reader of ABC notation understands.",
    "bars that add up": "Bars whose notes fill their metre.",
    "nats/token": "The same for each token, in nats.",
    "*-gram model": "What the same text costs under counts of so many characters.",
}
"""Meanings of the metrics of texts."""


class TextEvaluator(Evaluator):
    """Metrics of words, n-grams, two judges and copies, each beside held-out text; bits per character."""

    counts_bits = True
    meanings = MEANINGS

    def __init__(self, model: Model) -> None:
        self.model = model

    def metrics(self, samples: Examples, data: Splits, options: Options, notify: Notify) -> EvaluationResult:
        """Return metrics of generated tokens (B, L) beside held-out text. Raises DataError."""
        codec = Codec.of(data.facts)
        train, test = real(data)
        texts = codec.texts(samples.raw)
        if not any(texts):
            raise DataError("every generated text is empty, so there is nothing to judge")
        rows = [*words.describe(texts, train, test), *copying.describe(texts, train, test)]
        if data.source == "abc" and not isinstance(test, str):
            rows += abc_metrics.describe(texts, test)
        if codec.paired:
            rows += slot_accuracy.describe(codec.sources(samples.raw), texts, references(data))
        return EvaluationResult(
            [*_judges(data, texts, train, test, notify), *(_metric(row, len(texts)) for row in rows)]
        )

    def check(self, count: int, data: Splits) -> None:
        if not len(data.test):
            raise DataError("no text was held out, so there is nothing to compare with; set data.test")

    def likelihood(
        self, denoiser: Denoiser, times: TimeDistribution | None, data: Splits, count: int, notify: Notify
    ) -> list[Metric]:
        """Return the variational bound in bits per character, its terms, and n-gram models beside it."""
        return likelihood_metrics(data, self.model.spread, denoiser, times, count, notify)


def references(data: Splits) -> dict[str, list[str]]:
    """Return the held-out targets of each source, where items are pairs."""
    codec, raw = Codec.of(data.facts), data.test.take(torch.arange(len(data.test))).raw
    targets: dict[str, list[str]] = {}
    for source, target in zip(codec.sources(raw), codec.texts(raw), strict=True):
        targets.setdefault(source, []).append(target)
    return targets


def held_out(data: Splits, count: int) -> Examples:
    """Return `count` held-out examples spread evenly over the split: whole items, or full rows. Raises DataError."""
    test, length = data.test, data.facts.shape[-1]
    assert isinstance(test, Texts)
    if not len(test):
        raise DataError("no text was held out, so there is no likelihood to measure; set data.test")
    items = Codec.of(data.facts).items
    full = torch.arange(len(test)) if items else (test.sizes == length).nonzero()[:, 0]
    if not len(full):
        raise DataError(f"no held-out text has {length} tokens; raise data.test, or lower data.length")
    return test.take(full[torch.linspace(0, len(full) - 1, min(count, len(full))).round().long()])


def length_costs(train: Texts, rows: Examples) -> torch.Tensor:
    """Return the nats of the lengths of items, (B,), by the law of training items; of pairs, given the source's."""
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
    """Return the bound on examples. Items pay for their lengths, and their ends are no characters."""
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
    if not codec.items:  # in running text EOS separates documents, and counts as a character
        each = each + (rows == EOS).double()
    characters = (each * denoiser.target_mask(rows, cond)).sum(1)
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
    """Return the bound, its terms, and bits of the same test-out text under n-gram models of the training text.

    Items: the very same rows; the bound pays for their ends by a law of lengths, the n-grams by an end symbol.
    """
    codec, examples = Codec.of(data.facts), held_out(data, count)
    cost = bits_of(data, spread, denoiser, times, examples)
    terms = ("prior", "diffusion", "reconstruction", *(("lengths",) if codec.items else ()))
    parts = " + ".join(f"{name} {getattr(cost, name):.4f}" for name in terms)
    notify(f"bound {cost.total:.3f} +- {cost.error:.3f} bits per character = {parts}, over {cost.texts} texts")
    unit, low, high = "bits/character", cost.total - 1.96 * cost.error, cost.total + 1.96 * cost.error
    rows = [Metric("bits/character", cost.total, low, high, cost.texts, unit=unit, note="an upper bound")]
    rows.append(Metric("nats/token", cost.nats_per_token, n=cost.texts, unit="nats"))
    rows += [Metric(f"bits/character: {name}", getattr(cost, name), n=cost.texts, unit=unit) for name in terms]
    train, test = real(data)
    if isinstance(train, str) or isinstance(test, str):
        train, test = (part if isinstance(part, str) else "\n".join(part) for part in (train, test))
        return rows + [Metric(f"{n}-gram model", value, n=1, unit=unit) for n, value in ladder(train, test)]
    same = codec.texts(examples.raw)
    for n, value, error in item_ladder(train, same):
        reach = 1.96 * error if math.isfinite(error) else 0.0
        rows.append(Metric(f"{n}-gram model", value, value - reach, value + reach, len(same), unit=unit))
    return rows


def real(data: Splits) -> tuple[words.Real, words.Real]:
    """Return the training and the held-out text: a str each for running text, else lists of items. Raises DataError."""
    codec, train, test = Codec.of(data.facts), data.train, data.test
    assert isinstance(train, Texts) and isinstance(test, Texts)
    if not len(test):
        raise DataError("no text was held out, so there is nothing to compare with; set data.test")
    if not codec.items:
        return codec.vocabulary.decode(train.stream.tolist()), codec.vocabulary.decode(test.stream.tolist())
    tokens = [split.take(torch.arange(len(split))).raw for split in (train, test)]
    return codec.texts(tokens[0]), codec.texts(tokens[1])


def _judges(data: Splits, texts: Sequence[str], train: words.Real, test: words.Real, notify: Notify) -> list[Metric]:
    """Return bits per character under an n-gram model and under a small autoregressive network of the training text."""
    control = words.like(texts, test)
    body = train if isinstance(train, str) else "\n".join(train)
    model = NGram(body, ORDER, test if isinstance(test, str) else "".join(test))
    own, floor = ([float(model.bits(t).sum()) for t in group] for group in (texts, control))
    rows = [_bits(f"bits under {ORDER}-grams", own, texts, floor, control, "")]
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
    name: str, bits: list[float], texts: Sequence[str], floor: list[float], control: Sequence[str], judge: str
) -> Metric:
    reference = sum(floor) / max(1, sum(len(t) for t in control))
    row = words.average(name, np.array(bits), np.array([len(t) for t in texts]), reference)
    low, high = (None if math.isnan(v) else v for v in (row.low, row.high))
    return Metric(name, row.value, low, high, len(bits), reference, better="floor", judge=judge, unit="bits/character")


def _metric(row: words.Row, n: int) -> Metric:
    value, low, high, reference = (None if math.isnan(v) else v for v in row[1:5])
    if value is None:
        return Metric(row.name, None, note="there is nothing to count in these texts")
    return Metric(row.name, value, low, high, n, reference, better=row.better, unit=row.unit)
