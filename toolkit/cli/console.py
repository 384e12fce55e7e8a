"""Tables and text that the commands print, beside the lines of toolkit/console.py."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.console import console, notify, one_line, visible

if TYPE_CHECKING:
    from rich.text import Text


JSON_FORMAT = 1
"""One more whenever a key of what --json prints goes away or means something else; docs/json.md."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
"""The flag of every command that prints a table."""


def print_table(rows: Iterable[Sequence[str | Text]], headings: Sequence[str] = ()) -> None:
    """Print one table; long cells are folded, never cut. Without headings, the first cell of a row names it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # as Text, so that brackets and :words: in a name are no markup
    cells = [[Text(visible(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if not cells and not headings:
        return
    table = Table(box=box.SIMPLE_HEAD if headings else None, show_header=bool(headings), pad_edge=False)
    for heading in headings or [""] * max(map(len, cells), default=0):
        table.add_column(Text(visible(heading)), overflow="fold")
    for row in cells:
        table.add_row(*row)
    console().print(table)


def print_result(
    as_json: bool, content: Mapping[str, Any], rows: Iterable[Sequence[str | Text]], headings: Sequence[str] = ()
) -> None:
    """Print `content` as JSON, with its format number in front, or the table that people read.

    In JSON numbers that are not finite are null, and all but ASCII is escaped, so that any terminal or pipe takes it.
    """
    if not as_json:
        print_table(rows, headings)
        return
    print(json.dumps(_finite({"format": JSON_FORMAT, **content}), indent=2, allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def notifier(as_json: bool) -> Callable[[str], None]:
    """Return `notify`, or one that prints on stderr where stdout is for JSON."""
    return (lambda text: print(one_line(text), file=sys.stderr, flush=True)) if as_json else notify


def print_text(text: str) -> None:
    """Print `text` as it is into a file or a pipe, and with its control characters written out on a terminal."""
    print(visible(text) if sys.stdout.isatty() else text, end="")
