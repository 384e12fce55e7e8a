"""The loss at fixed noise while a run trains: when it is measured, what it says, and which snapshot is best."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from toolkit.diffusion.denoiser import Denoiser
from toolkit.modality import Modality
from toolkit.recipe import Recipe, build
from toolkit.run.weights import load_ema_weights, resolve_ema_width
from toolkit.training import convergence, held_out, measurement
from toolkit.training.budget import PASSES
from toolkit.training.convergence import Verdict
from toolkit.training.course import Course
from toolkit.training.difference import Difference
from toolkit.training.floor import least_losses
from toolkit.training.held_out import FixedNoise
from toolkit.training.loop import Config, State
from toolkit.training.measurement import Level, Measurement
from toolkit.training.storage.metrics import Metrics, content
from toolkit.training.storage.signals import StopAsked

SHOWN_FLOOR = 0.01
"""Share of the loss below which a floor says nothing and is left out."""


class Monitor:
    """Measures the averaged weights that `toolkit sample` uses, at steps that follow from the length of the run.

    It touches nothing that training depends on, and no random numbers but its own.
    """

    def __init__(
        self, recipe: Recipe, modality: Modality, state: State, config: Config, course: Course, metrics: Path
    ) -> None:  # fmt: skip
        """`course`: as planned now; `metrics`: the file with earlier measurements."""
        self.recipe, self.modality, self.state, self.config = recipe, modality, state, config
        self._splits = {"held-out": modality.dataset("test"), "trained": modality.dataset("train")}
        self._planned: int | None = None
        self._draws: int | None = None
        """Once chosen they stay: measurements with others do not compare."""
        self._floor: tuple[torch.Tensor | None] | None = None
        """The floor, or None in the tuple where there is none; None before it was computed."""
        self._follow(course)
        lines = content(metrics).splitlines()
        self.series = [m for m in measurement.read(lines) if m.step <= state.step and m.draws == self._draws]
        self._copy: Denoiser | None = None

    def _follow(self, course: Course) -> None:
        """Measure as much as the run's length allows, which may be corrected on the way."""
        if course.steps == self._planned:
            return
        unseen, known = (len(data) for data in self._splits.values())
        self.amounts = held_out.amounts(course.steps, self.config.batch, unseen, known, self._draws)
        self._planned, self._draws = course.steps, self.amounts.draws
        config, draws = self.config, self.amounts.draws
        how = config.time_distribution, config.weighting, config.objective
        self.unseen, self.known = (
            FixedNoise(self.modality, data, count, draws, config.seed, purpose, *how)
            for (purpose, data), count in zip(self._splits.items(), self.amounts[1:3], strict=True)
        )
        self._floor = None

    @property
    def latest(self) -> Measurement | None:
        """The last measurement."""
        return self.series[-1] if self.series else None

    def losses(self) -> tuple[float | None, float | None]:
        """The last held-out loss and its floor, for the progress line."""
        last = self.latest
        return (last.loss, last.floor) if last is not None and last.held_out else (None, None)

    def due(self, course: Course) -> bool:
        """Return True where the step just taken is one to measure after, and was not measured."""
        step = self.state.step
        self._follow(course)
        self.series = [m for m in self.series if m.step <= step]  # a rollback may have gone back behind some
        reached = self._measurements_by(course, step) > self._measurements_by(course, step - 1) if step else False
        return reached and (self.latest is None or self.latest.step < step)

    def _measurements_by(self, course: Course, step: int) -> int:
        return int(self.amounts.times * course.progress(step) + 1e-9)

    def ahead(self, course: Course) -> float:
        """Training steps that take as long as the measurements still to come."""
        rest = self.amounts.times - self._measurements_by(course, self.state.step)
        return rest * self.amounts.calls / (PASSES * self.config.batch)

    def look(self, course: Course, metrics: Metrics, watch: Callable[[], None]) -> None:
        """Measure, if it is time to, and write it down; a stop leaves it for when the run goes on."""
        if not self.due(course):
            return
        with suppress(StopAsked):
            if self.measure(watch) is None:
                return
            if self.state.step >= course.steps and (verdict := self.verdict(course)) is not None:
                self.series[-1] = replace(self.series[-1], verdict=verdict.sentence)
            metrics.add_measurement(self.series[-1])

    def measure(self, watch: Callable[[], None] = lambda: None) -> Measurement | None:
        """Measure now, and add it to the series; None where a loss is not finite. `watch` is called on the way, and may
        raise to leave it."""
        denoiser = self._averaged_network(resolve_ema_width(self.recipe, None))
        unseen, known = (part.losses(denoiser, self.config.dtype, watch) for part in (self.unseen, self.known))
        if not bool(torch.isfinite(torch.cat([unseen, known])).all()):
            return None
        if self._floor is None:
            self._floor = (least_losses(self.known, denoiser),)
        (floor,) = self._floor
        if floor is not None and float(floor.mean()) < SHOWN_FLOOR * float(known.mean()):
            floor = None
        bins = [self.unseen.by_level(unseen), self.known.by_level(known)]
        bins.append([None] * held_out.BINS if floor is None else self.known.by_level(floor))
        noise = held_out.levels(self.known.time_distribution, denoiser.schedule)
        levels = [Level(*row) for row in zip(noise, *bins, strict=True)]
        self.series.append(measurement.measurement(self.state.step, unseen, known, floor, levels))
        return self.series[-1]

    def lowest(self, steps: Iterable[int]) -> int | None:
        """Return the stored step of the lowest loss so far, of `steps`: it may turn out to be the best snapshot."""
        stored = set(steps)
        there = [m for m in self.series if m.step in stored and m.held_out]
        return min(there, key=lambda m: m.loss).step if there else None

    def improved(self) -> bool:
        """Return True where the last measurement is of held-out examples, of this step, and the lowest."""
        last = self.latest
        if last is None or last.step != self.state.step or not last.held_out:
            return False
        return last.loss < min((m.loss for m in self.series[:-1]), default=torch.inf)

    def best(self, steps: Iterable[int]) -> int | None:
        """Return the best snapshot of the stored `steps`, by held-out loss; None where that was not measured."""
        best = measurement.best([m for m in self.series if m.held_out], steps)
        return best.step if best is not None else None

    def verdict(self, course: Course) -> Verdict | None:
        """Return the verdict after the last measurement."""
        return convergence.verdict(self.series, convergence.halfway(self.config, course))

    def conclusions(
        self, run: Path, steps: Iterable[int], course: Course, watch: Callable[[], None] = lambda: None
    ) -> list[str]:
        """Return the verdict on the run in the folder `run`, in a sentence or two; `steps`: those that are stored."""
        verdict = self.verdict(course)
        if verdict is None:
            return []
        text, best = verdict.sentence, verdict.best.step
        if best != self.series[-1].step:
            advice = (
                f"toolkit sample {shlex.quote(str(run))} --step {best}" if best in set(steps) else "it was not kept"
            )
            text = f"{text} ({advice})"
        better = self.widths(run, watch)
        return [text] if better is None else [text, better]

    def widths(self, run: Path, watch: Callable[[], None] = lambda: None) -> str | None:
        """Return a sentence that names the average which is better on held-out examples, where that is significant."""
        last, used = self.latest, resolve_ema_width(self.recipe, None)
        if last is None or not last.held_out or last.step != self.state.step:
            return None
        width = next((width for width in self.recipe.train.ema if width != used), used)
        losses = self.unseen.losses(self._averaged_network(width), self.config.dtype, watch).mean(1)
        gain = Difference.between(last.each, losses)
        if gain.high >= 0:
            return None
        return (
            f"EMA width {width:g} has a lower held-out loss than {used:g}, which samples are made with: by "
            f"{-gain.share:.2%} (+- {gain.share_reach:.2%}); toolkit sample {shlex.quote(str(run))} --ema {width:g}"
        )

    def _averaged_network(self, width: float) -> Denoiser:
        """A network of its own with the averaged weights of now: the one that trains is left alone."""
        net = self.state.denoiser.net
        if self._copy is None:
            self._copy = build.denoiser(self.recipe, self.modality, weights=False).to(next(net.parameters()).device)
        groups = {"model": dict(net.state_dict()), "ema": self.state.ema.state_dict()}
        load_ema_weights(self._copy, groups, width, "the current state")
        return self._copy
