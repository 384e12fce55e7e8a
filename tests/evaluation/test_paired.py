"""Two networks on the same noise: differences that are known, intervals that cover them, and what does not compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import toolkit
from tests.run.test_monitor import POINTS, few, points
from tests.run.test_prepare import finish, quiet
from tests.training.test_held_out import Vectors, drawn, exact, fixed
from toolkit import paths
from toolkit import recipe as recipes
from toolkit.diffusion import VE, VP, Cosine, LinearChain, RectifiedFlow, Schedule
from toolkit.diffusion.loss import EDM, MinSNR, Unweighted
from toolkit.discovery import find
from toolkit.errors import DataError, UsageError
from toolkit.evaluation.comparison import Bin, Comparison
from toolkit.evaluation.paired import compare, plain_losses, shared_levels, weights
from toolkit.modality import Splits
from toolkit.recipe import Recipe
from toolkit.run.generator import Generator
from toolkit.training.difference import Difference
from toolkit.verify.oracle import GaussianDenoiser


class Off(GaussianDenoiser):
    """The exact denoiser of Gaussian data, and a constant."""

    def __init__(self, schedule: Schedule, add: float) -> None:
        super().__init__(schedule)
        self.add = add

    def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        return super().forward(x_t, t, cond) + self.add


def test_a_known_difference_is_found_and_covered_by_its_interval() -> None:
    """x_hat + d costs d^2 more, whatever the noise."""
    covered, trials, n = 0, 150, 64
    for seed in range(trials):
        measured = fixed(Vectors(drawn(n, 4, seed=seed)), n, 8, seed=seed)
        levels = shared_levels(measured, VP(), VP())
        one, other = (plain_losses(measured, Off(VP(), add), levels).mean(1) for add in (0.0, 0.1))
        d = Difference.between(one, other)
        covered += d.low <= 0.01 <= d.high
    assert covered / trials == pytest.approx(0.95, abs=0.06)  # three standard errors


@pytest.mark.parametrize("schedule", [VP(), Cosine(), VE(), LinearChain(100)], ids=repr)
def test_the_schedule_of_a_network_makes_no_difference(schedule: Schedule) -> None:
    """The same function of x + r eps, asked along another path and at another pace."""
    measured = fixed(Vectors(drawn(100, 4)), 100, 8)
    levels = shared_levels(measured, RectifiedFlow(), schedule)
    one, other = (plain_losses(measured, GaussianDenoiser(s), levels) for s in (RectifiedFlow(), schedule))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    # the mean over numbers of r^2 / (1 + r^2), which is the loss in x of the exact denoiser
    whole = (1 / (1 + levels.exp())).mean()
    assert float(one.mean()) == pytest.approx(float(whole), rel=0.1)


@pytest.mark.parametrize("weighting", [Unweighted(), EDM(), MinSNR()])
def test_in_all_it_is_the_loss_of_training(weighting: Any) -> None:
    measured = fixed(Vectors(drawn(50, 4)), 50, 8, weighting=weighting)
    levels = shared_levels(measured, RectifiedFlow(), RectifiedFlow())
    for prediction in ("x0", "flow"):
        denoiser = exact(0.2, prediction)
        product = plain_losses(measured, denoiser, levels) * weights(denoiser, weighting, levels)
        torch.testing.assert_close(product, measured.losses(denoiser), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Points, for a short and a longer time, and otherwise."""
    folder = tmp_path_factory.mktemp("runs")
    other = {"diffusion.schedule": "cosine", "diffusion.prediction": "v", "diffusion.weighting": "min-snr"}
    made = {
        "short": points(steps=20),
        "long": points(steps=60),
        "other": recipes.replace(points(steps=60), other),
    }
    for name, recipe in made.items():
        finish(recipe, folder / name)
    return {name: folder / name for name in made}


def loaded(run: Path, **options: Any) -> Generator:
    return toolkit.load(run, "cpu", notify=quiet, modality=POINTS, **options)


def test_longer_training_is_better_and_both_ways_round_the_same(runs: dict[str, Path]) -> None:
    short, long = loaded(runs["short"]), loaded(runs["long"])
    there = compare(short, long, ("s", "l"), 200, notify=quiet)
    back = compare(long, short, ("l", "s"), 200, notify=quiet)
    assert there.better == 1 and back.better == 0 and there.overall.n == 200 and there.available == 4000
    assert there.overall.mean == pytest.approx(-back.overall.mean) and there.overall.mean < 0
    assert (
        there.sentence.startswith("l is better: its loss is ")
        and "lower than that of s (95 % interval" in there.sentence
    )
    assert back.sentence.startswith("l is better: the loss of s is ") and "% higher (95 % interval" in back.sentence
    assert len(there.bins) == 8 and all(bin.low < bin.high for bin in there.bins)
    assert sum(bin.b < bin.a for bin in there.bins) >= 6


def test_a_run_differs_from_itself_by_exactly_nothing(runs: dict[str, Path]) -> None:
    found = compare(loaded(runs["long"]), loaded(runs["long"]), n=64, notify=quiet)
    assert found.overall.mean == found.overall.error == 0 and found.better is None
    assert all(bin.difference.mean == 0 and bin.a == bin.b for bin in found.bins)
    assert found.sentence == "no difference: equal on all 64 examples, bit for bit"


