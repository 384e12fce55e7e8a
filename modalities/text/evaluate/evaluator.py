"""How good generated texts are, and what held-out ones cost: the figures of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from modalities.text.data.tokens import EOS, PAD
from modalities.text.evaluate import abc_metrics, copying, judge, likelihood, slot_accuracy, words
from modalities.text.evaluate.lengths import LengthLaw
from modalities.text.evaluate.ngram import NGram, item_ladder, ladder
from modalities.text.modality import Text
from modalities.text.network import token_noise
from modalities.text.network.denoiser import TokenDenoiser
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.errors import DataError
from toolkit.evaluation.table import EvaluationResult, Figure
from toolkit.modality import Examples

ORDER = 5
"""Of the n-gram judge: at our sizes longer grams are too rare to help."""
_SHARES = (
    "valid words",
    "texts with",
    "4-grams of words",
    "distinct",
    "rep-",
    "diversity",
    "tunes that",
    "bars that",
    "exact",
    "slots told",
)


def assess(text: Text, made: Examples, notify: Callable[[str], None] = print) -> EvaluationResult:
    """Figures of generated tokens (B, L) beside held-out real text. Raises DataError."""
    train, held = real(text)
    texts = text.texts(made.raw)
    if not any(texts):
        raise DataError("every generated text is empty, so there is nothing to judge")
    size = len(texts)
    rows = [*words.describe(texts, train, held), *copying.describe(texts, train, held)]
    if text.data.source == "abc" and not isinstance(held, str):
        rows += abc_metrics.describe(texts, held)
    if text.facts.extra["paired"]:
        rows += slot_accuracy.describe(text.sources(made.raw), texts, references(text))
    figures = [*_judges(text, texts, train, held, notify), *(_figure(row, size) for row in rows)]
    return EvaluationResult(figures)


def references(text: Text) -> dict[str, list[str]]:
    """The held-out texts of each source, of pairs."""
    data = text.dataset("test")
    raw = data.take(torch.arange(len(data))).raw
    found: dict[str, list[str]] = {}
    for source, target in zip(text.sources(raw), text.texts(raw), strict=True):
        found.setdefault(source, []).append(target)
    return found


def held_out(text: Text, count: int) -> Examples:
    """`count` held-out examples, spread evenly over the split: whole items, or full rows. Raises DataError for none."""
    data = text.dataset("test")
    if not len(data):
        raise DataError("no text was held out, so no likelihood can be told; set data.test")
    full = torch.arange(len(data)) if text.items else (data.sizes == text.shape[-1]).nonzero()[:, 0]
    if not len(full):
        raise DataError(f"no held-out text has {text.shape[-1]} tokens; raise data.test, or lower data.length")
    return data.take(full[torch.linspace(0, len(full) - 1, min(count, len(full))).round().long()])


def length_costs(text: Text, rows: Examples) -> torch.Tensor:
    """Nats that the lengths of items cost, (B,), by the law of the training items; of pairs, given the source's."""
    train = text.dataset("train")
    length, given = rows.cond["length"], rows.cond.get("given")
    if given is None or train.given is None:
        return LengthLaw(train.sizes).nats(length)
    return LengthLaw(train.sizes - train.given, train.given).nats(length - given, given)


def bits_of(
    text: Text, denoiser: Denoiser, law: TimeDistribution | None, examples: Examples, seed: int = 0
) -> likelihood.Bits:
    """The bound on examples. Items are not told their lengths, and their ends are no characters."""
    assert isinstance(denoiser, TokenDenoiser)
    rows = examples.raw
    real = (rows != PAD).sum(1)
    cond = token_noise.scales(text.model.spread, rows.shape[1], seed, range(len(rows)), real=real)
    if bool((rows == PAD).any()):
        cond["mask"] = (rows != PAD).float()[:, None]
    if "given" in examples.cond:
        told = torch.arange(rows.shape[1]) < examples.cond["given"][:, None]
        cond["given"] = told.float()[:, None]
    made = torch.from_numpy(text.vocabulary.characters(rows.numpy())).double()
    if not text.items:  # between the documents of a running text it is a mark that was read
        made = made + (rows == EOS).double()
    characters = (made * denoiser.counted(rows, cond)).sum(1)
    ends = text.noise_levels()
    lengths = length_costs(text, examples) if text.items else None
    return likelihood.bits(denoiser, law, (ends[0], ends[2]), rows, characters, cond, seed, lengths=lengths)


