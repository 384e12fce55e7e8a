"""One training run in a folder: prepare it, say what it will take, run or resume it.

`prepare(...)` reads the data and measures the machine; `Plan.run()` yields events, and whoever iterates shows them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from toolkit import assemble, levels, paths
from toolkit import recipe as recipes
from toolkit.diffusion.adaptive import Adaptive
from toolkit.diffusion.randomness import generator
from toolkit.diffusion.top import without_top
from toolkit.errors import DivergedError, Interrupted, UsageError
from toolkit.events import Event, Finished, Note, Preview, Progress, Saved
from toolkit.generator import Generator, default_device, install, load, read_run, width
from toolkit.modality import Examples, Facts, Modality, find
from toolkit.pictures import draw_law, film
from toolkit.recipe import Recipe
from toolkit.training import loop
from toolkit.training.batches import Batches
from toolkit.training.checkpoint import CheckpointStore
from toolkit.training.lock import RunLock
from toolkit.training.metrics import Metrics
from toolkit.training.precision import machine
from toolkit.training.probe import Probe, probe
from toolkit.training.signals import Signals
from toolkit.training.storage import write_json_atomic, write_text_atomic

LOG_EVERY = 10
"""Steps between lines of metrics.jsonl."""
FILM = 9
"""Samples on the way from noise to sample."""
READ = 3
"""Samples that are printed."""
SHOWN, SEARCHED = 24, 2000
"""Real examples on a page, and how many are searched for some of each label."""
ROLLBACK_AFTER = 3
"""Steps in a row that may be left out for not being finite."""
NOT_PART_OF_A_RUN = {"train.minutes", "train.previews", "train.checkpoint_minutes", "train.keep", "description"}
"""Keys that may change when a run is resumed: they do not touch its numbers."""


@dataclass
class Plan:
    """A run that is ready to start or to go on."""

    recipe: Recipe
    """Resolved: train.steps is set."""
    out: Path
    modality: Modality
    state: loop.State
    config: loop.Config
    batches: Batches
    probe: Probe
    resumed: bool
    notify: Callable[[str], None]

    def describe(self) -> list[tuple[str, str]]:
        """What it will take, as (what, how much) rows."""
        train, facts, net = self.recipe.train, self.modality.facts, self.state.denoiser.net
        parameters = sum(p.numel() for p in net.parameters())
        left = max(0, self.config.steps - self.state.step) / self.probe.steps_per_second
        seen = self.config.steps * train.batch
        checkpoint = CheckpointStore.size(self.state.groups())
        rows = [
            ("run folder", str(self.out) + (f" (goes on from step {self.state.step:,})" if self.resumed else "")),
            ("data", f"{facts.count:,} examples of shape {' x '.join(map(str, facts.shape))}"),
            ("labels", f"{len(facts.labels)}: {', '.join(facts.labels[:10])}" if facts.labels else "none"),
            ("parameters", f"{parameters:,}"),
            ("steps", f"{self.config.steps:,} of {train.batch} examples"),
            ("examples seen", f"{seen:,} ({seen / max(1, facts.count):.1f} passes)"),
            ("speed", f"{self.probe.steps_per_second * train.batch:.0f} examples/s, {self.probe.describe()}"),
            ("expected end", f"{datetime.now() + timedelta(seconds=left):%H:%M}, in {clock(left)}"),
            ("memory", f"{self.probe.memory / 2**20:,.0f} MB at most so far"),
            (
                "disk",
                f"{checkpoint * (train.keep + 1) / 2**20:,.0f} MB: {train.keep} checkpoints and one being written",
            ),
        ]
        at = rows.index(("parameters", f"{parameters:,}")) + 1
        rows[at:at] = [("multiply-adds", self._work()), *self.modality.network_notes(net)]
        if note := self.modality.augment_note():
            rows.insert(3, ("augmentation", note))
        return rows

    def _work(self) -> str:
        """Multiply-adds of one forward pass over one example, the longest of a few, as torch counts them."""
        known = len(self.modality.labels)
        labels = torch.arange(64) % known if known else None
        asked = self.modality.requests(self.modality.Ask(), labels, 0, range(64))
        longest = max(asked, key=lambda request: request.shape[-1])
        denoiser = self.state.denoiser
        device = next(denoiser.net.parameters()).device
        cond = {name: value[:1].to(device) for name, value in longest.cond.items()}
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = torch.zeros(1, *denoiser.space(longest.shape), device=device)
            denoiser(x, torch.full((), 0.5, dtype=torch.float64), cond)
        return f"{counter.get_total_flops() / 2e9:.3g} G for an example of shape {' x '.join(map(str, longest.shape))}"

    def run(self) -> Iterator[Event]:
        """Train to the end. Ends early with Interrupted (all saved) or DivergedError (last good state saved)."""
        self.out.mkdir(parents=True, exist_ok=True)
        with RunLock(self.out), Signals() as signals:
            store = CheckpointStore(self.out / "checkpoints", self.recipe.train.keep)
            store.preflight(CheckpointStore.size(self.state.groups()))
            write_text_atomic(self.out / "recipe.toml", recipes.dump(self.recipe))
            write_json_atomic(self.out / "facts.json", self.modality.facts.model_dump(mode="json"))
            device = next(self.state.denoiser.net.parameters()).device
            write_json_atomic(self.out / "machine.json", machine(device, self.config.dtype))
            yield from self._train(store, signals)

    def _train(self, store: CheckpointStore, signals: Signals) -> Iterator[Event]:
        state, config = self.state, self.config
        pictures = self._picture_steps()
        saved, saved_at = state.step if self.resumed else -1, time.monotonic()
        began, first = time.monotonic(), state.step
        losses: list[float] = []
        with Metrics(self.out / "metrics.jsonl", state.step) as metrics:
            while state.step < config.steps:
                for done in loop.fit(self.batches, config, state):
                    losses.append(done.loss)
                    if done.step % LOG_EVERY == 0 or done.step == config.steps:
                        metrics.write(done, losses)
                        losses.clear()
                    rate = (done.step - first) / (time.monotonic() - began)
                    yield Progress(
                        done.step, config.steps, metrics.loss if metrics.loss is not None else done.loss,
                        rate * config.batch, (config.steps - done.step) / rate, done.lr,
                    )  # fmt: skip
                    if not done.taken:
                        yield Note(f"step {done.step} left out: loss {done.loss:g}, gradient norm {done.grad_norm:g}")
                        if state.bad >= ROLLBACK_AFTER:
                            break
                    due = time.monotonic() - saved_at > 60 * self.recipe.train.checkpoint_minutes
                    if due or signals.save or signals.stop is not None:
                        yield Saved(done.step, store.save(done.step, state.groups(), state.facts()))
                        saved, saved_at, signals.save = done.step, time.monotonic(), False
                    if signals.stop is not None:
                        raise Interrupted(
                            signals.stop,
                            f"stopped after step {done.step:,} of {config.steps:,}; everything is saved in {self.out}. "
                            f"The same command again goes on from there",
                        )
                    if done.step in pictures:
                        yield Preview(*self.draw(f"step-{done.step:08d}.png", self.modality.shown[0]))
                if state.bad >= ROLLBACK_AFTER:
                    yield self._roll_back(store)
                    first, began = state.step, time.monotonic()
        if saved != state.step:
            yield Saved(state.step, store.save(state.step, state.groups(), state.facts()))
        yield from self._finish()

    def _roll_back(self, store: CheckpointStore) -> Note:
        """Once: back to the last checkpoint at half the learning rate. Twice: give up, saying where."""
        state = self.state
        bad = state.step
        where = f"steps {bad - ROLLBACK_AFTER + 1} to {bad} gave no finite loss or gradient"
        found = store.load(notify=self.notify)
        if state.lr_factor < 1 or found is None:
            numbers = self.batches.indices(bad - 1, range(min(8, self.config.batch))).tolist()
            rate = self.config.lr_at(bad) * state.lr_factor
            kept = f"the last good state is kept in {self.out}" if found else "nothing had been saved yet"
            raise DivergedError(
                f"{where}, at learning rate {rate:.2g}, in batches such as examples {numbers}; {kept}. "
                f"Try --set train.lr={self.config.lr / 4:.2g} with another --out"
            )
        state.restore(found.groups, found.state)
        state.lr_factor, state.bad = 0.5, 0
        return Note(f"{where}: going on from the checkpoint of step {found.step} at half the learning rate")

    def _picture_steps(self) -> set[int]:
        """Steps to draw at: closer together in the beginning, when most happens."""
        n, total = self.recipe.train.previews, self.config.steps
        return {round(total * (i / n) ** 1.5) for i in range(1, n)} - {0, total} if n else set()

    def generator(self) -> Generator:
        """What `toolkit sample` would use, from the EMA weights of now."""
        made = assemble.denoiser(self.recipe, self.modality)
        install(made, self.state.groups(), width(self.recipe, None), "the current state")
        device = next(self.state.denoiser.net.parameters()).device
        return Generator(self.recipe, self.modality, made, device, self.state.law.fresh())

    def draw(self, name: str, n: int) -> tuple[Path, list[str]]:
        """A picture of n samples, by the same code as `toolkit sample`, or a page where the modality has one.

        Returns the path, and the first samples as lines where they can be read.
        """
        folder = self.out / "previews"
        folder.mkdir(exist_ok=True)
        samples = self.generator().sample(n, seed=self.recipe.train.seed)
        raw, path = samples.raw, folder / name
        self.modality.preview(raw, samples.labels).save(path)
        if page := self.modality.page(raw, samples.labels, self._real()):
            path = path.with_suffix(".html")
            write_text_atomic(path, page)
        return path, self.modality.lines(raw[:READ], samples.labels[:READ])

    def _real(self) -> Examples:
        """A few training examples, of all labels alike, to compare with."""
        data, known = self.batches.dataset, len(self.modality.labels)
        order = torch.randperm(len(data), generator=generator(self.recipe.train.seed, "shown"))[:SEARCHED]
        examples = data.take(order)
        if not known:
            return Examples(examples.raw[:SHOWN], {name: v[:SHOWN] for name, v in examples.cond.items()})
        each = max(1, SHOWN // known)
        label = examples.cond["label"]
        chosen = torch.cat([(label == i).nonzero()[:each, 0] for i in range(known)])
        return Examples(examples.raw[chosen], {name: v[chosen] for name, v in examples.cond.items()})

    def _finish(self) -> Iterator[Event]:
        last, lines = self.draw("final.png", self.modality.shown[1])
        if lines:
            yield Preview(last, lines)
        others = film(self.generator(), self.out / "previews" / "noise-to-sample", FILM)
        pictures = [last.with_suffix(".png"), *([last] if last.suffix != ".png" else []), *others]
        if isinstance(law := without_top(self.state.law), Adaptive):
            pictures.append(draw_law(law, self.out / "previews" / "time-law.png"))
        yield Finished(self.out, pictures)


def prepare(
    recipe: Recipe,
    out: Path,
    device: str | None = None,
    notify: Callable[[str], None] = print,
) -> Plan:
    """Open the data, build the network, resume what is in `out`, and measure the speed. Writes only to the cache.

    Raises UsageError when `out` holds a different run, DataError when the data is unusable.
    """
    out = Path(out)
    before = _earlier(recipe, out, notify)
    kind = find(recipe.modality)
    modality = kind(*recipes.validate_for(recipe, kind))
    facts = modality.open(paths.cache(), notify)
    if before is not None and (changed := _changed_facts(before[1], facts)):
        raise UsageError(f"{out} was trained on other data (differs in {changed}); choose another --out")
    levels.follow(modality, recipe, None if before is None else before[1], notify)
    where = torch.device(device or default_device())
    denoiser = assemble.denoiser(recipe, modality).to(where)
    examples = modality.dataset("train")
    batches = Batches(modality, examples, recipe.train.batch, recipe.train.seed, recipe.diffusion.label_drop)

    def configure(steps: int, channels_last: bool) -> loop.Config:
        return assemble.fit_config(recipe, modality, steps, where, channels_last)

    found = CheckpointStore(out / "checkpoints").load(notify=notify) if (out / "checkpoints").is_dir() else None
    # a resumed run keeps the layout it began with: another one rounds differently
    chosen = (before[0] if before is not None else recipe).train.layout
    layout = None if chosen == "auto" else chosen == "channels-last"
    measured = probe(denoiser, batches, configure, notify, layout)
    steps = before[0].train.steps if before is not None else _steps(recipe, measured, modality.shown)
    found_layout = "channels-last" if measured.channels_last else "channels-first"
    recipe = recipes.replace(recipe, {"train.steps": steps, "train.layout": found_layout})
    assert recipe.train.steps is not None
    config = configure(recipe.train.steps, measured.channels_last)
    state = loop.start(denoiser, config)
    if found is not None:
        if found.drift:
            notify(found.drift)
        state.restore(found.groups, found.state)
    return Plan(recipe, out, modality, state, config, batches, measured, found is not None, notify)


def train(
    recipe: str | Path | Recipe,
    minutes: float | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    notify: Callable[[str], None] = print,
    **changes: Any,
) -> Generator:
    """Train a recipe to its end and return the generator: `toolkit.train("image/digits", minutes=10)`.

    `changes` are dotted recipe keys with __ for the dot: `train__lr=3e-4`. The same call again resumes.
    """
    recipe = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    values = {key.replace("__", "."): value for key, value in changes.items()}
    if minutes is not None:
        values |= {"train.minutes": minutes, "train.steps": None}
    recipe = recipes.replace(recipe, values)
    out = Path(out) if out is not None else Path("runs") / recipe.name
    for event in prepare(recipe, out, device, notify).run():
        if isinstance(event, Note):
            notify(event.text)
    return load(out, device, notify=notify, modality=recipe.modality)


def clock(seconds: float) -> str:
    """90 -> "1:30", 4000 -> "1:06:40"."""
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")


def _earlier(recipe: Recipe, out: Path, notify: Callable[[str], None]) -> tuple[Recipe, Facts] | None:
    """The run that is in `out` already, if it is this one. Raises UsageError if it is another."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / "recipe.toml").is_file():
        if out.is_dir() and {p.name for p in out.iterdir()} <= {"lock"}:
            return None
        raise UsageError(f"{out} exists and is no run folder; choose another --out")
    before, facts = read_run(out)
    ignored = NOT_PART_OF_A_RUN | ({"train.steps"} if recipe.train.steps is None else set())
    ignored |= {"train.layout"} if recipe.train.layout == "auto" else set()
    changed = recipes.difference(before, recipe)
    differing = [key for key in changed if key not in ignored]
    if differing:
        raise UsageError(
            f"{out} holds a run of another recipe (differs in {', '.join(differing[:5])}); "
            f"choose another --out, or go on with the recipe in it: --recipe {out / 'recipe.toml'}"
        )
    return before, facts


