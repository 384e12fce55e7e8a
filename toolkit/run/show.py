"""A run as the user sees it: a live bar on a terminal and in a notebook, a plain line now and then elsewhere."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable

from toolkit.console import console, duration, notify, one_line
from toolkit.run import notebook
from toolkit.run.events import Event, Finished, Note, Preview, Progress, Saved

PLAIN_SECONDS = 10.0
"""Between two lines when there is no terminal."""


def show(
    events: Iterable[Event], clock: Callable[[], float] = time.monotonic, say: Callable[[str], None] | None = None
) -> None:
    """Draw the events of a run until it ends; with `say`, it is given plain lines wherever this runs."""
    screen = notebook.display() if say is None and "IPython" in sys.modules else None
    if screen is not None:
        notebook.show(events, screen, _figures, _tell, clock)
    elif say is None and console().is_terminal:
        _live(events)
    else:
        _plain(events, clock, say or notify)


def _plain(events: Iterable[Event], clock: Callable[[], float], say: Callable[[str], None]) -> None:
    last = float("-inf")
    for event in events:
        if not isinstance(event, Progress):
            _tell(event, say)
        elif clock() - last >= PLAIN_SECONDS or event.step >= event.total:
            last = clock()
            say(f"step {event.step:,}/{event.total:,}  {_figures(event)}")


def _live(events: Iterable[Event]) -> None:
    from rich import progress as rich

    screen = console()
    columns = (
        rich.TextColumn("training"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[figures]}"),
    )
    with rich.Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("", total=None, figures="measuring the speed")
        for event in events:
            if isinstance(event, Progress):
                bar.update(task, completed=event.step, total=event.total, figures=_figures(event))
            else:
                _tell(event, lambda text: screen.print(one_line(text), soft_wrap=True))


def _figures(event: Progress) -> str:
    parts = [f"loss {event.loss:.4f}"]
    if event.held_out is not None:
        floor = "" if event.floor is None else f" (floor {event.floor:.4f})"
        parts.append(f"held-out {event.held_out:.4f}{floor}")
    return "  ".join([*parts, f"{event.per_second:,.0f} examples/s", f"{duration(event.seconds_left)} left"])


def _tell(event: Event, say: Callable[[str], None]) -> None:
    if isinstance(event, Saved):
        say(f"saved step {event.step:,}: {event.path}")
    elif isinstance(event, Preview):
        for line in event.lines:
            say(line)
        say(f"preview: {event.path}")
    elif isinstance(event, Note):
        say(event.text)
    elif isinstance(event, Finished):
        for path in event.pictures:
            say(f"{'page' if path.suffix == '.html' else 'picture'}: {path}")
        say(f"next: toolkit sample {shlex.quote(str(event.run))} -n 64")
