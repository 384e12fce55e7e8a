"""A run in a notebook: a bar, its lines and its newest picture in one output, and pictures as HTML."""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from toolkit.run.events import Event, Finished, Preview, Progress
from toolkit.standalone import uri

SECONDS = 0.5
"""Between two drawings of the bar."""
LINES = 12
"""The newest lines that are shown."""
MAX_BYTES = 4_000_000
"""Largest size of an embedded picture."""


def display() -> Any:
    """Return IPython.display inside a notebook, and None elsewhere, a terminal with IPython included."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return importlib.import_module("IPython.display") if hasattr(shell, "kernel") else None


def image(picture: Path | bytes, about: str) -> str:
    """Return a PNG or GIF as HTML that needs no file; "" for a file that is none or is too large."""
    kind = "png"
    if isinstance(picture, Path):
        kind = picture.suffix[1:]
        if kind not in ("png", "gif") or not picture.is_file() or picture.stat().st_size > MAX_BYTES:
            return ""
        picture = picture.read_bytes()
    return f'<img alt="{html.escape(about)}" src="{uri(f"image/{kind}", picture)}">'


def show(
    events: Iterable[Event],
    screen: Any,
    figures: Callable[[Progress], str],
    tell: Callable[[Event, Callable[[str], None]], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Draw events until they end into one output of `screen`, which is what `display` gave.

    `figures`: the text beside the bar; `tell`: another event as lines.
    """
    handle = screen.display(screen.HTML(""), display_id=True)
    lines: list[str] = []
    bar, picture, drawn = "", "", float("-inf")
    for event in events:
        if isinstance(event, Progress):
            bar = f'<progress value="{event.step}" max="{event.total}"></progress> '
            bar += f"<code>{event.step:,}/{event.total:,} {html.escape(figures(event))}</code>"
            if clock() - drawn < SECONDS and event.step < event.total:
                continue
            drawn = clock()
        else:
            tell(event, lines.append)
            paths = event.pictures if isinstance(event, Finished) else []
            paths = [event.path] if isinstance(event, Preview) else paths
            picture = next(filter(None, (image(path, path.name) for path in paths)), picture)
        text = html.escape("\n".join(lines[-LINES:]))
        handle.update(screen.HTML(f"<div>{bar}</div><pre>{text}</pre>{picture}"))