def likelihood_figures(
    text: Text, denoiser: Denoiser, law: TimeDistribution | None, count: int, notify: Callable[[str], None]
) -> list[Figure]:
    """The bound, its terms, and what n-gram models of the training text say of the same held-out text.

    Items: of the very same rows, none told where it ends; the bound pays by a law of lengths, the n-grams by an end.
    """
    examples = held_out(text, count)
    found = bits_of(text, denoiser, law, examples)
    terms = ("prior", "diffusion", "reconstruction", *(("lengths",) if text.items else ()))
    parts = " + ".join(f"{name} {getattr(found, name):.4f}" for name in terms)
    notify(f"bound {found.total:.3f} +- {found.error:.3f} bits per character = {parts}, over {found.texts} texts")
    unit, low, high = "bits/character", found.total - 1.96 * found.error, found.total + 1.96 * found.error
    rows = [Figure("bits/character", found.total, low, high, found.texts, unit=unit, note="an upper bound")]
    rows.append(Figure("nats/token", found.nats_per_token, n=found.texts, unit="nats"))
    rows += [Figure(f"bits/character: {name}", getattr(found, name), n=found.texts, unit=unit) for name in terms]
    train, held = real(text)
    if isinstance(train, str) or isinstance(held, str):
        train, held = (part if isinstance(part, str) else "\n".join(part) for part in (train, held))
        return rows + [Figure(f"{n}-gram model", value, n=1, unit=unit) for n, value in ladder(train, held)]
    same = text.texts(examples.raw)
    for n, value, error in item_ladder(train, same):
        reach = 1.96 * error if math.isfinite(error) else 0.0
        rows.append(Figure(f"{n}-gram model", value, value - reach, value + reach, len(same), unit=unit))
    return rows


def real(text: Text) -> tuple[words.Real, words.Real]:
    """The training text and the held-out text: as one each where it is running text. Raises DataError."""
    train, test = text.dataset("train"), text.dataset("test")
    if not len(test):
        raise DataError("no text was held out, so there is nothing to compare with; set data.test")
    if not text.items:
        return text.vocabulary.decode(train.stream.tolist()), text.vocabulary.decode(test.stream.tolist())
    every = [data.take(torch.arange(len(data))) for data in (train, test)]
    return text.texts(every[0].raw), text.texts(every[1].raw)


def _judges(
    text: Text, texts: Sequence[str], train: words.Real, held: words.Real, notify: Callable[[str], None]
) -> list[Figure]:
    """Bits per character under an n-gram model and under a small autoregressive network of the training text."""
    control = words.like(texts, held)
    body = train if isinstance(train, str) else "\n".join(train)
    model = NGram(body, ORDER, held if isinstance(held, str) else "".join(held))
    made, floor = ([float(model.bits(t).sum()) for t in group] for group in (texts, control))
    rows = [_bits(f"bits under {ORDER}-grams", made, texts, floor, control, "")]
    data = text.dataset("train"), text.dataset("test")
    critic = judge.obtain(data[0].stream, data[1].stream, text.vocabulary.size, notify)

    def cost(group: Sequence[str]) -> list[float]:
        ids = [torch.from_numpy(text.vocabulary.encode(t)).long() for t in group]
        rows = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in ids], batch_first=True)
        costs: list[float] = critic.bits(rows, mask).double().sum(1).tolist()
        return costs

    return [*rows, _bits("bits under the network", cost(texts), texts, cost(control), control, critic.name)]


def _bits(
    what: str, made: list[float], texts: Sequence[str], floor: list[float], control: Sequence[str], judged: str
) -> Figure:
    reference = sum(floor) / max(1, sum(len(t) for t in control))
    row = words.averaged(what, np.array(made), np.array([len(t) for t in texts]), reference)
    low, high = (None if math.isnan(v) else v for v in (row.low, row.high))
    return Figure(what, row.value, low, high, len(made), reference, better="floor", judge=judged, unit="bits/character")


def _figure(row: words.Row, n: int) -> Figure:
    better = "lower" if row.name.startswith("distance") else "floor"
    unit = "share" if row.name.startswith(_SHARES) else ""
    value, low, high, reference = (None if math.isnan(v) else v for v in row[1:])
    if value is None:
        return Figure(row.name, None, note="there is nothing to count in these texts")
    return Figure(row.name, value, low, high, n, reference, better=better, unit=unit)  # type: ignore[arg-type]
