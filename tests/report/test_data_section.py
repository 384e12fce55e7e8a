"""The part of the page about the data: its rows, its warnings, and what a stranger may have written there."""

from __future__ import annotations

import json
from pathlib import Path

from tests.report.runs import make_run
from toolkit.report import data_section
from toolkit.report.facts import gather
from toolkit.report.page import page


def test_rows_and_warnings_stand_in_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    rows = [
        {"name": "files", "value": "9 read: .png"},
        {"name": "sizes", "value": "<b>large</b>", "change": "--size 64", "warning": True},
    ]
    (run / "data.json").write_text(json.dumps({"format": 1, "toolkit": "9", "rows": rows, "proposals": {}}))
    text = page(gather(run))
    assert 'id="data"' in text and "9 read: .png" in text and "<strong>! sizes</strong>" in text
    assert "&lt;b&gt;large&lt;/b&gt;" in text and "--size 64" in text and "<b>large" not in text


def test_what_is_no_block_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert data_section.data(gather(run)) is None
    for content in ("[]", "{", '{"rows": 3}', '{"rows": [{"name": 1}]}', '{"rows": []}', '{"rows": [{"nom": "x"}]}'):
        (run / "data.json").write_text(content)
        assert data_section.data(gather(run)) is None
