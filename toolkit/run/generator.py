"""A trained run in memory: load it, sample from it."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from toolkit import recipe as recipes
from toolkit.device import pick
from toolkit.diffusion import Denoiser, TimeDistribution
from toolkit.diffusion.grid import Grid
from toolkit.diffusion.sampler import Sampler
from toolkit.diffusion.schedule import Schedule
from toolkit.diffusion.variance import PosteriorVariance, VarianceMeter
from toolkit.errors import DataError, ToolkitError, UsageError, unknown
from toolkit.modality import Modality, Options, Request
from toolkit.recipe import Recipe, build, choose, objects, trust
from toolkit.recipe.check import validate
from toolkit.recipe.format import explain
from toolkit.recipe.objects import Named
from toolkit.run import data_block, layout, weights
from toolkit.run.compose import (
    UNCONDITIONAL,
    Guide,
    Label,
    Sampling,
    Stage,
    conditions,
    label_numbers,
    require_room,
    trajectory,
)
from toolkit.run.notebook import image
from toolkit.run.post_hoc import load_between
from toolkit.run.protected import read_run as read_run
from toolkit.run.samples import Part, Samples, SampleStep, drain, gather
from toolkit.training.measurement import best_step
from toolkit.training.precision import resolve
from toolkit.training.storage.checkpoint import CheckpointStore

OPTIONS = tuple(name for name in Sampling.model_fields if name != "ema")
"""Options of a sampling call, beside its seed and batch."""


class Generator:
    """A trained denoiser with all that is needed to sample from it."""

    run: Path | None = None
    """The folder it was loaded from."""
    step: int | None = None
    """Step of its checkpoint."""
    ema: float | None = None
    """Width of the average that its weights are; 0: the weights themselves."""

    def __init__(
        self,
        recipe: Recipe,
        modality: Modality,
        denoiser: Denoiser,
        device: torch.device,
        time_distribution: TimeDistribution | None = None,
        error: PosteriorVariance | None = None,
    ) -> None:
        """`time_distribution`: with what it has learned; `error`: how far x_hat was from x in training."""
        self.recipe = recipe
        self.modality = modality
        # forward alone, convolutions are faster in this layout; which one training is faster in depends on the machine
        self.denoiser = denoiser.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device = device
        self.time_distribution, self.error = time_distribution, error
        self.dtype = resolve(recipe.train.precision, device)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.denoiser.parameters())
        return f"<generator '{self.recipe.name}' of {self.modality.name}, {size:,} parameters, on {self.device}>"

    def _repr_html_(self) -> str:
        """Return a description and how to sample, above the last picture of its training where there is one."""
        labels = ", ".join(self.modality.labels[:20]) + (", ..." if len(self.modality.labels) > 20 else "")
        text = f"{self!r}{labels and f' labels: {labels}'}"
        page = f"<p><code>{html.escape(text)}</code></p><p><code>generator.sample(16)</code> makes samples.</p>"
        return page + ("" if self.run is None else image(self.run / layout.PICTURE, "samples at the end of training"))

    def fresh_modality(self) -> Modality:
        """Return the modality anew, as the recipe says: to open the data that the run was trained on."""
        kind = type(self.modality)
        return kind(*recipes.validate_for(self.recipe, kind))

    def on(self, opened: Modality) -> Generator:
        """Return this generator with a modality whose data is open; a vocoder makes its sounds again.

        Raises DataError when that data is no longer such as the run was trained on.
        """
        if others := data_block.differing(self.modality.facts, opened.facts):
            raise DataError(
                f"the data of run '{self.recipe.name}' has changed since it was trained: other {', '.join(others)}; "
                "put back what it was trained on, or train again"
            )
        facts = self.modality.facts  # the weights know the scale of the data that they were trained on
        opened.learn(spread=facts.spread, mean=facts.mean, std=facts.std, bounds=facts.bounds)
        same = Generator(self.recipe, opened, self.denoiser, self.device, self.time_distribution, self.error)
        same.run, same.step, same.ema = self.run, self.step, self.ema
        return same

    def sample(
        self,
        n: int = 16,
        label: Label = None,
        steps: int | None = None,
        guidance: float | Guide | None = None,
        sampler: Named | Sampler | None = None,
        grid: Named | Grid | Tensor | None = None,
        restarts: int | None = None,
        seed: int = 0,
        batch: int = 64,
        weak: Generator | None = None,
        **options: Any,
    ) -> Samples:
        """Return n samples. What is None is as the recipe's [sample] section says.

        `label`: one for all, or several in turn, as a list or as "3,4"; None takes all labels in turn, "none" asks for
        no label. `guidance`: a number, or a function (strong, weak) -> denoiser of two denoisers (x_t, t) -> x_hat.
        `sampler` and `grid` are names, or objects: a `Sampler`, a function (schedule, steps) -> times, or the times.
        `weak`: another snapshot of the run (an earlier step, a wider EMA) or a smaller model. Then `guidance` leads
        away from it (autoguidance, Karras et al. 2024), instead of away from no label.
        `options`: back, rescale, interval, clip, as in that section, and the modality's `SampleOptions` (seconds=0.5).

        Sample i depends on (seed, i) only, up to rounding, whatever n and `batch` are. Raises UsageError.
        """
        values = {"steps": steps, "guidance": guidance, "sampler": sampler, "grid": grid, "restarts": restarts}
        return drain(self.steps(n, label, seed, batch, weak, **values, **options))

    def steps(
        self,
        n: int = 16,
        label: Label = None,
        seed: int = 0,
        batch: int = 64,
        weak: Generator | None = None,
        **options: Any,
    ) -> Iterator[SampleStep]:
        """Yield every step of the sampler on the way to what `sample` returns for the same arguments.

        The last step's `samples` are all of them. Whoever iterates draws progress, looks at the samples, or stops.
        """
        if n < 1 or batch < 1:
            raise UsageError(f"at least one sample is needed, in batches of at least one; got {n} and {batch}")
        how, ask = self._split_options(options)
        require_room(n, batch, self.modality.shape, self.device)
        numbers = label_numbers(label, self.modality.labels, n)
        requests = self.requests(n, numbers, seed, ask)
        for request in requests:
            require_room(len(request.which), batch, request.shape, self.device)
        jobs = [job for request in requests for job in _split(request, batch)]
        nothing = UNCONDITIONAL if UNCONDITIONAL not in self.modality.labels else "no label"
        names = (*self.modality.labels, nothing)

        def data(x: Tensor, job: Request) -> Tensor:
            with torch.no_grad():  # embeddings may be learned
                return self.denoiser.unembed(x.float(), conditions(self, job)).cpu()

        def gathered(parts: tuple[Part, ...], under_way: tuple[Request, Tensor] | None) -> Samples:
            if under_way is not None:
                parts = (*parts, (under_way[0].which, data(under_way[1], under_way[0])))
            which = sorted(i for part, _ in parts for i in part)
            labels = tuple(names[numbers[i]] for i in which) if numbers else ()
            return Samples(gather(parts), labels, self.modality, seed, ask)

        finished: tuple[Part, ...] = ()
        conditioning = self.modality.conditioning()
        for done, job in enumerate(jobs):
            labels = None if numbers is None else [numbers[i] for i in job.which]
            for step in self.trajectory(job.which, labels, seed, weak, job, **how):
                if step.last:
                    finished += ((job.which, data(conditioning.finish(step.x.float(), job.cond, ask), job)),)
                so_far = functools.partial(gathered, finished, None if step.last else (job, step.x_hat))
                index, total = done * step.total + step.index + 1, len(jobs) * step.total
                yield SampleStep(index, total, job.which, step.t, step.s, step.x, step.x_hat, so_far)

    def requests(
        self, n: int, labels: Sequence[int] | None, seed: int = 0, ask: Options | None = None
    ) -> list[Request]:
        """Return what to make for n samples with these labels: one request, or several where they differ in shape."""
        numbers = None if labels is None else torch.tensor(labels)
        return self.modality.conditioning().plan(ask or self.modality.SampleOptions(), numbers, seed, range(n))

    def trajectory(
        self,
        positions: Sequence[int],
        labels: Sequence[int] | None = None,
        seed: int = 0,
        weak: Generator | None = None,
        request: Request | None = None,
        **options: Any,
    ) -> Iterator[Stage]:
        """Yield the steps from noise to the samples at `positions`, on the run's device.

        `request`: their shape and conditions; by default the shape of the training examples, and none. `options`:
        steps, guidance, sampler, grid, restarts, back, rescale, interval, clip, as in `sample`. Raises UsageError.
        """
        how = Sampling.of(self.recipe.sample, options)
        request = request or Request(tuple(positions), self.modality.shape)
        return trajectory(self, request, labels, positions, seed, how, weak)

    def _split_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], Options]:
        """Split options into the sampler's and the modality's. Raises UsageError for one that neither has."""
        asked = self.modality.SampleOptions.model_fields
        for name in options:
            if name not in OPTIONS and name not in asked:
                raise unknown("option", name, ["n", "label", "seed", "batch", "weak", *OPTIONS, *asked])
        ask = validate(
            self.modality.SampleOptions, {name: value for name, value in options.items() if name in asked}, "sample"
        )
        return {name: value for name, value in options.items() if name not in asked}, ask


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
    *,
    network: Any = None,
    denoiser: Any = None,
    schedule: Named | Schedule | None = None,
    time: Named | TimeDistribution | None = None,
) -> Generator:
    """Return the generator of a run folder: its newest whole checkpoint, or that of `step`.

    network, denoiser, schedule, time: as `toolkit.train` takes them; a run that was trained with objects needs them.
    `step`: "best" is the stored one of the lowest held-out loss, unless the newest is as good. `ema`: which average,
    one of train.ema, or 0 for the weights themselves; at the end of a run any width between them and just below.
    The folder may be a stranger's: nothing that it holds or names is executed. A run of a modality that is not
    built in needs that code, so it must be named here too. Raises UsageError when the folder is no run, and
    ToolkitError when what is in it is damaged.
    """
    run, where = Path(run).expanduser(), pick(device)
    recipe, facts = read_run(run, notify)
    kind = trust.modality_of(recipe, modality)
    given = {"network": network, "denoiser": denoiser, "schedule": schedule, "time": time}
    if any(value is not None for value in given.values()):
        recipe = choose.with_objects(recipe, given)
    objects.require(recipe, run)
    store, own = CheckpointStore(run / layout.CHECKPOINTS), recipe.network is recipe.diffusion.denoiser is None
    at = best_step(run / layout.METRICS, store.steps()) if step == "best" else step
    with explain(run / layout.RECIPE):
        opened = kind(*recipes.validate_for(recipe, kind), facts)
        if wrong := opened.wrong_facts():
            raise ToolkitError(f"{run / layout.FACTS}: {wrong}; restore it from a copy, or take another run")
        # counted before anything is read or built: the recipe may ask for a network of any size
        counted = weights.without_numbers(opened) if own else None
        if counted is not None:
            weights.require_to_load(counted, len(recipe.train.ema))
    spans = None if counted is None else weights.spans(counted, len(recipe.train.ema))
    snapshot = store.load(groups=["model", "ema"], step=at, notify=notify, spans=spans)
    if snapshot is None:
        raise UsageError(f"{run} has no checkpoint yet; go on training it, or wait for the first one to be saved")
    with explain(run / layout.RECIPE):
        built = build.denoiser(recipe, opened, weights=False)
    if line := snapshot.version_note:
        notify(line)
    with explain(run / layout.RECIPE):
        if ema is None or ema in (0, *recipe.train.ema):
            ema = weights.resolve_ema_width(recipe, ema)
            weights.load_ema_weights(built, snapshot.groups, ema, f"{snapshot.folder}")
        else:
            load_between(built, store, snapshot, recipe.train.ema, ema, spans)
    time_distribution = None  # sampling needs none
    if not objects.absent(recipe.diffusion.time):
        time_distribution = build.time_distribution(recipe.diffusion, built, facts)
    if time_distribution is not None and time_distribution.state():
        try:
            time_distribution.restore(snapshot.state["law"])
        except (KeyError, ValueError, AttributeError) as error:
            raise ToolkitError(f"{snapshot.folder} holds no time distribution that fits the recipe ({error})") from None
    meter = VarianceMeter()
    if isinstance(variance := snapshot.state.get("variance"), dict):
        try:
            meter.restore(variance)
        except ValueError as error:
            raise ToolkitError(f"{snapshot.folder}: {error}") from None
    generator = Generator(recipe, opened, built, where, time_distribution, meter.table())
    generator.run, generator.step, generator.ema = run, snapshot.step, ema
    return generator
