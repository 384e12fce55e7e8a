"""The part of the page that shows what was understood of the data."""

from __future__ import annotations

from pydantic import ValidationError

from toolkit.data.understood import Row, Understood
from toolkit.report import run_files
from toolkit.report.facts import RunFacts
from toolkit.report.html import Markup, join, table, tag
from toolkit.run.layout import DATA

MOST_ROWS = 60
MOST_TEXT = 2_000
"""Characters of one row: a stranger's file may hold any."""


def data(facts: RunFacts) -> Markup | None:
    """Return the rows of data.json, warnings marked; None for a run without them."""
    content = run_files.json_of(facts.run, facts.run / DATA)
    if not isinstance(content, dict):
        return None
    try:
        rows = Understood(rows=content.get("rows", ())).rows[:MOST_ROWS]
    except ValidationError:
        return None
    if not rows:
        return None
    intro = tag("p", "What training understood of the data when it began.", class_="soft")
    return join([intro, table([(_name(row), row.value[:MOST_TEXT], row.change) for row in rows], HEADINGS)])


HEADINGS = ("", "what was read", "changed by")


def _name(row: Row) -> Markup:
    return join([tag("strong", f"! {row.name}")]) if row.warning else join([row.name])
