"""One training run in a folder: prepare it, or train it from Python.

`prepare(...)` reads the data, measures the machine and finds what is in the folder already; `TrainingRun.run()`
(train.py) trains.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from toolkit import paths
from toolkit import recipe as recipes
from toolkit.console import notify as tell
from toolkit.data.dataset import Facts
from toolkit.data.understood import table
from toolkit.device import pick
from toolkit.errors import UsageError
from toolkit.recipe import Recipe, Train, build, choose, objects, trust
from toolkit.run import data_block, layout, levels, previews, weights
from toolkit.run.events import Event, Finished, Note, Preview, Progress, Saved
from toolkit.run.generator import Generator, load
from toolkit.run.protected import read_run
from toolkit.run.show import show
from toolkit.run.train import TrainingRun
from toolkit.training import loop
from toolkit.training.batches import Batches
from toolkit.training.budget import PASSES
from toolkit.training.course import Course
from toolkit.training.probe import Probe, probe
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.threads import candidates, using

NOT_PART_OF_A_RUN = {
    *("train.minutes", "train.previews", "train.checkpoint_minutes", "train.keep", "train.threads", "description")
}
"""Keys that may change when a run is resumed: they do not touch its numbers, but for the last digits."""
_HOW_LONG = "how long? give --minutes or --steps, or set train.minutes in the recipe"


def prepare(
    recipe: str | os.PathLike[str] | Recipe | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str | None = None,
    notify: Callable[[str], None] = print,
    threads: int | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    follow_data: bool = False,
    **options: Any,
) -> TrainingRun:
    """Open the data, build the network, resume what is in `out`, and measure the speed: all but training.

    The arguments are those of `train`; `for event in prepare("image/digits", steps=300): ...` trains, event by event.
    Writes only to the cache. Raises UsageError when `out` holds a different run, DataError when the data is unusable.
    """
    where = pick(device)  # before anything that takes long
    if isinstance(recipe, Recipe) and data is None and not options:
        start = recipe
    else:
        start = choose.choose(recipe, data=data, notify=notify, **options)
    named = choose.name_of(start, None if data is None else os.fspath(data))
    folder = Path("runs") / named if out is None else Path(out).expanduser()
    return _open(start, folder, where, notify, threads, follow_data)


def _open(
    recipe: Recipe, out: Path, where: torch.device, notify: Callable[[str], None], threads: int | None, follow: bool
) -> TrainingRun:
    kind = trust.modality_of(recipe)
    paths.check_writable(out)
    before = _earlier(recipe, out, notify)
    build.check(recipe)
    if before is None and recipe.train.steps is None and recipe.train.minutes is None:
        raise UsageError(_HOW_LONG)
    modality = kind(*recipes.validate_for(recipe, kind))
    facts = modality.open(paths.cache(), notify)
    if before is not None:
        modality.learn(**dict(data_block.check_same(before[1], facts, out, follow)))
    facts = levels.follow(modality, recipe, None if before is None else before[1], notify)
    weights.require_to_train(recipe, modality, where)
    denoiser = build.denoiser(recipe, modality).to(where)
    examples = modality.dataset("train")
    batches = Batches(
        modality, examples, recipe.train.batch, recipe.train.seed, recipe.diffusion.label_drop, recipe.train.balance
    )

    def configure(steps: int, channels_last: bool) -> loop.Config:
        return build.fit_config(recipe, denoiser, facts, steps, where, channels_last)

    spans = weights.spans(denoiser.net, len(recipe.train.ema))
    checkpoint = CheckpointStore(out / layout.CHECKPOINTS).load(notify=notify, spans=spans)
    # a resumed run keeps the layout and the threads that it began with: others round differently
    earlier = (before[0] if before is not None else recipe).train
    known_layout = None if earlier.layout == "auto" else earlier.layout == "channels-last"
    known = (
        threads or recipe.train.threads or earlier.threads or (checkpoint.threads if checkpoint is not None else None)
    )
    measured = probe(denoiser, batches, configure, notify, known_layout, candidates(known, where, notify))
    longer = before is not None and _longer(earlier, recipe.train)
    steps = recipe.train.steps if recipe.train.steps is not None or longer else earlier.steps
    found_layout = "channels-last" if measured.channels_last else "channels-first"
    recipe = recipes.replace(
        recipe, {"train.steps": steps, "train.layout": found_layout, "train.threads": measured.threads}
    )
    config = configure(steps or _fitting(recipe, measured, modality.view().counts), measured.channels_last)
    state = loop.start(denoiser, config)
    if checkpoint is not None:
        with using(measured.threads):
            for line in filter(None, (checkpoint.drift, checkpoint.version_note)):
                notify(line)
        state.restore(checkpoint.groups, checkpoint.state)
    if state.course is None:
        state.course = Course.of(config.steps)
    elif longer and state.step >= state.course.steps:
        # it had come to its end, and to a learning rate of 0: the longer course begins anew, and is at this step by now
        state.course = Course.of(steps or state.step + _more(recipe, measured, state.spent))
        now = config.lr_at(state.step, state.course)
        notify(
            f"goes on from step {state.step:,} to about {state.course.steps:,}; the learning rate is {now:.2g} again"
        )
    elif steps is not None and state.step < steps != state.course.steps:  # the checkpoints after it are gone
        state.course = state.course.correct(state.step, steps)
    if state.step >= state.course.steps:
        notify(f"this run is finished, after step {state.step:,}; it goes on when more --steps or --minutes are asked")
    return TrainingRun(recipe, out, modality, state, config, batches, measured, checkpoint is not None, notify)


def train(
    recipe: str | os.PathLike[str] | Recipe | None = None,
    minutes: float | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str | None = None,
    notify: Callable[[str], None] | None = None,
    threads: int | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> Generator:
    """Train a recipe to its end and return the generator: `toolkit.train("image/digits", minutes=10)`.

    What `toolkit train` takes on the command line, by the same names. The same call again resumes, in `out`, by default
    runs/NAME.

    recipe: a name, a .toml file, a `Recipe`, or a modality; modality: "image", "./mine.py", needed where a recipe names
        code that is not ours.
    data: a folder or the name of a data set.
    follow_data: go on with a run whose data has changed.
    minutes or steps: of the whole run. batch, seed: as in [train].
    size, rate, preset, ...: any key of the modality's [data] and [model] sections.
    settings: values at dotted keys of the recipe, {"train.lr": 3e-4}; train__lr=3e-4 is the same.
    network: a `torch.nn.Module` or a function (modality) -> one. denoiser: a `Denoiser`, or a function (network,
        schedule) -> one. loss: a function (denoiser, x, t, eps, cond) -> (B,). schedule, time (a `TimeDistribution`),
        weighting, sampler, grid: names or objects. Objects are copied; recipe.toml says what stood there, and
        `load` must be given those again that the denoiser is made of.

    progress: a bar on a terminal and in a notebook, lines elsewhere; False: nothing is printed. notify: takes these as
        lines instead. Raises UsageError, DataError, and what a run raises.
    """
    say = notify or (tell if progress else _silent)
    run = prepare(recipe, out, device, say, threads, minutes=minutes, **options)
    if progress:
        for name, value in table(run.understood()):
            say(f"{name}: {value}")
        show(run, say=notify)
    else:
        for event in run:
            if isinstance(event, Note):
                say(event.text)
    return load(run.out, device, notify=say, modality=run.recipe.modality, **objects.to_load(run.recipe))


def _silent(text: str) -> None:
    pass


def _earlier(recipe: Recipe, out: Path, notify: Callable[[str], None]) -> tuple[Recipe, Facts] | None:
    """The run that is in `out` already, if it is this one. Raises UsageError if it is another."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    layout.refuse_links(out)
    if layout.newborn(out):
        if (out / layout.RECIPE).is_file():
            _refuse_another(recipes.load(out / layout.RECIPE), recipe, out)
        return None
    if not (out / layout.RECIPE).is_file() and not CheckpointStore(out / layout.CHECKPOINTS).steps():
        raise UsageError(f"{out} exists and is no run folder; choose another --out")
    before, facts = read_run(out, notify)
    _refuse_another(before, recipe, out)
    return before, facts