def _changed_facts(before: Facts, now: Facts) -> str:
    names = ("shape", "labels", "count", "mean", "std")
    return ", ".join(name for name in names if getattr(before, name) != getattr(now, name))


def _steps(recipe: Recipe, measured: Probe, shown: tuple[int, int]) -> int:
    """Steps to take: as said, or as many as the time allows, less what pictures and checkpoints take."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    if recipe.train.minutes is None:
        raise UsageError("how long? give --minutes or --steps, or set train.minutes in the recipe")
    # checkpoints, start and end take a few hundredths; pictures take network calls, each a third of a training step's
    # work for one example
    pictures = max(0, recipe.train.previews - 1) * shown[0] + shown[1] + FILM
    calls = pictures * recipe.sample.taken() * assemble.sampler(recipe.sample.sampler).calls
    calls *= 1 if recipe.sample.guidance in (0, 1) else 2
    per_call = 1 / (3 * measured.steps_per_second * recipe.train.batch)
    usable = max(0.5 * 60 * recipe.train.minutes, 60 * recipe.train.minutes * 0.96 - calls * per_call)
    return max(1, int(usable * measured.steps_per_second))


__all__ = ["Event", "Finished", "Note", "Plan", "Preview", "Progress", "Saved", "clock", "prepare", "train"]
