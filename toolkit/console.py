"""Lines and live displays for whoever runs the toolkit: a console that is plain when nobody watches, one-line text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console


class CountedStep(Protocol):
    """One of so many steps."""

    @property
    def index(self) -> int: ...
    @property
    def total(self) -> int: ...


T = TypeVar("T", bound=CountedStep)

PLAIN_WIDTH = 160
"""Columns when the output is a file or a pipe, where 80 would cut paths and numbers."""


def console(stderr: bool = False) -> Console:
    """Return what has colours and live displays on a terminal, and is plain elsewhere."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    plain = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, markup=False, width=PLAIN_WIDTH if plain else None, stderr=stderr)


def track(steps: Iterable[T], doing: str) -> T:
    """Take steps, which have an `index` from 1 and a `total`, with a bar on a terminal, and return the last one."""
    from rich import progress as rich

    screen = console()
    columns = (rich.TextColumn(doing), rich.BarColumn(), rich.TaskProgressColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=None)
        for step in steps:
            bar.update(task, completed=step.index, total=step.total)
    return step


def notify(text: str) -> None:
    """Print a line for the user from inside the toolkit.

    A file on a full disk ends nothing: the line is kept, and printed with the next one that there is room for.
    """
    try:
        print(one_line(text), flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # the command line ends with this error if there is no room in the end either


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters: file names may contain any."""
    return visible(" ".join(text.split("\n")), "")


def visible(text: str, but: str = "\n\t") -> str:
    """Return `text` with control characters and marks of direction written out, all `but` line breaks and tabs."""
    return "".join(c if c.isprintable() or c in but else repr(c)[1:-1] for c in text)


def printable(text: str) -> str:
    """Return `text` with '?' for what a terminal or JSON cannot show (control characters, undecodable bytes)."""
    return "".join(c if c.isprintable() else "?" for c in text)


def duration(seconds: float) -> str:
    """75 -> "1:15", 4000 -> "1:06:40"."""
    minutes, second = divmod(round(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
