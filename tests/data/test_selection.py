"""Splits and limits that depend on names only, and groups that stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolkit.data import selection
from toolkit.data.listing import Entry


def test_the_split_depends_on_names_only() -> None:
    entries = [Entry(f"{i}.png", Path(f"{i}.png"), 1) for i in range(4000)]
    mask = selection.test_mask(entries)
    assert 150 < mask.sum() < 250
    more = [Entry(f"more/{i}.png", Path("x"), 1) for i in range(100)]
    assert np.array_equal(selection.test_mask(more + entries)[100:], mask)
    assert selection.test_mask(entries[:1]).tolist() == [False]
    assert selection.test_mask(entries[:2]).sum() == 1
    thinned = selection.thin(entries, 50)
    assert len(thinned) == 100 and selection.test_mask(thinned).sum() == 50
    assert set(selection.thin(entries[:3000], 50)) & set(thinned)  # a stable choice, not the first ones
    assert [e.name for e in thinned] != [e.name for e in entries[:100]]


def test_every_label_keeps_a_training_example() -> None:
    entries = [Entry(f"{i}", Path("x"), 1, label=f"{i % 40}") for i in range(80)]
    mask = selection.test_mask(entries)
    assert mask.any() and all(not mask[i] or not mask[i + 40] for i in range(40))
    alone = [Entry(f"{i}", Path("x"), 1, label=f"{i}") for i in range(100)]
    assert not selection.test_mask(alone).any()
    given = [Entry(f"{i}", Path("x"), 1, split="test" if i == 3 else "train") for i in range(5)]
    assert selection.test_mask(given).tolist() == [False, False, False, True, False]


def test_a_group_is_in_one_split_which_adding_others_leaves() -> None:
    entries = [Entry(f"{i}.png", Path("x"), 1, label="ab"[i % 2]) for i in range(4000)]
    groups = np.arange(4000) // 4 % 700  # of 4 or 8
    mask = selection.test_mask(entries, groups)
    held = np.unique(groups[mask])
    assert np.array_equal(mask, np.isin(groups, held)) and 15 <= len(held) <= 60
    assert 100 < mask.sum() < 320  # 5 % of 4,000
    more = [Entry(f"more/{i}.png", Path("x"), 1, label="a") for i in range(50)]
    again = selection.test_mask([*entries, *more], np.concatenate([groups, 1000 + np.arange(50)]))
    assert np.array_equal(again[:4000], mask)
    alone = selection.test_mask(entries, np.arange(4000))
    assert np.array_equal(alone, selection.test_mask(entries))


@pytest.mark.parametrize("count", [2, 3, 8, 400])
def test_what_is_nearly_all_alike_is_split_by_names(count: int) -> None:
    entries = [Entry(f"{i}.png", Path("x"), 1) for i in range(count)]
    groups = np.zeros(count, dtype=int)
    assert np.array_equal(selection.test_mask(entries, groups), selection.test_mask(entries))
    groups[-1] = 1
    mask = selection.test_mask(entries, groups)
    assert 0 < mask.sum() < count


def test_a_label_keeps_a_training_example_though_all_of_it_is_one_group() -> None:
    entries = [Entry(f"{i}", Path("x"), 1, label=str(i // 3)) for i in range(300)]
    mask = selection.test_mask(entries, np.arange(300) // 3)
    assert not mask.any()  # to hold a group out would leave its label nothing
    mask = selection.test_mask(entries, np.arange(300) // 6)
    assert not mask.any()
    mask = selection.test_mask(entries, np.array([i // 3 if i % 3 else 100 + i for i in range(300)]))
    assert mask.any() and all(not mask[3 * i : 3 * i + 3].all() for i in range(100))
