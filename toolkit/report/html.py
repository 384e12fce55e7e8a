"""HTML and SVG from Python values: text is always escaped, so what a run's files say can never become markup."""

from __future__ import annotations

import html


class Markup(str):
    """Text that is HTML already. Only this package makes it."""

    __slots__ = ()


_HARMLESS = "\n\t\u00a0\u202f\u2009\u200c\u200d"
"""Not printable by Python's count: spaces that do not break, and what joins letters in Persian and emoji."""


def clean(text: str) -> str:
    """`text` with control characters, direction marks and undecodable bytes written out; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in _HARMLESS else repr(c)[1:-1] for c in text)


def escape(value: object) -> Markup:
    """`value` as it can stand in an element or an attribute; Markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(clean(str(value))))


def join(parts: object) -> Markup:
    """Several pieces, each escaped, one after another."""
    return Markup("".join(escape(part) for part in parts))  # type: ignore[attr-defined]


VOID = {"br", "circle", "hr", "img", "line", "meta", "polyline", "rect", "source"}
"""Elements of HTML without an end, and those of SVG that we leave empty."""


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element: `tag("p", "1 < 2", class_="note")`. None children and attributes are left out; True is a bare one.

    `_` at the end of a name goes, other `_` become `-`. Raises ValueError for an attribute that could run or fetch.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if key.startswith("on") or key == "style" or (key == "href" and not str(value).startswith("#")):
            raise ValueError(f"{key}={value!r:.40} has no place in a page that asks for nothing")
        if key in ("src", "srcset") and not str(value).startswith("data:"):
            raise ValueError(f"{key}={value!r:.40} would be fetched")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(value)}"')
    start = f"<{' '.join(words)}>"
    if name in VOID:
        return Markup(start if name in ("br", "hr", "img", "meta", "source") else f"{start[:-1]}/>")
    return Markup(f"{start}{join(child for child in children if child is not None)}</{name}>")


def table(rows: object, headings: tuple[str, ...] = (), caption: str = "") -> Markup:
    """Rows of cells; the first cell of each names it. It scrolls by itself where the screen is narrow."""
    head = tag("thead", tag("tr", *(tag("th", word, scope="col") for word in headings))) if headings else None
    body = [
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in rows  # type: ignore[attr-defined]
    ]
    named = tag("caption", caption) if caption else None
    return tag("div", tag("table", named, head, tag("tbody", *body)), class_="wide")
