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
from toolkit.diffusion.adaptive import Adaptive
from toolkit.diffusion.top import without_top
from toolkit.errors import Interrupted
from toolkit.modality import Modality
from toolkit.recipe import Recipe, build
from toolkit.recipe.format import stamped
from toolkit.run import plan, previews
from toolkit.run.data_block import with_passes
from toolkit.run.events import Event, Finished, Note, Preview, Progress, Saved
from toolkit.run.generator import Generator, load_ema_weights, resolve_ema_width
from toolkit.run.layout import CHECKPOINTS, DATA, FACTS, METRICS, RECIPE
from toolkit.run.monitor import Monitor
from toolkit.training import loop
from toolkit.training.batches import Batches
from toolkit.training.budget import PASSES, Budget
from toolkit.training.course import Course
from toolkit.training.precision import machine
from toolkit.training.probe import Probe
from toolkit.training.rollback import ROLLBACK_AFTER, roll_back
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.storage.files import write_json_atomic, write_text_atomic
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
    """Its course is set."""
    config: loop.Config
    batches: Batches
    probe: Probe
    resumed: bool
    notify: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _saved: tuple[int, float] = field(default=(-1, 0.0), init=False)
    """Step of the last checkpoint, and when it was saved by the clock."""

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

        Whoever leaves the loop ends it too, with all saved: the same run, prepared again, goes on from that step.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with RunLock(self.out), Signals() as signals, using(self.probe.threads):
            store = CheckpointStore(self.out / CHECKPOINTS, self.recipe.train.keep)
            monitor = Monitor(self.recipe, self.modality, self.state, self.config, self.course, self.out / METRICS)
            store.preflight(self.checkpoint_bytes(), best=monitor.amounts.held_out > 0)
            write_text_atomic(self.out / RECIPE, recipes.dump_run(self.recipe))
            write_json_atomic(self.out / FACTS, stamped(self.modality.facts.model_dump(mode="json")))
            write_json_atomic(self.out / DATA, stamped(self.understood().model_dump(mode="json")))
            device = next(self.state.denoiser.net.parameters()).device
            write_json_atomic(self.out / "machine.json", machine(device, self.config.dtype))
            if self.state.step < self.course.steps:
                for path in self._last_pictures():
                    previews.keep(path, self.state.step)
                yield from self._train(store, signals, monitor)
            elif monitor.due(self.course):  # stopped while it was measured for the last time
                with Metrics(self.out / METRICS, self.state.step) as metrics:
                    monitor.look(self.course, metrics, signals.heed)
                yield from map(Note, monitor.conclusions(self.out, store.steps(), self.course))
            if self.seconds is not None:
                self.recipe = recipes.replace(self.recipe, {"train.steps": self.state.step})
                write_text_atomic(self.out / RECIPE, recipes.dump_run(self.recipe))
            yield from self._finish(signals)

    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint at the end, which holds the averages twice."""
        groups = self.state.groups()
        return CheckpointStore.size({**groups, loop.COPIED: groups["ema"]})

    def _train(self, store: CheckpointStore, signals: Signals, monitor: Monitor) -> Iterator[Event]:
        state = self.state
        budget = Budget(self.seconds, state.spent + self.probe.seconds, self.clock)
        self._saved = state.step if self.resumed else -1, self.clock()
        try:
            yield from self._steps(store, signals, monitor, budget)
        except (GeneratorExit, Interrupted):
            if self._saved[0] != state.step:
                self._save(store, budget, monitor)
            raise
        if self._saved[0] != state.step:
            yield self._save(store, budget, monitor)
        yield from map(Note, monitor.conclusions(self.out, store.steps(), self.course))

    def _steps(self, store: CheckpointStore, signals: Signals, monitor: Monitor, budget: Budget) -> Iterator[Event]:
        """Train to the end of the course, with checkpoints on the way. Raises Interrupted where a stop was asked."""
        state = self.state
        began, first = self.clock(), state.step
        drawn = self._passed()
        losses: list[float] = []
        with Metrics(self.out / METRICS, state.step) as metrics:
            monitor.look(self.course, metrics, signals.heed)  # where a stop came in between
            budget.lap()
            while state.step < self.course.steps:
                for done in loop.fit(self.batches, self.config, state):
                    budget.count_step()
                    self._correct(budget, monitor)
                    steps = self.course.steps
                    losses.append(done.loss)
                    if done.step % LOG_EVERY == 0 or done.step == steps:
                        metrics.write(done, losses)
                        losses.clear()
                    monitor.look(self.course, metrics, signals.heed)
                    budget.lap()
                    rate = (done.step - first) / max(1e-9, self.clock() - began)
                    left = (steps - done.step) / rate if self.seconds is None else max(0.0, budget.left())
                    yield Progress(
                        done.step, steps, metrics.loss if metrics.loss is not None else done.loss,
                        rate * self.config.batch, left, done.lr, *monitor.shown(),
                    )  # fmt: skip
                    if not done.taken:
                        yield Note(f"step {done.step} left out: loss {done.loss:g}, gradient norm {done.grad_norm:g}")
                        if state.skipped_in_a_row >= ROLLBACK_AFTER:
                            break
                    waited = self.clock() - self._saved[1]
                    due = waited > 60 * self.recipe.train.checkpoint_minutes
                    due |= monitor.improved() and done.step < steps and budget.last_save <= max(CHEAP, SAVING * waited)
                    if due or signals.save or signals.stop is not None:
                        signals.save = False
                        yield self._save(store, budget, monitor)
                    if self._passed() > drawn and done.step < steps:
                        drawn, n = self._passed(), self._amounts().preview
                        if n and signals.stop is None:
                            with suppress(StopAsked):
                                yield Preview(*self.draw(f"step-{done.step:08d}.png", n, signals.heed))
                            budget.count_pictures(self._work_of(n))
                    if signals.stop is not None:
                        raise Interrupted(
                            signals.stop,
                            f"stopped after step {done.step:,} of {steps:,}; everything is saved in {self.out}. "
                            f"The same command again goes on from there",
                        )
                if state.skipped_in_a_row >= ROLLBACK_AFTER:
                    yield Note(roll_back(state, store, self.config, self.batches, self.out, self.notify))
                    first, began = state.step, self.clock()

    def _save(self, store: CheckpointStore, budget: Budget, monitor: Monitor) -> Saved:
        budget.lap()
        if self.seconds is not None:
            self.state.spent = budget.spent
        step, stored = self.state.step, store.steps()
        # on the way any lowest loss may turn out to be the best; at the end it is known
        best = monitor.lowest(stored) if step < self.course.steps else monitor.best([*stored, step])
        saved = Saved(step, store.save(step, self.state.groups(), self.state.scalars(), best))
        budget.count_save()
        self._saved = step, self.clock()
        return saved

    def _correct(self, budget: Budget, monitor: Monitor) -> None:
        """Plan again, when it is time to, so that what is left of the budget is used."""
        step, course, train = self.state.step, self.course, self.recipe.train
        progress, kinds = course.progress(step), self._amounts()
        on_the_way = sum(share > progress for share in self._shares()) * kinds.preview
        ahead = self._work_of(on_the_way + kinds.final + kinds.film) + monitor.ahead(course)
        if step < course.steps:
            left = budget.steps_left(progress, ahead, 60 * train.checkpoint_minutes)
            self.state.course = course if left is None else course.corrected(step, step + left)

    def _shares(self) -> list[float]:
        """Shares of the training after which to draw: closer together in the beginning, when most happens."""
        n = self.recipe.train.previews
        return [(i / n) ** 1.5 for i in range(1, n)]

    def _passed(self) -> int:
        """Return how many of `_shares` are reached, to the nearest step; the first step is the first to draw."""
        at = self.course.progress(self.state.step + 0.5) if self.state.step else 0.0
        return sum(share <= at for share in self._shares())

    def _amounts(self) -> previews.Amounts:
        return previews.amounts(self.recipe, self.modality.view().counts, self.course.steps)

    def _work_of(self, n: int) -> float:
        """Training steps that take as long as n samples."""
        return n * previews.calls(self.recipe) / (PASSES * self.config.batch)

    def generator(self) -> Generator:
        """Return what `toolkit sample` would use, with the EMA weights of now."""
        made = build.denoiser(self.recipe, self.modality, weights=False)
        load_ema_weights(made, self.state.groups(), resolve_ema_width(self.recipe, None), "the current state")
        device = next(self.state.denoiser.net.parameters()).device
        error = self.state.meter.table() if self.state.meter is not None else None
        return Generator(self.recipe, self.modality, made, device, self.state.time_distribution.fresh(), error)

    def draw(self, name: str, n: int, progress: previews.Watch | None = None) -> tuple[Path, list[str]]:
        """`previews.draw` into the run's folder of previews."""
        folder, seed = self.out / "previews", self.recipe.train.seed
        folder.mkdir(exist_ok=True)
        return previews.draw(self.generator(), folder / name, n, lambda: previews.some(self.batches, seed), progress)

    def _last_pictures(self) -> list[Path]:
        """Return the pictures of the end: the first two are drawn together, the page first, and so are the next two."""
        folder = self.out / "previews"
        names = ["final.html", "final.png", "noise-to-sample.png", "noise-to-sample.gif"]
        if isinstance(without_top(self.state.time_distribution), Adaptive):
            before = "time-law.png"  # its name in older runs
            names.append(before if (folder / before).is_file() else "time-distribution.png")
        return [folder / name for name in names]

    def _finish(self, signals: Signals) -> Iterator[Event]:
        """Draw the pictures of the end that are not there. Raises Interrupted."""
        page, last, strip, moving, *times = self._last_pictures()
        kinds = self._amounts()
        try:
            if not last.is_file():
                signals.heed()
                path, lines = self.draw(last.name, kinds.final, signals.heed)
                if lines:
                    yield Preview(path, lines)
            if not moving.is_file():
                signals.heed()
                previews.film(self.generator(), strip.with_suffix(""), kinds.film, signals.heed)
        except StopAsked:
            assert signals.stop is not None
            missing = ", ".join(path.name for path in (last, moving) if not path.is_file())
            raise Interrupted(
                signals.stop,
                f"training is finished, after step {self.state.step:,}, and saved in {self.out}; stopped before all of "
                f"its pictures were drawn ({missing}). The same command again draws them",
            ) from None
        if isinstance(learned := without_top(self.state.time_distribution), Adaptive):
            previews.draw_times(learned, times[0])
        yield Finished(self.out, [path for path in (page, last, strip, moving, *times) if path.is_file()])