def test_another_schedule_prediction_and_weighting_compare(runs: dict[str, Path]) -> None:
    """Against the same measurement by hand: |x - x_hat|^2 of each at the same z."""
    one, other = loaded(runs["long"]), loaded(runs["other"])
    found = compare(one, other, n=128, seed=3, notify=quiet)
    assert one.denoiser.schedule != other.denoiser.schedule
    # the noisiest bin is the variance of what is not told, for both
    assert found.bins[-1].b == pytest.approx(found.bins[-1].a, rel=0.25)
    assert 0 < found.bins[0].b < 0.2 * found.bins[-1].b


def test_what_two_widths_of_one_run_share_is_not_in_the_error(runs: dict[str, Path]) -> None:
    found = compare(loaded(runs["long"], ema=0.05), loaded(runs["long"], ema=0.1), n=400, notify=quiet)
    each = abs(found.a) / 400**0.5  # about the standard error of either loss
    assert 0 < found.overall.error < 0.1 * each


def test_what_does_not_compare_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    modality = few(tmp_path, 100, 4)
    finish(points(modality, steps=5), tmp_path / "few")
    run = toolkit.load(tmp_path / "few", "cpu", notify=quiet, modality=modality)
    with pytest.raises(UsageError, match=r"one learns .*points\.py, the other .*few100_4\.py"):
        compare(loaded(runs["long"]), run, notify=quiet)
    other = loaded(runs["long"])
    other.modality = type(other.modality)(other.modality.data, other.modality.model, run.modality.facts)
    with pytest.raises(UsageError, match=r"other data \(differs in mean, std, count, identity\)"):
        compare(loaded(runs["long"]), other, notify=quiet)
    with pytest.raises(UsageError, match="at least 4 examples, not 3"):
        compare(run, run, n=3)
    nothing = few(tmp_path, 100, 3)
    finish(points(nothing, steps=5), tmp_path / "nothing")
    run = toolkit.load(tmp_path / "nothing", "cpu", notify=quiet, modality=nothing)
    with pytest.raises(DataError, match="holds 3 examples back, and a comparison needs 4"):
        compare(run, run, notify=quiet)


def text(out: Path, **changes: Any) -> Generator:
    """A tiny run of names."""
    small = {"model.width": 32, "model.depth": 1, "train.steps": 6, "train.batch": 8, "train.previews": 0}
    recipe = recipes.replace(recipes.load("text/names"), {**small, "train.minutes": None, "sample.steps": 2, **changes})
    finish(recipe, out)
    return toolkit.load(out, "cpu", notify=quiet)


def test_texts_compare_by_the_cross_entropy_of_a_token(tmp_path: Path) -> None:
    one, other = text(tmp_path / "a"), text(tmp_path / "b", **{"train.seed": 1})
    found = compare(one, other, n=16, notify=quiet)
    # untrained: all of the vocabulary's words but padding are equally likely
    words = float(torch.tensor(one.modality.codec.vocabulary.size - 1.0).log())  # type: ignore[attr-defined]
    assert found.what == "cross-entropy, nats a token" and found.a == pytest.approx(words, rel=0.2)
    assert found.overall.n == 16 and compare(one, one, n=16, notify=quiet).overall.mean == 0
    with pytest.raises(UsageError, match=r"\[model\] sections tell the networks other things \(scale\)"):
        compare(one, text(tmp_path / "c", **{"model.spread": 0.5}), n=16, notify=quiet)
    with pytest.raises(UsageError, match="spaces of other sizes"):
        compare(one, text(tmp_path / "d", **{"model.dims": 8}), n=16, notify=quiet)


def test_changed_data_is_refused(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = loaded(runs["long"])
    clean = type(run.modality).load

    def changed(*arguments: Any) -> Splits:
        splits = clean(*arguments)
        return replace(splits, facts=splits.facts.model_copy(update={"mean": 9.0, "count": 1}))

    monkeypatch.setattr(type(run.modality), "load", changed)
    with pytest.raises(DataError, match=r"has changed since it was trained \(differs in mean, count\)"):
        compare(run, run, notify=quiet)


def test_opened_data_is_taken_as_it_is(runs: dict[str, Path]) -> None:
    kind = find(POINTS)
    recipe: Recipe = recipes.load(runs["long"] / "recipe.toml")
    real = kind(*recipes.validate_for(recipe, kind))
    real.open(paths.cache(), quiet)
    run = loaded(runs["long"])
    assert compare(run, run, n=8, real=real).overall.n == 8


def outcome(mean: float, error: float, available: int = 60) -> Comparison:
    d = Difference(mean, error, 50, 2.0)
    return Comparison(("a", "b"), "x", "y", 2.0, 2.0 + mean, d, (Bin(0.1, 0.2, 1.0, 1.1, d),), available)


def test_what_cannot_be_told_says_how_many_examples_would() -> None:
    found = outcome(0.01, 0.02)
    # (1.96 + 0.84)^2 (0.02 / 0.01)^2 50 = 1,570
    assert found.better is None and found.sentence == (
        "no difference that 50 examples can show: +0.50% +- 2.01%; to show one of this size, n would have to be about "
        "1,600, and there are 60"
    )
    assert "and there are" not in outcome(0.01, 0.02, 10_000).sentence
    rows = outcome(-0.1, 0.02).rows()
    assert rows[0] == ("all, weighted", "2", "1.9", "-5.00%", "-7.01% to -2.99%") and rows[1][0] == "0.1 to 0.2"
    mapping = outcome(-0.1, 0.02).to_mapping()
    assert (mapping["better"], mapping["n"], mapping["levels"]["bins"][0]["noise"]) == ("b", 50, [0.1, 0.2])
    assert mapping["low"] < mapping["difference"] == -0.1 < mapping["high"]
