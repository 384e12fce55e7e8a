"""Figures on the way to a table and to JSON and back."""

from __future__ import annotations

import json
import math

import pytest

from toolkit.errors import DataError
from toolkit.evaluation.table import Metric, Table, notes, omission, rows

FD = Metric("FD", 2.3456, 2.1, 2.56, 1000, 0.0612, 8812.4, "lower", "digits-3f2a1c")
SHARE = Metric("agreement", 0.975, 0.963, 0.983, 1000, None, 0.1, "higher", "digits-3f2a1c", "share")
GONE = omission("CAS", "no labels", "digits-3f2a1c")


def test_json_and_back() -> None:
    table = Table((FD, SHARE, GONE), {"subject": "runs/a", "samples": 1000, "guidance": 1.5})
    again = Table.from_json(table.to_json())
    assert again == table and again["FD"].title == "FD-digits-3f2a1c" and "CAS" in again and "IS" not in again
    with pytest.raises(KeyError):
        again["IS"]
    row = json.loads(table.to_json())["figures"][0]
    assert list(row) == [
        "what", "name", "judge", "value", "low", "high", "n", "floor", "ceiling", "better", "unit", "note",
    ]  # fmt: skip


def test_json_has_no_nan() -> None:
    table = Table((Metric("FD", math.nan, -math.inf, math.inf, 3),), {"seconds": math.nan})
    found = json.loads(table.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert found["figures"][0]["value"] is None and found["about"]["seconds"] is None


def test_later_keys_are_ignored_and_damage_is_one_line() -> None:
    whole = Table((FD,)).to_mapping()
    whole["figures"][0]["colour"] = "red"
    assert Table.from_json(json.dumps({**whole, "more": 1}))["FD"] == FD
    damaged = [
        "", "[]", "{}", json.dumps({**whole, "format": 2}), json.dumps({**whole, "figures": [3]}),
        json.dumps({**whole, "figures": [{"what": "FD", "value": "high"}]}),
        json.dumps({**whole, "figures": [{"what": "FD", "value": 1, "better": "bigger"}]}),
        json.dumps({**whole, "figures": [{"value": 1}]}), json.dumps({**whole, "about": []}), "[" * 100_000,
    ]  # fmt: skip
    for text in damaged:
        with pytest.raises(DataError, match=r"^x holds no evaluation .*again$"):
            Table.from_json(text, "x")


def test_rows_side_by_side() -> None:
    other = Table((SHARE,), {"subject": "b"})
    headings, cells = rows([Table((FD, SHARE, GONE), {"subject": "a"}), other])
    assert headings == ["", "a", "b", "real", "noise", "better", "n"]
    assert cells == [
        ["FD-digits-3f2a1c", "2.35 (2.10 to 2.56)", "", "0.0612", "8,812", "lower", "1,000"],
        ["agreement-digits-3f2a1c", "97.5 % (96.3 to 98.3)", "97.5 % (96.3 to 98.3)", "", "10.0 %", "higher", "1,000"],
    ]
    assert rows([Table((Metric("AM", 0.5, 0.4, 0.6, unit="nats"),))])[1][0][1] == "0.50 nats (0.40 to 0.60)"
    assert notes(Table((FD, GONE))) == ["CAS left out: no labels"]


def test_of_many_labels_the_worst_are_shown() -> None:
    many = [Metric(f"agreement/{i}", i / 20, n=5, unit="share") for i in range(20)]
    _, cells = rows([Table((FD, *many))])
    assert [row[0] for row in cells] == ["FD-digits-3f2a1c", "agreement/0", "agreement/1", "agreement/2"]
    assert len(rows([Table(tuple(many[:12]))])[1]) == 12
