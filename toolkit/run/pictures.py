"""Moments at which a run draws, on the way and at its end. previews.py has what a picture is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.diffusion.adaptive import Adaptive
from toolkit.diffusion.top import without_top
from toolkit.errors import Interrupted, StorageError
from toolkit.run import previews
from toolkit.run.events import Event, Finished, Preview
from toolkit.run.layout import PREVIEWS
from toolkit.training.budget import PASSES
from toolkit.training.storage.signals import Signals, StopAsked

if TYPE_CHECKING:
    from toolkit.run.train import TrainingRun


def shares(run: TrainingRun) -> list[float]:
    """Return the shares of the training after which to draw: closer together in the beginning, when most happens."""
    n = run.recipe.train.previews
    return [(i / n) ** 1.5 for i in range(1, n)]


def count_reached(run: TrainingRun) -> int:
    """Return how many of `shares` are reached, to the nearest step; the first step is the first to draw."""
    at = run.course.progress(run.state.step + 0.5) if run.state.step else 0.0
    return sum(share <= at for share in shares(run))


def work_of(run: TrainingRun, n: int) -> float:
    """Return how many training steps take as long as n samples."""
    return n * previews.calls(run.recipe) / (PASSES * run.config.batch)


def preview(run: TrainingRun, name: str, n: int, signals: Signals) -> Iterator[Event]:
    """Draw a picture on the way. A stop leaves it, and so does a disk that does not take it."""
    drawn = None
    with suppress(StopAsked), run.spared.file("preview"), signals.at_once():
        drawn = run.draw(name, n, signals.heed)
    if drawn is not None:
        yield Preview(*drawn)


def last_pictures(run: TrainingRun) -> list[Path]:
    """Return the pictures of the end: the first two are drawn together, the page first, and so are the next two."""
    folder = run.out / PREVIEWS
    names = ["final.html", "final.png", "noise-to-sample.png", "noise-to-sample.gif"]
    if isinstance(without_top(run.state.time_distribution), Adaptive):
        before = "time-law.png"  # its name in older runs
        names.append(before if (folder / before).is_file() else "time-distribution.png")
    return [folder / name for name in names]


def finish(run: TrainingRun, signals: Signals) -> Iterator[Event]:
    """Draw the pictures of the end that are not there. Raises Interrupted, and StorageError when something is missing
    in the end."""
    page, last, strip, moving, *times = last_pictures(run)
    kinds, spared, drawn = run.amounts(), run.spared, None
    spared.missing.pop("preview", None)  # it was on the way; what counts is the end
    try:
        if not last.is_file():
            with spared.file(last.name), signals.at_once():
                drawn = run.draw(last.name, kinds.final, signals.heed)
            if drawn is not None and drawn[1]:
                yield Preview(*drawn)
        if not moving.is_file():
            with spared.file(moving.name), signals.at_once():
                previews.film(run.generator(), strip.with_suffix(""), kinds.film, signals.heed)
        if isinstance(learned := without_top(run.state.time_distribution), Adaptive):
            with spared.file(times[0].name), signals.at_once():
                previews.draw_times(learned, times[0])
    except StopAsked:
        assert signals.stop is not None
        absent = ", ".join(path.name for path in (last, moving) if not path.is_file())
        raise Interrupted(
            signals.stop,
            f"training is finished, after step {run.state.step:,}, and saved in {run.out}; stopped before all of "
            f"its pictures were drawn ({absent}). The same command again draws them",
        ) from None
    yield from spared.take_notes()
    if spared.missing:
        error = next(iter(spared.missing.values()))
        raise StorageError(
            f"training is finished, and saved in {run.out}, but this is missing: {', '.join(spared.missing)} "
            f"({error}); the same command again draws missing pictures"
        )
    yield Finished(run.out, [path for path in (page, last, strip, moving, *times) if path.is_file()])
