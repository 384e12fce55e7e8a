"""A recipe's own figures: what may be said in one, when a run reproduces it, and that a broken model does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from toolkit import recipe as recipes
from toolkit.diffusion import Cosine
from toolkit.errors import UsageError
from toolkit.evaluation import self_loss
from toolkit.evaluation.evaluator import Evaluator
from toolkit.evaluation.reproduce import Reproduction, compare, finish, measure, reproduce, target_of
from toolkit.evaluation.table import EvaluationResult, Metric, Table, omission
from toolkit.recipe.expected import ExpectedMetric
from toolkit.run import compose
from toolkit.run import generator as generators
from toolkit.run.prepare import prepare
from toolkit.run.train import TrainingRun
from toolkit.training.ema import PowerEMA

POINTS = str(ROOT / "tests" / "points.py")
WHERE = {"machine": "an abacus", "date": "2026-11-26", "toolkit": "0.1.0"}
BUNDLED = ("digits", "drums", "shakespeare", "names", "backwards")
"""Data that comes with the toolkit; a smoke needs no other, but for the tunes that come with music21."""
ANYTHING = {"value": 1.0, "within": 1e9}


def made(**sections: Any) -> recipes.Recipe:
    train = {"steps": 400, "batch": 128, "lr": 3e-3, "warmup": 50, "previews": 0}
    base = {"name": "points", "modality": POINTS, "train": train, "sample": {"sampler": "heun", "grid": "uniform"}}
    return recipes.from_mapping({**base, **sections})


@pytest.mark.parametrize(
    ("expected", "smoke", "message"),
    [
        ({**WHERE, "figures": {"FD": {"value": 1.0}}}, {}, "expected.figures.FD: say either within, or at_least"),
        ({**WHERE, "figures": {"FD": {"value": 1.0, "within": 1.0, "at_most": 2.0}}}, {}, "say either within"),
        ({**WHERE, "figures": {"FD": {"value": 3.0, "at_most": 2.0}}}, {}, "measured value 3 is itself outside at mo"),
        ({**WHERE, "figures": {"FD": {"value": "3", "within": 1.0}}}, {}, "expected.figures.FD.value: "),
        ({**WHERE, "figures": {"FD": {"value": 3.0, "within": -1.0}}}, {}, "expected.figures.FD.within: "),
        ({**WHERE, "figures": {"FD": {"value": 3.0, "witin": 1.0}}}, {}, "unknown recipe key 'expected.figures.FD.wit"),
        ({"date": "2026-11-26", "figures": {"FD": ANYTHING}}, {}, "figures without machine and toolkit"),
        ({**WHERE, "date": "yesterday"}, {}, "expected.date: "),
        ({"machin": "x"}, {}, "did you mean 'expected.machine'?"),
        ({}, {"changes": {"modality": "./evil.py"}}, "smoke.changes: 'modality' cannot be changed"),
        ({}, {"changes": {"train": 3}}, "smoke.changes: 'train' cannot be changed"),
        ({}, {"changes": {"expected.figures": {"FD": 1}}}, "cannot be changed"),
        ({}, {"n": 0}, "smoke.n: "),
    ],
)
def test_a_wrong_section_is_one_line(expected: dict[str, Any], smoke: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(expected=expected, smoke=smoke)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_measured_is_kept_and_makes_no_other_recipe() -> None:
    figures = {"agreement": {"value": 0.99, "within": 0.02, "unit": "share", "interval": [0.98, 0.995]}}
    changes = {"train": {"steps": 3}, "sample.steps": 2}
    full = made(expected={**WHERE, "steps": 9, "figures": figures}, smoke={"changes": changes, "figures": figures})
    assert recipes.from_mapping(recipes.tomllib.loads(recipes.dump(full))) == full
    assert recipes.difference(full, made()) == []
    assert full.smoke.changes == {"train.steps": 3, "sample.steps": 2}
    # a run of before these sections had a meaning
    assert made(expected={}, smoke={}) == made() and "expected" not in recipes.dump(made())


def test_what_is_trained() -> None:
    timed = {"minutes": 10.0, "batch": 7}
    recipe = made(
        train=timed,
        expected={**WHERE, "steps": 3213, "figures": {"FD": ANYTHING}},
        smoke={"changes": {"train.steps": 5, "model.width": 8}, "figures": {"held-out loss": ANYTHING}},
    )
    real, section = target_of(recipe)
    # by steps, so that a slower machine does not train less
    assert (real.train.steps, real.train.batch, section) == (3213, 7, recipe.expected)
    assert recipes.difference(recipe, real) == ["train.steps"] and real.expected == recipe.expected
    small, section = target_of(recipe, smoke=True)
    assert recipes.difference(recipe, small) == ["model.width", "train.steps"] and section == recipe.smoke
    assert not small.expected.figures and not small.smoke.figures
    with pytest.raises(UsageError, match=r"no figures to compare with in \[smoke\] yet"):
        target_of(made(), smoke=True)
    with pytest.raises(UsageError, match="by the clock"):
        target_of(made(train=timed, expected={**WHERE, "figures": {"FD": ANYTHING}}))


def band(value: float = 1.0, **said: Any) -> ExpectedMetric:
    ends = said.keys() & {"within", "at_least", "at_most"}
    return ExpectedMetric(value=value, **({} if ends else {"within": 0.1}), **said)


@pytest.mark.parametrize(
    ("said", "value", "passes"),
    [
        ({"within": 0.5}, 1.5, True),
        ({"within": 0.5}, 0.49, False),
        ({"at_least": 0.9}, 7.0, True),
        ({"at_least": 0.9}, 0.89, False),
        ({"at_most": 1.1, "at_least": 0.9}, 1.2, False),
        ({"within": 0.5}, float("nan"), False),
    ],
)
def test_the_ends_of_a_band(said: dict[str, float], value: float, passes: bool) -> None:
    assert band(**said).holds(value) is passes


def test_bands_in_words() -> None:
    assert band(0.992, within=0.02, unit="share").text == "99.2 % +- 2 %"
    assert band(at_least=0.9).text == "at least 0.9" and band(at_most=2.0, at_least=0.5).text == "0.5 to 2"


def verdict(figures: list[Metric], expected: dict[str, ExpectedMetric]) -> Reproduction:
    rows = tuple(compare(Table(tuple(figures)), expected))
    return Reproduction("image/x", False, Path("run"), rows, made().expected, 1.0)


def test_all_figures_must_come_out() -> None:
    expected = {"FD": band(3.8, within=0.4), "agreement": band(0.99, within=0.02, unit="share")}
    good = [Metric("FD", 4.0), Metric("agreement", 0.98, 0.97, 0.99), Metric("KID", 99.0)]
    assert verdict(good, expected).passed
    assert verdict(good, expected).line == "image/x: pass (2 of 2 figures compared)"
    bad = verdict([good[0], Metric("agreement", 0.91, 0.9, 0.92)], expected)
    assert not bad.passed
    assert bad.line == "image/x: falls short (agreement 91 % (90 % to 92 %), expected 99 % +- 2 %)"
    assert [row.verdict for row in bad.rows] == ["pass", "falls short"]


def test_what_was_left_out_or_is_missing_falls_short() -> None:
    found = verdict([omission("FD", "too few examples")], {"FD": band(), "CAS": band()})
    assert [row.verdict for row in found.rows] == ["falls short", "falls short"]
    assert [row.value_text for row in found.rows] == ["not measured", "not measured"]
    assert found.rows[0].note == "too few examples"


def test_another_judge_is_not_compared_with() -> None:
    expected = {"FD": band(judge="digits-1"), "copies": band()}
    found = verdict([Metric("FD", 50.0, judge="digits-2"), Metric("copies", 1.0)], expected)
    assert [row.verdict for row in found.rows] == ["not compared", "pass"] and found.passed
    assert found.rows[0].note == "expected under judge digits-1, and here it is digits-2"
    alone = verdict([Metric("FD", 1.0, judge="digits-2")], {"FD": band(judge="digits-1")})
    assert not alone.passed and alone.line == "image/x: falls short (no figure could be compared)"


def test_far_better_than_measured_is_no_reproduction_either() -> None:
    (row,) = verdict([Metric("FD", 0.1, better="lower")], {"FD": band(3.8, within=0.4)}).rows
    assert row.verdict == "falls short" and "better" in row.note
    (row,) = verdict([Metric("FD", 9.0, better="lower")], {"FD": band(3.8, within=0.4)}).rows
    assert row.note == ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, Table]:
    """A run of the points, trained to its end, and its figures."""
    recipe, section = target_of(made(smoke=SMOKE), smoke=True)
    plan = prepare(recipe, tmp_path_factory.mktemp("points") / "run", notify=lambda _: None)
    finish(plan)
    return plan, measure(plan, section, notify=lambda _: None)


SMOKE = {"n": 64, "figures": dict.fromkeys(self_loss.OWN, ANYTHING)}


def expectation(table: Table) -> dict[str, Any]:
    """Bands as in a recipe: 15 % about what was measured."""
    values = {what: table[what].value or 0.0 for what in self_loss.OWN}
    return {**SMOKE, "figures": {what: {"value": v, "within": 0.15 * v} for what, v in values.items()}}


def silence(_: str) -> None:
    pass


def test_another_seed_passes_and_is_written_down(whole: tuple[TrainingRun, Table], tmp_path: Path) -> None:
    recipe = made(smoke={**expectation(whole[1]), "changes": {"train.seed": 5}})
    found = reproduce(recipe, tmp_path / "run", smoke=True, notify=silence)
    assert found.passed, found.line
    written = json.loads((tmp_path / "run" / "evaluation" / "reproduction.json").read_text("utf-8"))
    assert (written["passed"], written["smoke"], written["recipe"]) == (True, True, "points/points")
    assert [row["verdict"] for row in written["figures"]] == ["pass", "pass"]
    low, high = (written["figures"][0]["expected"][key] for key in ("at_least", "at_most"))
    assert low < written["figures"][0]["figure"]["value"] < high
    metrics = tmp_path / "run" / "evaluation" / "reproduction" / "metrics.json"
    assert Table.from_json(metrics.read_text("utf-8"))[self_loss.HELD_OUT].ceiling is not None
    # the same again goes on where it stopped, at the end, and comes to the same figures
    again = reproduce(recipe, tmp_path / "run", smoke=True, notify=silence)
    assert [row.figure.value for row in again.rows] == [row.figure.value for row in found.rows]


def no_average(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PowerEMA, "update", lambda *_: None)


def other_schedule(patch: pytest.MonkeyPatch) -> None:
    right = compose.follow
    patch.setattr(compose, "follow", lambda f, schedule, *rest, **more: right(f, Cosine(), *rest, **more))


def wrong_time(patch: pytest.MonkeyPatch) -> None:
    right = compose.guide

    def wrong(*arguments: Any) -> Any:
        denoise = right(*arguments)
        return lambda x_t, t: denoise(x_t, t / 2)

    patch.setattr(compose, "guide", wrong)


@pytest.mark.parametrize("sabotage", [other_schedule, wrong_time])
def test_a_sampler_that_is_wrong_falls_short(
    whole: tuple[TrainingRun, Table], sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, table = whole
    section = made(smoke=expectation(table)).smoke
    sabotage(monkeypatch)
    rows = compare(measure(plan, section, notify=silence), section.figures)
    assert {row.figure.name: row.verdict for row in rows} == {
        self_loss.HELD_OUT: "pass",
        self_loss.SAMPLED: "falls short",
    }


def test_for_bits_alone_nothing_is_sampled(whole: tuple[TrainingRun, Table], monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Evaluator):
        counts_bits = True

        def metrics(self, *_: object) -> EvaluationResult:
            raise AssertionError("judged")

        def likelihood(self, *_: object) -> list[Metric]:
            return [Metric("bits/point", 2.5)]

    def sampled(*_: object, **__: object) -> None:
        raise AssertionError("sampled")

    monkeypatch.setattr(type(whole[0].modality), "evaluator", lambda _: Counting())
    monkeypatch.setattr(generators.Generator, "sample", sampled)
    section = made(expected={**WHERE, "figures": {"bits/point": {"value": 2.4, "within": 0.2}}}).expected
    table = measure(whole[0], section, notify=silence)
    assert [figure.name for figure in table.figures] == ["bits/point"] and table.about["samples"] == 0
    (row,) = compare(table, section.figures)
    assert (row.figure.value, row.verdict) == (2.5, "pass")


def test_what_a_section_asks_for_reaches_the_modality(whole: tuple[TrainingRun, Table]) -> None:
    section = made(smoke={**SMOKE, "sample": {"ask": {"length": 3}}}).smoke
    with pytest.raises(UsageError, match="length"):  # points can be asked for nothing
        measure(whole[0], section, notify=silence)


def test_an_average_that_never_moves_falls_short(
    whole: tuple[TrainingRun, Table], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_average(monkeypatch)
    found = reproduce(made(smoke=expectation(whole[1])), tmp_path / "run", smoke=True, notify=silence)
    assert not found.passed and found.rows[0].verdict == "falls short"
    assert "held-out loss" in found.line and "falls short" in found.line


@pytest.mark.parametrize("name", list(recipes.list_recipes()))
def test_the_smoke_of_a_shipped_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.load(name)
    chosen, section = target_of(recipe, smoke=True)
    if chosen.data["source"] == "abc":
        pytest.importorskip("music21")
    else:
        assert chosen.data["source"] in BUNDLED
    found = reproduce(recipe, tmp_path / "run", smoke=True, notify=silence)
    assert found.passed, found.line
    by_name = {row.figure.name: row for row in found.rows}
    untrained = by_name[self_loss.HELD_OUT].figure.ceiling
    assert untrained is not None and not by_name[self_loss.HELD_OUT].band.holds(untrained)
    wrong_time(monkeypatch)
    broken = compare(
        measure(prepare(chosen, tmp_path / "run", notify=silence), section, notify=silence), section.figures
    )
    assert "falls short" in [row.verdict for row in broken]
