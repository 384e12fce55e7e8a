"""A run as the user sees it: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from toolkit.cli.console import console, duration, notify, one_line

if TYPE_CHECKING:
    from toolkit.run.prepare import Event, Progress

PLAIN_SECONDS = 10.0
"""Between two lines when there is no terminal."""


def show(events: Iterable[Event], clock: Callable[[], float] = time.monotonic) -> None:
    """Draw the events of a run until it ends."""
    if console().is_terminal:
        _live(events)
    else:
        _plain(events, clock)


def _plain(events: Iterable[Event], clock: Callable[[], float]) -> None:
    from toolkit.run.prepare import Progress

    last = float("-inf")
    for event in events:
        if not isinstance(event, Progress):
            _tell(event, notify)
        elif clock() - last >= PLAIN_SECONDS or event.step >= event.total:
            last = clock()
            notify(f"step {event.step:,}/{event.total:,}  {_figures(event)}")


def _live(events: Iterable[Event]) -> None:
    from rich import progress as rich

    from toolkit.run.prepare import Progress

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
    from toolkit.run import prepare

    if isinstance(event, prepare.Saved):
        say(f"saved step {event.step:,}: {event.path}")
    elif isinstance(event, prepare.Preview):
        for line in event.lines:
            say(line)
        say(f"preview: {event.path}")
    elif isinstance(event, prepare.Note):
        say(event.text)
    elif isinstance(event, prepare.Finished):
        for path in event.pictures:
            say(f"{'page' if path.suffix == '.html' else 'picture'}: {path}")
        say(f"next: toolkit sample {shlex.quote(str(event.run))} -n 64")
