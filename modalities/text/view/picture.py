"""Texts as a picture, as lines for a terminal, and as a page."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import PIL.Image

_COLUMNS, _MOST = 3, 24
"""Texts side by side, and texts in a picture."""
_WIDE = 46
"""Characters in a line."""
_SIZE, _LINE, _GAP = 14, 18, 16
_INK, _FAINT = "#1d1d1f", "#9a9aa2"
SHORT = 24
"""Characters of the longest text for which texts go into one list."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --faint: #6b6b70; --paper: #fafafa; --card: #fff; --line: #ddd }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --faint: #a0a0a8; --paper: #16161a; --card: #222228;
  --line: #3a3a42 } }
body { margin: 0 auto; max-width: 1200px; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem }
.texts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: .7rem }
pre { margin: 0; padding: .6rem .8rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem }
small { color: var(--faint); display: block; margin-bottom: .3rem; font-family: system-ui, sans-serif }
"""


def lines(texts: Sequence[str], labels: Sequence[str] = ()) -> list[str]:
    """Return lines for a terminal: one text after another, control characters made visible, none wrapped."""
    rows = []
    for i, text in enumerate(texts):
        label = f"[{visible(labels[i])}] " if labels else ""
        rows += [label + visible(line) for line in text.split("\n")]
        if any("\n" in other for other in texts) or len(text) > 2 * SHORT:
            rows.append("")
    return rows


def visible(text: str) -> str:
    """Return `text` with every character that would move a cursor or change a terminal replaced by a picture of it."""
    table = {code: 0x2400 + code for code in range(32) if code != 9} | {127: 0x2421}
    safe = text.translate(table)
    return "".join(c if c.isprintable() or c == "\t" or "\u2400" <= c <= "\u2421" else "\ufffd" for c in safe)


def preview(texts: Sequence[str], labels: Sequence[str] = (), across: int = _COLUMNS) -> PIL.Image.Image:
    """Draw at most 24 texts, `across` of them in a row, in fixed-width letters and lines of at most 46."""
    texts = texts[:_MOST]
    blocks = []
    for i, text in enumerate(texts):
        wrapped = [part for line in text.split("\n") for part in textwrap.wrap(
            visible(line), _WIDE, drop_whitespace=False, replace_whitespace=False) or [""]]  # fmt: skip
        blocks.append(([f"[{visible(labels[i])[: _WIDE - 2]}]"] if labels else []) + wrapped)
    columns = min(across, len(texts))
    rows = math.ceil(len(texts) / columns)
    font = _font()
    wide = round(_WIDE * font.getlength("M")) + _GAP
    heights = [_LINE * max(len(b) for b in blocks[r * columns : (r + 1) * columns]) + _GAP for r in range(rows)]
    image = PIL.Image.new("RGB", (columns * wide + _GAP, sum(heights) + _GAP), "white")
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    for i, block in enumerate(blocks):
        x = _GAP + i % columns * wide
        y = _GAP + sum(heights[: i // columns])
        pen.line((x - _GAP // 2, y, x - _GAP // 2, y + _LINE * len(block)), fill="#dddddd")
        for j, line in enumerate(block):
            pen.text((x, y + j * _LINE), line, font=font, fill=_FAINT if labels and j == 0 else _INK)
    return image


def strip(moments: Sequence[Sequence[str]], titles: Sequence[str] = ()) -> PIL.Image.Image:
    """Draw the first two texts of each moment, one row a moment."""
    texts = [text for moment in moments for text in moment[:2]]
    labels = [title for title in titles for _ in range(min(2, len(moments[0])))] if titles else []
    return preview(texts[:_MOST], labels[:_MOST], across=min(2, len(moments[0])))


def page(texts: Sequence[str], labels: Sequence[str], real: Sequence[str] = (), names: Sequence[str] = ()) -> str:
    """Return a page of generated texts, with real ones below, that fetches nothing."""
    parts = ["<h1>Generated texts</h1>", _cards(texts, labels)]
    if real:
        parts += ["<h2>Real ones, for comparison</h2>", _cards(real, names)]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Texts</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _cards(texts: Sequence[str], labels: Sequence[str]) -> str:
    if max(map(len, texts), default=0) <= SHORT and not labels:
        return f"<pre>\n{html.escape(chr(10).join(texts))}</pre>"
    cards = []
    for i, text in enumerate(texts):
        # a browser drops one line break after <pre>, which must not be the text's own
        label = f"<small>{html.escape(labels[i])}</small>" if labels else "\n"
        cards.append(f"<pre>{label}{html.escape(text)}</pre>")
    return f'<div class="texts">{"".join(cards)}</div>'


def _font() -> PIL.ImageFont.FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    # matplotlib brings a font with all of Latin, Greek and Cyrillic, so that no system font is needed
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"), _SIZE)