def _refuse_another(before: Recipe, recipe: Recipe, out: Path) -> None:
    """Raise UsageError unless the recipe goes on with the one before, which is in `out`."""
    ignored = NOT_PART_OF_A_RUN | ({"train.steps"} if recipe.train.steps is None else set())
    ignored |= {"train.layout"} if recipe.train.layout == "auto" else set()
    ignored |= {"train.steps"} if _longer(before.train, recipe.train) else set()
    changed = recipes.difference(before, recipe)
    differing = [key for key in changed if key not in ignored]
    if differing:
        raise UsageError(
            f"{out} holds a run of another recipe (differs in {', '.join(differing[:5])}); "
            f"choose another --out, or go on with the recipe in it: --recipe {out / 'recipe.toml'}"
        )


def _longer(before: Train, now: Train) -> bool:
    """Return True where more is asked of a run than it was made for: more steps, or more minutes in all."""
    if now.steps is not None:
        return before.steps is not None and now.steps > before.steps
    return before.steps is not None and (now.minutes or 0.0) > (before.minutes or math.inf)


def _more(recipe: Recipe, measured: Probe, spent: float) -> int:
    """Steps that fit into what is left of the minutes, at least one: to be corrected on the way."""
    return max(1, int(0.97 * max(0.0, 60 * (recipe.train.minutes or 0.0) - spent) * measured.steps_per_second))


def _fitting(recipe: Recipe, measured: Probe, shown: tuple[int, int]) -> int:
    """Steps that should fit into the time, less what pictures and checkpoints take: the first plan, to be corrected."""
    if recipe.train.minutes is None:
        raise UsageError(_HOW_LONG)
    steps = 60 * recipe.train.minutes * measured.steps_per_second
    kinds = previews.amounts(recipe, shown, int(steps))
    drawn = max(0, recipe.train.previews - 1) * kinds.preview + kinds.final + kinds.film
    work = drawn * previews.calls(recipe) / (PASSES * recipe.train.batch)
    return max(2, int(max(0.5 * steps, 0.97 * steps - work)))


__all__ = ["Event", "Finished", "Note", "Preview", "Progress", "Saved", "prepare", "train"]
