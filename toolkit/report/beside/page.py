"""The page: columns for the runs and what is real, a row for each label and seed, and blind tests of any two columns.

Without the script its players, pictures and texts still stand side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from toolkit.report.beside.rows import REAL, Row, Side
from toolkit.report.beside.script import SCRIPT
from toolkit.report.beside.script import STYLE as OWN_STYLE
from toolkit.report.html import Markup, clean, join, tag
from toolkit.report.style import STYLE as COMMON_STYLE
from toolkit.standalone import document, uri
from toolkit.view import Shown

STYLE = COMMON_STYLE + OWN_STYLE


def page(title: str, sides: Sequence[Side], rows: Sequence[Row], seed: int) -> str:
    """Return the whole document. sides: the columns in their order; rows: what stands in them."""
    heads = [tag("li", tag("b", side.name), f": {side.what}") for side in sides]
    figures = [_row(i, row, sides) for i, row in enumerate(rows)]
    header = tag(
        "header",
        tag("h1", title),
        tag("ul", *heads, class_="columns"),
        tag("p", _explanation(rows, seed), class_="soft"),
    )
    main = tag("main", _tests(sides), tag("div", id="desk", aria_live="polite"), *figures)
    return document(clean(title), STYLE, join([header, main]), SCRIPT)


def _explanation(rows: Sequence[Row], seed: int) -> str:
    sound = any(shown.sound for row in rows for shown in row.shown.values())
    each = f"Each row has one label and one noise (seed {seed}, and the number of the row)"
    return each + (
        "; the sounds of a row play together in a loop, and you hear the one that you choose." if sound else "."
    )


def _tests(sides: Sequence[Side]) -> Markup:
    """Return a button for each pair of columns."""
    buttons = []
    for first, second in itertools.combinations([side.name for side in sides], 2):
        real = REAL in (first, second)
        question = f"{first} or real: which one is real?" if real else f"{first} or {second}: which one is better?"
        buttons.append(tag("button", question, data_first=first, data_second=second, data_goal=REAL if real else ""))
    why = "A blind test hides which is which, asks for each row, and says how sure the answer is."
    return tag("section", tag("h2", "Blind tests"), tag("p", why), *buttons, id="ask", hidden=True)


def _row(number: int, row: Row, sides: Sequence[Side]) -> Markup:
    figures = [_figure(side.name, row, row.shown[side.name]) for side in sides if side.name in row.shown]
    head = tag("h3", row.label or f"{number}", tag("small", f" {number}") if row.label else None)
    return tag("div", head, *figures, class_="row", data_label=row.label)


def _figure(side: str, row: Row, shown: Shown) -> Markup:
    parts: list[Markup] = [tag("figcaption", side)]
    if shown.picture:
        kind = "waveform and spectrogram" if shown.sound else "picture"
        alt = " ".join(word for word in (side, row.label, kind) if word)
        style = "still" if shown.sound else None
        parts.append(tag("img", src=uri("image/png", shown.picture), alt=alt, class_=style))
    if shown.sound:
        parts.append(tag("audio", src=uri("audio/wav", shown.sound), controls=True, preload="none", aria_label=side))
    if shown.text:
        parts.append(tag("pre", shown.text))
    return tag("figure", *parts, data_side=side)
