"""The law of lengths: it sums to 1, is the formula, and what an evaluation says of items has it in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from modalities.text.data.dataset import Texts
from modalities.text.evaluate import likelihood
from modalities.text.evaluate.evaluator import bits_of, held_out, length_costs
from modalities.text.evaluate.lengths import LengthLaw
from modalities.text.evaluate.ngram import NGram, ladder
from modalities.text.modality import Text
from modalities.text.network import token_noise
from modalities.text.network.denoiser import TokenDenoiser
from modalities.text.options import Data, Model
from toolkit.diffusion import RectifiedFlow
from toolkit.errors import DataError
from toolkit.evaluation.table import Metric
from toolkit.modality import Splits


@pytest.fixture(autouse=True)
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "LOOKS", 512)


def test_it_is_a_law_over_all_lengths() -> None:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 30, (50,), generator=draw)
    law = LengthLaw(lengths, torch.randint(2, 5, (50,), generator=draw))
    for given in (None, 2, 3, 4, 17):
        assert math.fsum(law.probability(n, given) for n in range(1, 3000)) == pytest.approx(1, abs=1e-9)
    assert law.probability(500) > 0
    short = LengthLaw(torch.ones(3, dtype=torch.int64))
    assert math.fsum(short.probability(n) for n in range(1, 500)) == pytest.approx(1, abs=1e-9)


def test_it_is_the_formula() -> None:
    law = LengthLaw(torch.tensor([3, 3, 5]), torch.tensor([1, 2, 2]))
    mean = 11 / 3
    tail = [1 / (1 + mean) * (mean / (1 + mean)) ** (n - 1) for n in range(1, 7)]
    assert law.probability(3) == pytest.approx((2 + 2 * tail[2]) / 5)
    assert law.probability(6) == pytest.approx(2 * tail[5] / 5)
    assert law.probability(5, 2) == pytest.approx((1 + 2 * law.probability(5)) / 4)
    assert law.probability(5, 1) == pytest.approx((0 + 1 * law.probability(5)) / 2)
    assert law.probability(5, 9) == law.probability(5)
    nats = law.nats(torch.tensor([3, 5]), torch.tensor([1, 9]))
    assert nats.tolist() == pytest.approx([-math.log(law.probability(3, 1)), -math.log(law.probability(5))])
    with pytest.raises(ValueError, match="at least one item"):
        LengthLaw(torch.tensor([], dtype=torch.int64))


def test_what_is_given_may_tell_the_length() -> None:
    lengths = torch.arange(1, 11).repeat(50)
    told, untold = LengthLaw(lengths, lengths), LengthLaw(lengths)
    assert float(told.nats(lengths, lengths).mean()) < 0.06
    assert float(untold.nats(lengths).mean()) == pytest.approx(math.log(10), abs=0.02)


@pytest.fixture
def words(tmp_path: Path) -> Text:
    lines = ["".join("abcde"[(i * k + k) % 5] for k in range(1 + i % 9)) + chr(97 + i % 26) for i in range(200)]
    (tmp_path / "words.txt").write_text("\n".join(dict.fromkeys(lines)))
    text = Text(
        Data(source=str(tmp_path / "words.txt"), items="line", length=16, test=0.2),
        Model(preset="smoke", width=16, depth=1),
    )
    text.open(tmp_path / "cache", lambda line: None)
    return text


def denoiser_of(text: Text) -> TokenDenoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = text.denoiser(text.network(), RectifiedFlow(), "v")
    assert isinstance(made, TokenDenoiser)
    return made.eval()


def splits(text: Text) -> Splits:
    assert text.splits is not None
    return text.splits


def figures_of(text: Text, count: int) -> dict[str, Metric]:
    """Return the figures of an evaluation of `count` held-out texts, by name."""
    found = text.evaluator().likelihood(denoiser_of(text), None, splits(text), count, lambda line: None)
    return {figure.name: figure for figure in found}


def test_items_pay_for_their_lengths_and_ends_are_no_characters(words: Text) -> None:
    denoiser, examples = denoiser_of(words), held_out(splits(words), 12)
    found = bits_of(splits(words), words.model.spread, denoiser, None, examples)
    train = splits(words).train
    assert isinstance(train, Texts)
    texts = words.texts(examples.raw)
    characters = sum(len(text) for text in texts)
    assert found.lengths == pytest.approx(float(length_costs(train, examples).sum()) / characters / math.log(2))
    assert found.lengths > 0.3
    assert found.total == pytest.approx(found.prior + found.diffusion + found.reconstruction + found.lengths)
    # what is left is the bound that is told where each item ends
    ends = denoiser.noise_range
    mask = (examples.raw != 0).float()[:, None]
    sizes = torch.tensor([len(text) for text in texts])
    width, real = examples.raw.shape[1], sizes + 1  # and the end
    cond = {"mask": mask, **token_noise.scales(words.model.spread, width, 0, range(len(texts)), real=real)}
    told = likelihood.bits(denoiser, None, (ends[0], ends[2]), examples.raw, sizes, cond)
    assert found.total - found.lengths == pytest.approx(told.total, rel=1e-9)
    assert found.error != told.error
    # nothing is paid for padding, which no network predicts: 1e4 nats a token
    assert bool((examples.raw == 0).any()) and found.reconstruction < 20


def test_figures_of_items_and_of_running_text(words: Text, tmp_path: Path) -> None:
    figures = figures_of(words, 12)
    assert figures["bits/character: lengths"].value is not None
    texts = words.texts(held_out(splits(words), 12).raw)
    train = words.dataset("train")
    model = NGram(words.texts(train.take(torch.arange(len(train))).raw), 3)
    shown = figures["3-gram model"]
    assert shown.n == 12 and shown.value == pytest.approx(model.bits_per_character(texts)[0])
    assert shown.low is not None and shown.high is not None and shown.low < shown.value < shown.high

    (tmp_path / "play.txt").write_text("to be or not to be, that is the question. " * 60)
    play = Text(Data(source=str(tmp_path / "play.txt"), length=16), Model(preset="smoke", width=16, depth=1))
    play.open(tmp_path / "cache", lambda line: None)
    figures = figures_of(play, 4)
    assert "bits/character: lengths" not in figures
    (tmp_path / "short.txt").write_text("to be or not to be. " * 4)
    brief = Text(Data(source=str(tmp_path / "short.txt"), length=32), Model(preset="smoke", width=16, depth=1))
    brief.open(tmp_path / "cache", lambda line: None)
    with pytest.raises(DataError, match="no held-out text has 32 tokens"):
        held_out(splits(brief), 4)
    parts = [part for part in (splits(play).train, splits(play).test) if isinstance(part, Texts)]
    bodies = [play.codec.vocabulary.decode(part.stream.tolist()) for part in parts]
    assert figures["3-gram model"].value == dict(ladder(*bodies))[3]
