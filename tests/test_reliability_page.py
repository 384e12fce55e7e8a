"""docs/reliability.md names tests that exist, and has a row for each fault."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    absent = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8")]
    assert len(named) > 30 and absent == []


def test_every_row_is_proved_or_says_that_it_is_open() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row[1]) for row in rows] == list(range(1, 24))
    assert [row[1] for row in rows if "`tests/" not in row[4] and "*open*" not in "".join(row).lower()] == []
    assert all(len(row) == 7 for row in rows)
