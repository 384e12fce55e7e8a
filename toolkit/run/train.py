"""A training run in its folder: what it will take, its steps and pictures, and how it ends.

`TrainingRun.run()` yields events, and whoever iterates shows them. `toolkit.run.prepare.prepare` makes a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from toolkit import recipe as recipes
from toolkit.data.understood import Understood
from toolkit.errors import Interrupted, NotFiniteError
from toolkit.modality import Modality
from toolkit.recipe import Recipe, build
from toolkit.recipe.format import stamp
from toolkit.run import pictures, plan, previews, protected
from toolkit.run.data_block import with_passes
from toolkit.run.events import Event, Note, Progress, Saved
from toolkit.run.generator import Generator
from toolkit.run.layout import CHECKPOINTS, DATA, FACTS, MACHINE, METRICS, PREVIEWS, RECIPE, refuse_links, sweep
from toolkit.run.monitor import Monitor
from toolkit.run.spared import SpareFiles
from toolkit.run.weights import load_ema_weights, resolve_ema_width
from toolkit.training import loop
from toolkit.training.batches import Batches
from toolkit.training.budget import Budget
from toolkit.training.course import Course
from toolkit.training.precision import machine
from toolkit.training.probe import Probe
from toolkit.training.rollback import ROLLBACK_AFTER, roll_back
from toolkit.training.spikes import Spikes
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.storage.files import json_bytes, make_folder, write_json_atomic
from toolkit.training.storage.lock import RunLock
from toolkit.training.storage.metrics import Metrics
from toolkit.training.storage.signals import Signals, StopAsked
from toolkit.training.threads import using

LOG_EVERY = 10
"""Steps between lines of metrics.jsonl."""
CHEAP, SAVING = 0.2, 0.02
"""Seconds, and share of the time since the last checkpoint, that one more may take because the held-out loss is the
lowest so far."""


@dataclass
class TrainingRun:
    """A run that is ready to start or to go on."""

    recipe: Recipe
    """Resolved. Without train.steps the run goes by the clock, and they are set at its end."""
    out: Path
    modality: Modality
    state: loop.State
    """State of the training; its course is set."""
    config: loop.Config
    batches: Batches
    probe: Probe
    resumed: bool
    notify: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _saved: tuple[int, float] = field(default=(-1, 0.0), init=False)
    """Step of the last checkpoint, and when one was saved, or tried to be, by the clock."""
    spared: SpareFiles = field(default_factory=SpareFiles, init=False)

    def __iter__(self) -> Iterator[Event]:
        """The same as `run()`: train, event by event."""
        return self.run()

    @property
    def course(self) -> Course:
        """Steps, as planned by now."""
        return self.state.course or Course.of(self.config.steps)

    @property
    def seconds(self) -> float | None:
        """The time for the whole run, or None when its steps are given."""
        minutes = self.recipe.train.minutes
        return None if self.recipe.train.steps is not None or minutes is None else 60 * minutes

    def understood(self) -> Understood:
        """Return what was understood of the data, and how often the plan passes over it."""
        splits, train = self.modality.splits, self.recipe.train
        block = Understood() if splits is None else splits.understood
        return with_passes(block, self.modality.facts.count, self.course.steps * train.batch, train.minutes)

    def describe(self) -> list[tuple[str, str]]:
        """Return the plan as (name, value) rows."""
        return plan.rows(self)

    def run(self) -> Iterator[Event]:
        """Train to the end. Ends early with Interrupted (all saved) or DivergedError (last good state saved).

        On a full disk it goes on as far as it can, and ends with StorageError when something is missing at the end.
        Whoever leaves the loop ends it too, with all saved: the same run, prepared again, goes on from that step.
        """
        refuse_links(self.out)
        make_folder(self.out)
        with RunLock(self.out), Signals() as signals, using(self.probe.threads):
            store = CheckpointStore(self.out / CHECKPOINTS, self.recipe.train.keep)
            monitor = Monitor(self.recipe, self.modality, self.state, self.config, self.course, self.out / METRICS)
            store.preflight(self.checkpoint_bytes(), best=monitor.amounts.held_out > 0)
            sweep(self.out)
            if self.resumed:
                protected.restore(self.out)  # they change together with the next checkpoint, which holds them too
            else:
                protected.write(self.out, self.copies())
            device = next(self.state.denoiser.net.parameters()).device
            with self.spared.file("descriptions"):
                write_json_atomic(self.out / DATA, stamp(self.understood().model_dump(mode="json")))
                write_json_atomic(self.out / MACHINE, machine(device, self.config.dtype))
            if self.state.step < self.course.steps:
                for path in pictures.last_pictures(self):
                    previews.keep(path, self.state.step)
                yield from self._train(store, signals, monitor)
            elif monitor.due(self.course):  # stopped while it was measured for the last time
                with Metrics(self.out / METRICS, self.state.step) as metrics:
                    monitor.look(self.course, metrics, signals.heed)
                yield from self._conclude(monitor, store, signals)
            if self.seconds is not None:
                with self.spared.file("recipe"):
                    if not protected.restore(self.out):  # of a version that kept no copies
                        protected.write(self.out, {RECIPE: self.copies()[RECIPE]})
                self.recipe = recipes.replace(self.recipe, {"train.steps": self.state.step})
            yield from pictures.finish(self, signals)

    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint at the end, which holds the averages twice."""
        groups = self.state.groups()
        return CheckpointStore.size({**groups, loop.COPIED: groups["ema"]}, copies=self.copies())

    def copies(self) -> dict[str, bytes]:
        """Return recipe.toml, at the end of a run by the clock with its steps, and facts.json."""
        recipe, state = self.recipe, self.state
        if self.seconds is not None and state.step >= self.course.steps:
            recipe = recipes.replace(recipe, {"train.steps": state.step})
        facts = stamp(self.modality.facts.model_dump(mode="json"))
        return {RECIPE: recipes.dump_run(recipe).encode(), FACTS: json_bytes(FACTS, facts)}

    def _train(self, store: CheckpointStore, signals: Signals, monitor: Monitor) -> Iterator[Event]:
        state = self.state
        budget = Budget(self.seconds, state.spent + self.probe.seconds, self.clock)
        self._saved = state.step if self.resumed else -1, self.clock()
        try:
            while self._saved[0] != state.step or state.step < self.course.steps:
                yield from self._steps(store, signals, monitor, budget)
                state.skipped_in_a_row = 0  # nothing follows the last step
                try:
                    if self._saved[0] != state.step:
                        yield self._save(store, budget, monitor)
                except NotFiniteError:
                    yield Note(roll_back(state, store, self.config, self.batches, self.out, self.notify))
        except GeneratorExit:
            state.rewind()
            if self._saved[0] != state.step:
                self._save(store, budget, monitor)
            raise
        yield from self._conclude(monitor, store, signals)

    def _conclude(self, monitor: Monitor, store: CheckpointStore, signals: Signals) -> Iterator[Event]:
        with suppress(StopAsked):
            yield from map(Note, monitor.conclusions(self.out, store.steps(), self.course, signals.heed))

    def _steps(self, store: CheckpointStore, signals: Signals, monitor: Monitor, budget: Budget) -> Iterator[Event]:
        """Train to the end of the course, with checkpoints on the way. Raises Interrupted where a stop was asked."""
        state = self.state
        began, first = self.clock(), state.step
        drawn = pictures.count_reached(self)
        losses: list[float] = []
        spikes, metrics = Spikes(), Metrics(self.out / METRICS, state.step)
        with self.spared.statistics(metrics), metrics:
            monitor.look(self.course, metrics, signals.heed)  # where a stop came in between
            budget.lap()
            while state.step < self.course.steps:
                for result in loop.fit(self.batches, self.config, state):
                    budget.count_step()
                    self._correct(budget, monitor)
                    steps = self.course.steps
                    losses.append(result.loss)
                    if result.step % LOG_EVERY == 0 or result.step == steps:
                        metrics.write(result, losses)
                        losses.clear()
                        if metrics.loss is not None and (jump := spikes.observe(metrics.loss)):
                            yield Note(f"step {result.step}: {jump}")
                    monitor.look(self.course, metrics, signals.heed)
                    budget.lap()
                    rate = (result.step - first) / max(1e-9, self.clock() - began)
                    left = (steps - result.step) / rate if self.seconds is None else max(0.0, budget.seconds_left())
                    yield Progress(
                        result.step, steps, metrics.loss if metrics.loss is not None else result.loss,
                        rate * self.config.batch, left, result.lr, *monitor.losses(),
                    )  # fmt: skip
                    if not result.taken:
                        yield Note(
                            f"step {result.step} left out: loss {result.loss:g}, gradient norm {result.grad_norm:g}"
                        )
                        if state.skipped_in_a_row >= ROLLBACK_AFTER:
                            break
                    waited = self.clock() - self._saved[1]
                    due = waited > 60 * self.recipe.train.checkpoint_minutes
                    due |= (
                        monitor.improved() and result.step < steps and budget.last_save <= max(CHEAP, SAVING * waited)
                    )
                    if (due or signals.save) and not state.skipped_in_a_row:  # what is between bad steps is no state
                        signals.save = False
                        try:
                            yield from self._try_save(store, budget, monitor)
                        except NotFiniteError:
                            yield Note(roll_back(state, store, self.config, self.batches, self.out, self.notify))
                            first, began = state.step, self.clock()
                            break
                    if pictures.count_reached(self) > drawn and result.step < steps:
                        drawn, n = pictures.count_reached(self), self.amounts().preview
                        if n:
                            yield from pictures.preview(self, f"step-{result.step:08d}.png", n, signals)
                            budget.count_pictures(pictures.work_of(self, n))
                    yield from map(Note, metrics.take_notes())
                    yield from self.spared.take_notes()
                    if signals.stop is not None:
                        yield from self._stop(signals.stop, steps, store, budget, monitor)
                if state.skipped_in_a_row >= ROLLBACK_AFTER:
                    yield Note(roll_back(state, store, self.config, self.batches, self.out, self.notify))
                    first, began = state.step, self.clock()

    def _stop(
        self, number: int, steps: int, store: CheckpointStore, budget: Budget, monitor: Monitor
    ) -> Iterator[Event]:
        """Save, and raise Interrupted."""
        self.state.rewind()
        sentence = f"everything is saved in {self.out}. The same command again goes on from there"
        try:
            if self._saved[0] != self.state.step:
                yield self._save(store, budget, monitor)
        except NotFiniteError as error:
            sentence = str(error)
        raise Interrupted(number, f"stopped after step {self.state.step:,} of {steps:,}; {sentence}")

    def _try_save(self, store: CheckpointStore, budget: Budget, monitor: Monitor) -> Iterator[Event]:
        """Save, if the disk takes it; if not, training goes on to the next one. Raises NotFiniteError."""
        with self.spared.file("checkpoint"):
            yield self._save(store, budget, monitor)
        self._saved = self._saved[0], self.clock()

    def _save(self, store: CheckpointStore, budget: Budget, monitor: Monitor) -> Saved:
        """Raise StorageError or NotFiniteError, and then the checkpoints before are as they were."""
        budget.lap()
        if self.seconds is not None:
            self.state.spent = budget.spent
        step, stored = self.state.step, store.steps()
        # on the way any lowest loss may turn out to be the best; at the end it is known
        best = monitor.lowest(stored) if step < self.course.steps else monitor.best([*stored, step])
        saved = Saved(step, store.save(step, self.state.groups(), self.state.scalars(), best, self.copies()))
        budget.count_save()
        self._saved = step, self.clock()
        self.spared.missing.pop("checkpoint", None)
        with self.spared.file("recipe"):
            protected.restore(self.out)
        return saved

    def _correct(self, budget: Budget, monitor: Monitor) -> None:
        """Plan again, when it is time to, so that what is left of the budget is used."""
        step, course, train = self.state.step, self.course, self.recipe.train
        progress, kinds = course.progress(step), self.amounts()
        on_the_way = sum(share > progress for share in pictures.shares(self)) * kinds.preview
        ahead = pictures.work_of(self, on_the_way + kinds.final + kinds.film) + monitor.ahead(course)
        if step < course.steps:
            left = budget.steps_left(progress, ahead, 60 * train.checkpoint_minutes)
            self.state.course = course if left is None else course.correct(step, step + left)

    def amounts(self) -> previews.Amounts:
        """Return how many samples its pictures show."""
        return previews.amounts(self.recipe, self.modality.view().counts, self.course.steps)

    def generator(self) -> Generator:
        """Return what `toolkit sample` would use, with the EMA weights of now."""
        denoiser = build.denoiser(self.recipe, self.modality, weights=False)
        load_ema_weights(denoiser, self.state.groups(), resolve_ema_width(self.recipe, None), "the current state")
        device = next(self.state.denoiser.net.parameters()).device
        error = self.state.meter.table() if self.state.meter is not None else None
        return Generator(self.recipe, self.modality, denoiser, device, self.state.time_distribution.fresh(), error)

    def draw(self, name: str, n: int, progress: previews.Watch | None = None) -> tuple[Path, list[str]]:
        """`previews.draw` into the run's folder of previews."""
        folder, seed = self.out / PREVIEWS, self.recipe.train.seed
        make_folder(folder)
        return previews.draw(self.generator(), folder / name, n, lambda: previews.some(self.batches, seed), progress)
