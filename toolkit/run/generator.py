"""What a user holds after training: load a run, sample from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from toolkit import recipe as recipes
from toolkit.device import pick
from toolkit.diffusion import (
    Denoiser,
    NoiseStream,
    TimeDistribution,
    autoguidance,
    classifier_free,
    clip,
    conditional,
    interval,
    trajectory,
)
from toolkit.diffusion.grid import Grid
from toolkit.diffusion.recall import Composed, Denoise, Estimates, told
from toolkit.diffusion.sampler import Sampler, Step
from toolkit.diffusion.start import bare, marginal
from toolkit.diffusion.variance import PosteriorVariance, VarianceMeter
from toolkit.diffusion.window import cut, starts, windowed
from toolkit.errors import DataError, ToolkitError, UsageError, unknown
from toolkit.modality import BUILT_IN, Facts, Modality, Options, Request, find
from toolkit.recipe import Named, Recipe, build
from toolkit.recipe.check import checked
from toolkit.run import levels
from toolkit.run.post_hoc import load_between
from toolkit.run.samples import Samples, gather
from toolkit.training.measurement import best_step
from toolkit.training.precision import autocast, resolve
from toolkit.training.storage.checkpoint import CheckpointStore

UNCONDITIONAL = "none"
"""The label that asks for no label."""


@dataclass(frozen=True, eq=False)
class Inference(Composed):
    """Without gradients and in the run's precision.

    Around each call and not around the trajectory, which hands control back between steps.
    """

    denoise: Denoise
    device: torch.device
    dtype: torch.dtype | None

    def told(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        with torch.no_grad(), autocast(self.device, self.dtype):
            return told(self.denoise, x_t, t, estimates)


class Generator:
    """A trained denoiser with all that is needed to sample from it."""

    def __init__(
        self,
        recipe: Recipe,
        modality: Modality,
        denoiser: Denoiser,
        device: torch.device,
        law: TimeDistribution | None = None,
        error: PosteriorVariance | None = None,
    ) -> None:
        """`law`: of the training times, with what it has learned; `error`: how far x_hat was from x in training."""
        self.recipe = recipe
        self.modality = modality
        # forward alone, convolutions are faster in this layout; which one training is faster in depends on the machine
        self.denoiser = denoiser.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device = device
        self.law, self.error = law, error
        self.dtype = resolve(recipe.train.precision, device)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.denoiser.parameters())
        return f"<generator '{self.recipe.name}' of {self.modality.name}, {size:,} parameters, on {self.device}>"

    def on(self, opened: Modality) -> Generator:
        """The same with a modality whose data is open, of which a vocoder takes the sounds that it makes again.

        Raises DataError when that data is no longer such as the run was trained on.
        """
        if (opened.labels, opened.shape) != (self.modality.labels, self.modality.shape):
            name = self.recipe.name
            raise DataError(
                f"the data of run '{name}' has changed since it was trained: other labels or sizes; "
                "put back what it was trained on, or train again"
            )
        opened.learn(spread=self.modality.facts.spread)
        return Generator(self.recipe, opened, self.denoiser, self.device, self.law, self.error)

    def sample(
        self,
        n: int = 16,
        label: str | int | Sequence[str | int] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: Named | Sampler | None = None,
        grid: Named | Grid | Tensor | None = None,
        restarts: int | None = None,
        seed: int = 0,
        batch: int = 64,
        weak: Generator | None = None,
        progress: Callable[[int, int], None] | None = None,
        **ask: Any,
    ) -> Samples:
        """n samples. What is None comes from the recipe's [sample] section.

        `weak`: another snapshot of the run (an earlier step, a wider EMA) or a smaller model. Then `guidance` leads
        away from it (autoguidance, Karras et al. 2024), instead of away from no label.
        `ask`: what the modality's `Ask` has, e.g. seconds=0.5. `sampler` and `grid` are names, or objects: a `Sampler`,
        a function (schedule, steps) -> times, or the times themselves.

        `label`: one for all, or one for each; None takes all labels in turn, "none" asks for no label.
        Sample i depends on (seed, i) only, up to rounding, whatever n and `batch` are. `progress(done, total)`
        is called after every step, in network calls for the whole job. Raises UsageError.
        """
        if n < 1 or batch < 1:
            raise UsageError(f"at least one sample is needed, in batches of at least one; got {n} and {batch}")
        asked = checked(self.modality.Ask, ask, "sample")
        numbers = self._labels(label, n)
        jobs = [job for request in self.requests(n, numbers, seed, asked) for job in _split(request, batch)]
        parts = []
        steps = len(grid) - 1 if isinstance(grid, Tensor) else steps
        each = self.recipe.sample.total_steps(steps, restarts)
        for done, job in enumerate(jobs):
            given = [numbers[i] for i in job.which] if numbers is not None else None
            x = torch.zeros(0)
            for step in self.trajectory(job.which, given, steps, guidance, sampler, grid, restarts, seed, weak, job):
                x = step.x
                if progress:
                    progress(done * each + min(step.index + 1, each), len(jobs) * each)
            x = self.modality.polish(x.float(), job.cond, asked)
            parts.append((job.which, self.denoiser.unembed(x).cpu()))
        names = (*self.modality.labels, UNCONDITIONAL)
        asked_labels = tuple(names[i] for i in numbers) if numbers else ()
        return Samples(gather(parts), asked_labels, self.modality, seed, asked)

    def requests(
        self, n: int, labels: Sequence[int] | None, seed: int = 0, ask: Options | None = None
    ) -> list[Request]:
        """What to make for n samples with these labels: one request, or several where they differ in shape."""
        numbers = None if labels is None else torch.tensor(labels)
        return self.modality.requests(ask or self.modality.Ask(), numbers, seed, range(n))

    def trajectory(
        self,
        positions: Sequence[int],
        labels: Sequence[int] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: Named | Sampler | None = None,
        grid: Named | Grid | Tensor | None = None,
        restarts: int | None = None,
        seed: int = 0,
        weak: Generator | None = None,
        request: Request | None = None,
    ) -> Iterator[Step]:
        """The way from noise to the samples at `positions`, step by step, on the run's device.

        `request`: their shape and conditions; by default the shape of the training examples, and none.
        `restarts`: how often the last `sample.back` steps are taken again, from their sample with noise added (Xu et
        al. 2023, "Restart Sampling", algorithm 1, with t_min = 0): mistakes of earlier steps are mended by later ones.
        """
        chosen = self.recipe.sample
        schedule = self.denoiser.schedule
        method = build.sampler(sampler or chosen.sampler, self.error)
        request = request or Request(tuple(positions), self.modality.shape)
        spread = levels.spread(self.modality.facts, request.shape)
        try:
            levels_at = build.grid(chosen.grid if grid is None else grid, self.law, spread)
            times = levels_at(schedule, steps or chosen.steps)
        except ValueError as error:
            raise UsageError(f"steps: {error}") from None
        rounds = chosen.restarts if restarts is None else restarts
        w = chosen.guidance if guidance is None else guidance
        noise = NoiseStream(seed, "sample", positions, self.denoiser.space(request.shape))
        draw, first = (lambda: noise().to(self.device)), float(times[0])
        if spread is None:
            x = bare(schedule, first, draw)
        else:
            x = marginal(self._denoise(request, labels, w, weak), schedule, first, draw)
        taken = 0
        for round_ in range(rounds + 1):
            if round_:
                request = self.modality.renewed(request, seed, positions, round_)
                times = times[-1 - chosen.back :]  # all of them, where they are fewer
                cond = {name: value.to(self.device) for name, value in request.cond.items()}
                alpha, sigma = (float(value) for value in schedule(times[0]))
                with torch.no_grad():  # embeddings may be learned
                    x = alpha * self.denoiser.embed(self.denoiser.unembed(x), cond) + sigma * noise().to(self.device)
            denoise = self._denoise(request, labels, w, weak)
            # schedules such as karras and sqrt end with a little noise left, which is taken out
            for step in trajectory(denoise, schedule, method, x, times, noise, clean=True):
                x = step.x
                yield replace(step, index=taken)
                taken += 1

    def _denoise(self, request: Request, labels: Sequence[int] | None, w: float, weak: Generator | None) -> Denoise:
        """Guided, limited to its interval and clipped, as the recipe says; by windows where the request has them."""
        if weak is not None and (
            weak.modality.shape != self.modality.shape or weak.modality.labels != self.modality.labels
        ):
            raise UsageError("the weak generator makes other examples than this one; take a snapshot of the same run")
        cond = {name: value.to(self.device) for name, value in request.cond.items()}
        if labels is not None:
            cond["label"] = torch.tensor(labels, device=self.device)
        length = request.shape[-1]
        if request.window is None:
            inner = self._guided(cond, w, weak)
        else:
            window = request.window
            places = starts(length, window, self.modality.grain)
            inner = windowed(lambda at: self._guided(cut(cond, at, window, length), w, weak), length, window, places)
        return Inference(inner, self.device, self.dtype)

    def _guided(self, cond: dict[str, Tensor], w: float, weak: Generator | None) -> Denoise:
        chosen = self.recipe.sample
        plain = denoise = conditional(self.denoiser, cond)
        if weak is not None:
            denoise = autoguidance(plain, conditional(weak.denoiser, cond), w, chosen.rescale)
        elif "label" in cond:
            null = {**cond, "label": torch.full_like(cond["label"], len(self.modality.labels))}
            denoise = classifier_free(self.denoiser, cond, null, w, chosen.rescale)
        if chosen.interval and w != 1:
            denoise = interval(denoise, plain, self.denoiser.schedule, *chosen.interval)
        bounds = self.modality.facts.bounds
        return clip(denoise, *bounds) if chosen.clip and bounds else denoise

    def _labels(self, label: str | int | Sequence[str | int] | None, n: int) -> list[int] | None:
        known = self.modality.labels
        if not known:
            if label not in (None, UNCONDITIONAL):
                raise UsageError(f"label '{label}': this run was trained without labels; leave --label out")
            return None
        if label is None:
            return [i % len(known) for i in range(n)]
        asked = [label] * n if isinstance(label, str | int) else list(label)
        if len(asked) != n:
            raise UsageError(f"{len(asked)} labels for {n} samples; give one label, or one for each")
        index = {name: i for i, name in enumerate(known)} | {UNCONDITIONAL: len(known)}
        for name in asked:
            if str(name) not in index:
                raise unknown("label", str(name), index)
        return [index[str(name)] for name in asked]


def _split(request: Request, batch: int) -> Iterator[Request]:
    """A request as several of at most `batch` examples."""
    for start in range(0, len(request.which), batch):
        rows = slice(start, start + batch)
        cond = {name: value[rows] for name, value in request.cond.items()}
        yield request._replace(which=request.which[rows], cond=cond)


def load(
    run: str | Path,
    device: str | torch.device | None = None,
    ema: float | None = None,
    step: int | Literal["best"] | None = None,
    notify: Callable[[str], None] = print,
    modality: str | None = None,
) -> Generator:
    """The generator of a run folder: its newest whole checkpoint (or that of `step`), EMA weights of width `ema`.

    `step`: "best" is the stored one of the lowest held-out loss, unless the newest is as good. `ema`: one of
    train.ema, or at the end of a run any width between them and a little below.
    The folder may be a stranger's: nothing that it holds or names is executed. A run of a modality that is not
    built in needs that code, so it must be named here too. Raises UsageError when the folder is no run, and
    ToolkitError when what is in it is damaged.
    """
    run = Path(run).expanduser()
    recipe, facts = read_run(run)
    if modality is None and recipe.modality not in BUILT_IN:
        raise UsageError(
            f"{run} needs the code of modality '{recipe.modality}'; if you trust that, "
            f"name it: --modality {recipe.modality}"
        )
    kind = find(modality or recipe.modality)
    opened = kind(*recipes.validate_for(recipe, kind), facts)
    made = build.denoiser(recipe, opened)
    store = CheckpointStore(run / "checkpoints")
    at = best_step(run / "metrics.jsonl", store.steps()) if step == "best" else step
    found = store.load(groups=["model", "ema"], step=at, notify=notify)
    if found is None:
        raise UsageError(f"{run} has no checkpoint yet; go on training it, or wait for the first one to be saved")
    if ema is None or ema in recipe.train.ema:
        load_ema_weights(made, found.groups, resolve_ema_width(recipe, ema), f"{found.folder}")
    else:
        load_between(made, store, found, recipe.train.ema, ema)
    law = build.time_distribution(recipe.diffusion, opened)
    if law.state():
        try:
            law.restore(found.state["law"])
        except (KeyError, ValueError, AttributeError) as error:
            raise ToolkitError(f"{found.folder} holds no time law that fits the recipe ({error})") from None
    meter = VarianceMeter()
    if isinstance(kept := found.state.get("variance"), dict):
        try:
            meter.restore(kept)
        except ValueError as error:
            raise ToolkitError(f"{found.folder}: {error}") from None
    return Generator(recipe, opened, made, pick(device), law, meter.table())


def read_run(run: Path) -> tuple[Recipe, Facts]:
    """The resolved recipe and the facts of a run folder. Raises UsageError when it is none."""
    for name in ("recipe.toml", "facts.json"):
        if not (run / name).is_file():
            what = "is no run folder" if run.is_dir() else "does not exist"
            raise UsageError(f"{run} {what} ({name} is missing); `toolkit train` makes one")
    recipe = recipes.load(run / "recipe.toml")
    try:
        facts = json.loads((run / "facts.json").read_text(encoding="utf-8")[:1_000_000])
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{run / 'facts.json'} cannot be read ({error}); restore it from a copy") from None
    if not isinstance(facts, dict):
        raise ToolkitError(f"{run / 'facts.json'} does not hold facts; restore it from a copy")
    return recipe, checked(Facts, facts, str(run / "facts.json"))


def resolve_ema_width(recipe: Recipe, ema: float | None) -> float:
    """The EMA width to use: asked for, else the recipe's choice, else the last one kept."""
    wanted = ema if ema is not None else recipe.sample.ema if recipe.sample.ema is not None else recipe.train.ema[-1]
    if wanted not in recipe.train.ema:
        raise UsageError(f"EMA width {wanted:g} was not kept; this run has {', '.join(map(str, recipe.train.ema))}")
    return wanted


def load_ema_weights(denoiser: Denoiser, groups: dict[str, dict[str, Tensor]], chosen: float, where: str) -> None:
    """Put the EMA weights of one width into the network. Raises ToolkitError when they do not fit it."""
    prefix = f"{chosen:g}/"
    averaged = {k.removeprefix(prefix): value for k, value in groups["ema"].items() if k.startswith(prefix)}
    try:
        # only parameters are averaged; what else a network keeps comes from the model as it is
        denoiser.net.load_state_dict({**groups["model"], **averaged}, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ToolkitError(f"{where} does not fit the recipe beside it ({first})") from None
