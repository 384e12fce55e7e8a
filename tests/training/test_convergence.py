"""The verdict on a training: from series whose course is known, and from damaged files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from toolkit.errors import UsageError
from toolkit.training.convergence import Verdict, halfway, verdict
from toolkit.training.course import Course
from toolkit.training.loop import Config
from toolkit.training.measurement import Level, Measurement, best, best_step, change, measurement, read

N = 40


def drawn(seed: int, n: int = N) -> Tensor:
    found = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found - found.mean()


def series(
    held_out: list[float], trained: list[float] | None = None, noise: float = 0.002, steps: int = 100, n: int = N,
    floor: float | None = None,
) -> list[Measurement]:  # fmt: skip
    """Measurements at every `steps` whose means are about those given: examples differ much, changes little."""
    hard = 1 + 0.3 * drawn(0, n)
    found = []
    for i, mean in enumerate(held_out):
        each = mean * hard * (1 + noise * drawn(i + 1, n)) if mean else torch.zeros(0)
        known = (trained or held_out)[i] * (1 + 0.3 * drawn(100)) * (1 + noise * drawn(200 + i))
        least = None if floor is None else (floor * (1 + 0.3 * drawn(100)))[:, None]
        found.append(measurement(steps * (i + 1), each[:, None], known[:, None], least))
    return found


def said(found: list[Measurement], half: int | None = None) -> Verdict:
    outcome = verdict(found, found[-1].step // 2 if half is None else half)
    assert outcome is not None
    return outcome


FALLING = [1.0, 0.8, 0.7, 0.64, 0.6, 0.57, 0.55, 0.53, 0.515, 0.5]


def test_still_falling_says_how_fast() -> None:
    found = said(series(FALLING, noise=1e-4))
    assert found.kind == "falling" and found.best.step == 1000
    # 0.515 to 0.5 in the last tenth, 0.6 to 0.5 in the second half
    assert "by 2.9 % (+- " in found.sentence and "per tenth" in found.sentence and "17 % (+- " in found.sentence
    assert "more steps would help" in found.sentence


def test_four_measurements_say_no_rate_per_tenth_that_they_do_not_know() -> None:
    found = said(series([0.9, 0.7, 0.6, 0.55], noise=1e-4, steps=250))
    # the last quarter, 8.3 %, is 3.3 % a tenth
    assert found.kind == "falling" and "by 3.3 % (" in found.sentence and "21 % (" in found.sentence


def test_what_is_flat_since_half_of_the_learning_has_converged() -> None:
    flat = [1.0, 0.6, 0.501, *[0.5] * 7]
    found = said(series(flat))
    assert found.kind == "converged" and "of what twice the steps would reach" in found.sentence
    share = float(found.sentence.split("within ")[1].split(" %")[0])
    assert 0 < share < 1
    # by a cosine most of the learning comes before: then it was at 0.6 halfway
    assert said(series(flat), 250).kind == "level"
    assert said(series(flat, noise=0.1), 250).kind == "unclear" == said(series(flat, noise=0.1)).kind


def test_near_the_floor_is_converged_whatever_the_steps() -> None:
    near = [1.0, 0.7, 0.6, 0.55, 0.53, 0.52, 0.515, 0.51, 0.507, 0.504]
    found = said(series(near, floor=0.5))
    assert found.kind == "converged" and "of the floor" in found.sentence and "(floor 0.5" in found.sentence
    assert said(series(near, floor=0.4)).kind == "falling"
    # training examples at their floor are recited when held-out ones cost more
    assert said(series([value * 1.5 for value in near], near, floor=0.5)).kind != "converged"


def test_overfitting_is_named_with_its_step_and_the_best_snapshot() -> None:
    up = [1.0, 0.7, 0.6, 0.55, 0.56, 0.58, 0.6, 0.63, 0.66, 0.7]
    found = said(series(up, FALLING))
    assert found.kind == "overfitting" and found.best.step == 400
    assert found.sentence.startswith("overfitting since step 400: the held-out loss rose by 27 % (+- ")
    assert "fell by 22 %" in found.sentence and "the best snapshot is step 400" in found.sentence
    # both rising is not overfitting
    both = said(series(up, up))
    assert both.kind == "rising" and "training examples too" in both.sentence and "train.lr" in both.sentence


def test_a_rise_within_its_error_is_none() -> None:
    """The lowest of ten measurements of the same is lower than the last one by chance."""
    kinds = [said(_shifted(seed)).kind for seed in range(200)]
    assert kinds.count("overfitting") + kinds.count("rising") <= 2


def _shifted(seed: int) -> list[Measurement]:
    hard = 1 + 0.3 * drawn(0)
    return [
        measurement(100 * i, (hard * (1 + 0.02 * drawn(1000 * seed + i)))[:, None], torch.ones(1, 1))
        for i in range(1, 11)
    ]


def test_without_held_out_examples_it_says_so() -> None:
    found = said(series([0.0] * 10, FALLING))
    assert found.kind == "falling" and found.sentence.startswith("too few examples are held out")
    up = said(series([0.0] * 10, FALLING[::-1]))
    assert up.kind == "rising" and "overfitting" not in up.sentence and up.best.step == 100


def test_nothing_is_made_of_too_little() -> None:
    assert verdict([], 10) is None
    assert said(series([0.5])).kind == "short"
    late = [m for m in series(FALLING) if m.step > 800]
    assert said(late).kind == "short" and "held-out loss 0.5" in said(late).sentence


@pytest.mark.parametrize(("decay", "share"), [("constant", 0.5), ("cosine", 0.2644)])
def test_half_of_the_learning(decay: str, share: float) -> None:
    """For a cosine it is at the share p where p + sin(pi p) / pi = 1/2."""
    config = Config(steps=10_000, decay=decay, warmup=0)
    assert halfway(config, Course.of(10_000)) == pytest.approx(10_000 * share, abs=20)


def test_lines_come_back_as_they_were_written() -> None:
    levels = [Level(0.123456789, 0.5, None, 1 / 3), Level(2.0, None, None, None)]
    one = measurement(7, torch.rand(5, 4), torch.rand(2, 4), torch.rand(9, 4), levels)
    two = replace(measurement(9, torch.zeros(0, 8), torch.rand(3, 8)), verdict="so it is")
    lines = [json.dumps(m.to_mapping()) for m in (one, two)]
    assert read(lines) == [one, two] == read([line.encode() for line in lines])
    assert one.each.shape == (5,) and two.each.shape == (3,) and len(one.floor_each) == 2
    entry = json.loads(lines[0])
    assert entry["held_out"] == pytest.approx(sum(one.held_out) / 5, rel=1e-5) and entry["floor"] == one.floor
    assert entry["held_out_error"] == pytest.approx(float(torch.tensor(one.held_out).std()) / math.sqrt(5), rel=1e-4)
    assert json.loads(lines[1])["held_out"] is None


@pytest.mark.parametrize(
    "damage",
    [
        {"step": -1}, {"step": 1.5}, {"step": True}, {"draws": 0}, {"floor": float("inf")}, {"levels": [{}]},
        {"each": {"held_out": [], "trained": [], "floor": []}}, {"each": {"held_out": "abc"}}, {"each": 3},
        {"each": {"held_out": [1.0, "2"], "trained": [], "floor": []}}, {"verdict": 3}, {"levels": 7},
        {"each": {"held_out": [1.0] * 20_000, "trained": [], "floor": []}},
    ],
)  # fmt: skip
def test_damaged_lines_are_skipped(damage: dict[str, object]) -> None:
    good = measurement(3, torch.rand(5, 4), torch.rand(2, 4)).to_mapping()
    lines = [json.dumps({**good, **damage}), '{"each": ', '{"step": 3, "loss": 1}', "[" * 100_000 + '"each"']
    assert read(lines) == [] and [m.step for m in read([*lines, json.dumps(good)])] == [3]


def test_steps_after_a_rollback_replace_what_they_repeat() -> None:
    found = series([1.0, 0.9, 0.8, 0.7, 0.6])
    again = series([0.5, 0.4, 0.3])[1:]
    lines = [json.dumps(m.to_mapping()) for m in (*found[:4], *again)]
    assert [(m.step, round(m.loss, 1)) for m in read(lines)] == [(100, 1.0), (200, 0.4), (300, 0.3)]


def test_changes_are_of_the_examples_that_both_have() -> None:
    few, many = series([1.0], n=10)[0], series([1.0, 0.9])[1]
    longer = replace(many, held_out=tuple(value + 0.5 for value in few.held_out) + many.held_out[10:])
    d = change(few, longer)
    assert d.n == 10 and d.mean == pytest.approx(0.5, abs=1e-5) and d.error < 1e-5


def test_the_best_stored_step(tmp_path: Path) -> None:
    found = series([1.0, 0.6, 0.5, 0.55, 0.7])
    for steps, step in (([500, 300], 300), ([500, 400], 400), ([100, 500], 500)):
        assert (m := best(found, steps)) is not None and m.step == step
    assert best(found, [7]) is None is best(found, [])
    # a difference that is none leaves the newest
    even = series([0.5, 0.5], noise=0.05)
    assert best(even, [100, 200]) == even[1] and best(even[::-1], [100, 200]) == even[0]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(m.to_mapping()) + "\n" for m in found))
    assert best_step(path, [100, 300, 500]) == 300
    for missing in (tmp_path / "none", path):
        with pytest.raises(UsageError, match="name the step: 7, 8"):
            best_step(missing, [7, 8])
