"""ABC notation: what is a tune, and which bars are full. With music21 only (the extra abc)."""

from __future__ import annotations

import pytest

from modalities.text.evaluate import abc_metrics

pytest.importorskip("music21")
HEAD = "M:3/4\nL:1/4\nK:G\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HEAD + "D | G2 B | d2 c | B3 | G3 |]", (True, 3, 3)),  # pick-up and last bar are not counted
        (HEAD + "G2 B | d2 c2 | B3 | G | G3 |]", (True, 1, 3)),
        (HEAD + "G2 B | d/2e/2 d c | B3 |]", (True, 1, 1)),
        ("L:1/4\nK:G\nG2 B | d2 c | B3 |]", (False, 0, 0)),  # no metre
        ("to be or not to be", (False, 0, 0)),
        ("", (False, 0, 0)),
    ],
)
def test_bars_are_counted_as_a_musician_would(text: str, found: tuple[bool, int, int]) -> None:
    assert abc_metrics.check(text) == found


def test_figures_stand_beside_held_out_tunes() -> None:
    good, bad = HEAD + "G2 B | d2 c | B3 |]", HEAD + "G2 B | d c | B3 |]"
    rows = abc_metrics.describe([bad, bad, good, "x"], [good, good, good, good])
    assert [(row.name, row.value, row.reference) for row in rows] == [
        ("tunes that parse", 0.75, 1.0),
        ("bars that add up", 1 / 3, 1.0),
    ]
