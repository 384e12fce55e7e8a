"""What the commands share: a console that is plain when nobody watches, tables, one-line text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PLAIN_WIDTH = 160
"""Columns when the output is a file or a pipe, where 80 would cut paths and numbers."""


def console() -> Console:
    """Colours and live displays on a terminal, plain text elsewhere."""
    from rich.console import Console

    plain = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, markup=False, width=PLAIN_WIDTH if plain else None)


def print_table(rows: Iterable[Sequence[str | Text]], headings: Sequence[str] = ()) -> None:
    """One table; long cells are folded, never cut. Without headings, the first cell of a row names it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # as Text, so that brackets and :words: in a name are no markup
    cells = [[Text(visible(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD if headings else None, show_header=bool(headings), pad_edge=False)
    for heading in headings or [""] * max(map(len, cells), default=0):
        table.add_column(Text(visible(heading)), overflow="fold")
    for row in cells:
        table.add_row(*row)
    console().print(table)


def notify(text: str) -> None:
    """A line for the user from inside the toolkit."""
    print(one_line(text), flush=True)


def print_text(text: str) -> None:
    """Print `text` as it is into a file or a pipe, and with its control characters written out on a terminal."""
    print(visible(text) if sys.stdout.isatty() else text, end="")


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters: file names may contain any."""
    return visible(" ".join(text.split("\n")), "")


def visible(text: str, but: str = "\n\t") -> str:
    """Return `text` with control characters and marks of direction written out, all `but` line breaks and tabs."""
    return "".join(c if c.isprintable() or c in but else repr(c)[1:-1] for c in text)


def duration(seconds: float) -> str:
    """75 -> "1:15", 4000 -> "1:06:40"."""
    minutes, second = divmod(round(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
