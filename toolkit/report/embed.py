"""A modality's own page (players, texts, tables) as a part of the report.

Only elements and attributes on two short lists come through, and what they fetch must be a data URI; scripts, styles
and what is hidden until a script shows it are left out. So the file may be a stranger's.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from toolkit.report.html import VOID, Markup, escape

BUDGET = 8 << 20
"""Characters of all players and texts together."""
SLACK = 200_000
"""Bytes that may come behind the last figure that fits."""
KEPT = {
    "a": "span", "article": "div", "audio": "audio", "b": "b", "blockquote": "blockquote", "br": "br",
    "caption": "caption", "code": "code", "dd": "dd", "del": "del", "details": "details", "div": "div", "dl": "dl",
    "dt": "dt", "em": "em", "figcaption": "figcaption", "figure": "figure", "h1": None, "h2": "h3", "h3": "h4",
    "h4": "h5", "hr": "hr", "i": "i", "img": "img", "ins": "ins", "li": "li", "main": "div", "mark": "mark",
    "ol": "ol", "p": "p", "pre": "pre", "section": "section", "small": "small", "span": "span", "strong": "strong",
    "sub": "sub", "summary": "summary", "sup": "sup", "table": "table", "tbody": "tbody", "td": "td", "th": "th",
    "thead": "thead", "tr": "tr", "u": "u", "ul": "ul",
}  # fmt: skip
"""Replacements of elements; headings go below ours, and None goes with all that is in it."""
DROPPED = {
    "button", "head", "iframe", "math", "noscript", "object", "script", "select", "style", "svg", "template",
    "textarea", "title", "video",
}  # fmt: skip
"""Elements that go with all that is in them."""
DEEPEST = 100
"""Elements within each other."""
EMPTY = {*VOID, "area", "base", "col", "embed", "input", "link", "track", "wbr"}
"""Elements that have no end."""
ATTRIBUTES = {
    "img": ("width", "height", "alt"), "audio": ("aria-label",), "td": ("colspan", "rowspan"),
    "th": ("colspan", "rowspan", "scope"),
}  # fmt: skip
_SOURCE = re.compile(r"data:(image/(png|jpeg|webp|gif)|audio/[a-z0-9.+-]{1,20});base64,[A-Za-z0-9+/=]+")
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")


def inlay(page: str) -> tuple[Markup, int]:
    """The body of a page as HTML that needs nothing and runs nothing, and how many figures did not fit."""
    parser = _Filter()
    parser.feed(page)
    parser.close()
    return parser.finish()


class _Filter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.size = 0
        self.left_out = 0
        self.open: list[tuple[str, str]] = []
        """Elements that are open: what the page called them, and what we do."""
        self.dropping: list[str] = []
        """The element that is left out, and those in it."""
        self.folded = False
        self.section = -1
        """Index in `out` at which the last section began."""
        self.figure: tuple[int, int, int] | None = None
        """Start of the open figure: in `out`, in `size`, in `open`."""

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        if self.dropping or "hidden" in attributes or name in DROPPED or KEPT.get(name, name) is None:
            if name not in EMPTY and len(self.dropping) < DEEPEST:
                self.dropping.append(name)
            return
        ours = KEPT.get(name)
        if ours is None or len(self.open) >= DEEPEST:
            return  # the contents stay
        words = [ours]
        if classes := " ".join(f"in-{word}" for word in attributes.get("class", "").split() if _CLASS.fullmatch(word)):
            words.append(f'class="{classes}"')
        words += [f'{key}="{escape(attributes[key])}"' for key in ATTRIBUTES.get(ours, ()) if key in attributes]
        if ours in ("img", "audio"):
            source = attributes.get("src", "")
            if not _SOURCE.fullmatch(source) or not source.startswith(
                "data:image/" if ours == "img" else "data:audio/"
            ):
                return
            words.append(f'src="{source}"')
        if ours == "audio":
            words += ["controls", 'preload="none"']
        if name == "section":
            self.section = len(self.out)
        elif (
            ours == "h3"
            and self.open
            and self.open[-1][0] == "section"
            and not "".join(self.out[self.section + 1 :]).strip()
        ):
            words[0] = ours = self._fold()
        if ours == "figure" and self.figure is None:
            self.figure = (len(self.out), self.size, len(self.open))
        self._add(f"<{' '.join(words)}>")
        if ours not in VOID:
            self.open.append((name, ours))

    def handle_endtag(self, name: str) -> None:
        if self.dropping:
            if name in self.dropping:
                while self.dropping.pop() != name:
                    pass
        elif any(name == theirs for theirs, _ in self.open):
            while self._close() != name:
                pass

    def handle_data(self, data: str) -> None:
        if not self.dropping:
            self._add(escape(data))

    def finish(self) -> tuple[Markup, int]:
        """Return the accepted part, with all its elements closed, and the number of figures that did not fit."""
        while self.open:
            self._close()
        whole = "".join(self.out)
        # text without figures can be too long too, and there is no good place to cut it
        return (Markup(whole), self.left_out) if len(whole) <= BUDGET + SLACK else (Markup(""), self.left_out + 1)

    def _add(self, text: str) -> None:
        self.out.append(text)
        self.size += len(text)

    def _close(self) -> str:
        """End the innermost element, and say what the page called it."""
        theirs, ours = self.open.pop()
        self._add(f"</{ours}>")
        if self.figure is not None and len(self.open) == self.figure[2]:
            start, size, _ = self.figure
            self.figure = None
            if self.size > BUDGET:
                del self.out[start:]
                self.size, self.left_out = size, self.left_out + 1
        return theirs

    def _fold(self) -> str:
        """A section that begins with a heading can be folded: the first is open, so there is something to see."""
        self.out[self.section] = self.out[self.section].replace(
            "<section", "<details" if self.folded else "<details open", 1
        )
        self.folded = True
        self.open[-1] = ("section", "details")
        return "summary"
