"""A run knows its data by content: changes are noticed and refused, or followed on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from toolkit.data.dataset import Facts, identity_of
from toolkit.data.understood import Row, Understood
from toolkit.errors import UsageError
from toolkit.run import data_block

FACTS = Facts(shape=(2,), labels=("a", "b"), mean=0.5, std=2.0, count=100, identity="aa", spread=3.0,
              extra={"test": 5, "lengths": (1.0, 2.0), "rate": 16000, "vocabulary": "xyz"})  # fmt: skip


def changed(**values: object) -> Facts:
    return FACTS.model_copy(update={"identity": "bb", **values})


def test_equal_content_is_the_same_data(tmp_path: Path) -> None:
    touched = FACTS.model_copy(update={"rejected": ("x: broken",)})
    assert data_block.check_same(FACTS, touched, tmp_path, follow=False) == touched


@pytest.mark.parametrize(("values", "said"), [
    ({}, "the content, labels or order of the examples"),
    ({"count": 101}, "100 training examples before, 101 now"),
    ({"mean": 0.6}, "the content, labels or order of the examples"),
])  # fmt: skip
def test_changed_data_is_refused_and_followed_on_request(tmp_path: Path, values: dict[str, object], said: str) -> None:
    now = changed(**values, spread=None)
    with pytest.raises(UsageError, match=f"{said}.*--follow-data"):
        data_block.check_same(FACTS, now, tmp_path, follow=False)
    followed = data_block.check_same(FACTS, now, tmp_path, follow=True)
    assert (followed.mean, followed.std, followed.spread) == (0.5, 2.0, 3.0)
    assert (followed.count, followed.identity) == (now.count, "bb")


@pytest.mark.parametrize("values", [
    {"shape": (3,)}, {"labels": ("a", "b", "c")}, {"labels": ("b", "a")},
    {"extra": {**FACTS.extra, "rate": 8000}}, {"extra": {**FACTS.extra, "vocabulary": "xyzw"}},
])  # fmt: skip
def test_data_that_the_network_does_not_fit_cannot_be_followed(tmp_path: Path, values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="choose another --out") as caught:
        data_block.check_same(FACTS, changed(**values), tmp_path, follow=True)
    assert "--follow-data" not in str(caught.value)


def test_statistics_may_change(tmp_path: Path) -> None:
    now = changed(extra={**FACTS.extra, "test": 6, "lengths": (1.0, 3.0)})
    assert data_block.check_same(FACTS, now, tmp_path, follow=True).extra["lengths"] == (1.0, 3.0)


def test_runs_without_identity_are_known_by_their_statistics(tmp_path: Path) -> None:
    before = FACTS.model_copy(update={"identity": ""})
    assert data_block.check_same(before, FACTS, tmp_path, follow=False) == FACTS
    with pytest.raises(UsageError, match="the content"):
        data_block.check_same(before, FACTS.model_copy(update={"std": 2.5}), tmp_path, follow=False)


def test_identity_is_content() -> None:
    x = torch.arange(12).reshape(6, 2).numpy()
    same = identity_of(("a", "b"), x)
    assert identity_of(("a", "b"), x.copy()) == same
    others = [identity_of(("b", "a"), x), identity_of(("a", "b"), x[::-1]), identity_of(("a", "b"), x.reshape(3, 4)),
              identity_of(("a", "b"), x.astype("float64")), identity_of(("a", "b"), x, x[:0])]  # fmt: skip
    assert len({same, *others}) == 6


@pytest.mark.parametrize(("count", "seen", "minutes", "warned", "change"), [
    (1000, 9000, 10.0, False, ""),
    (23, 2300, 10.0, True, ""),
    (23, 23 * 2415, 10.0, True, "--minutes 0.83"),
    (100, 100 * 1000, None, True, "--steps N"),
])  # fmt: skip
def test_too_little_data_is_said(count: int, seen: int, minutes: float | None, warned: bool, change: str) -> None:
    block = Understood(rows=(Row(name="files", value="x"),))
    *_, row = data_block.with_passes(block, count, seen, minutes).rows
    assert (row.name, row.warning, row.change) == ("passes", warned, change)
    assert row.data == {"passes": seen / count, "examples": count}


def test_a_run_keeps_the_block(tmp_path: Path) -> None:
    import toolkit

    points = str(Path(__file__).parents[1] / "points.py")
    run = toolkit.prepare(out=tmp_path / "run", modality=points, steps=2, notify=lambda line: None, train__previews=0)
    for _ in run:
        pass
    content = json.loads((tmp_path / "run/data.json").read_text())
    assert content["format"] == 1
    assert [row["data"] for row in content["rows"]] == [
        {"train": 4000, "test": 4000},
        {"upper": 2000, "lower": 2000},
        {"passes": 2 * 256 / 4000, "examples": 4000},
    ]


def test_a_run_is_judged_at_the_scale_it_was_trained_at(tmp_path: Path) -> None:
    import toolkit
    from tests.points import Points
    from toolkit.errors import DataError

    points = str(Path(__file__).parents[1] / "points.py")
    for _ in toolkit.prepare(
        out=tmp_path / "run", modality=points, steps=1, notify=lambda line: None, train__previews=0
    ):
        pass
    run = toolkit.load(tmp_path / "run", modality=points, notify=lambda line: None)
    opened = Points(Points.Data(), Points.Model())
    opened.open(tmp_path)
    opened.learn(mean=9.0, std=7.0, identity="ab")  # as of data that has changed
    same = run.on(opened)
    assert (same.modality.facts.mean, same.modality.facts.std) == (run.modality.facts.mean, run.modality.facts.std)
    opened.learn(labels=("lower", "upper"))
    with pytest.raises(DataError, match="other labels"):
        run.on(opened)


def test_properties_that_another_version_added_do_not_differ() -> None:
    older = FACTS.model_copy(update={"extra": {"rate": 16000}})
    assert data_block.differing(older, FACTS) == []
    assert data_block.differing(FACTS.model_copy(update={"extra": {"rate": 8000}}), FACTS) == ["rate"]
