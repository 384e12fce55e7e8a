"""From a trained denoiser to a trajectory: guidance and its interval, clipping, windows, restarts.

`Sampling` says how, by the recipe's [sample] section with what a call says otherwise. `denoise` wraps the denoiser
accordingly, from the inside out: guided, within the interval, clipped, by windows, without gradients. `trajectory`
follows it, and goes back for restarts.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import AfterValidator, ConfigDict, PlainValidator, Strict
from torch import Tensor

from toolkit import memory
from toolkit.diffusion import (
    Denoiser,
    NoiseStream,
    Step,
    autoguidance,
    classifier_free,
    clip,
    conditional,
    interval,
)
from toolkit.diffusion import trajectory as follow
from toolkit.diffusion.recall import Composed, Denoise, Estimates, estimate
from toolkit.diffusion.sampler import at
from toolkit.diffusion.start import bare, marginal
from toolkit.diffusion.window import cut, starts, windowed
from toolkit.errors import UsageError, unknown
from toolkit.modality import Facts, Request
from toolkit.recipe import build
from toolkit.recipe.check import validate
from toolkit.recipe.objects import plain
from toolkit.recipe.schema import Sample
from toolkit.training.precision import autocast

if TYPE_CHECKING:
    from toolkit.run.generator import Generator

UNCONDITIONAL = "none"
"""The label that asks for no label, unless one is called so; the empty one always does."""
Label = str | int | Sequence[str | int] | None
"""One for all samples, or several in turn, "3,4" or ["3", "4"]; None: all there are, in turn."""
Guide = Callable[[Denoise, Denoise], Denoise]
"""(strong, weak) -> guided, e.g. `functools.partial(autoguidance, w=2.0)`."""


def _guidance(value: object) -> object:
    if callable(value) or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"is a number, 0 or more, or a function (strong, weak) -> denoiser (found {value!r:.60})")


def _ascending(value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and not value[0] < value[1]:
        raise ValueError(f"goes from a low to a high log-SNR, not from {value[0]:g} to {value[1]:g}")
    return value


class Sampling(Sample):
    """Settings of the sampling. In `interval`, (-inf, inf) is everywhere."""

    model_config = ConfigDict(allow_inf_nan=True)

    guidance: Annotated[Any, PlainValidator(_guidance)] = 1.0
    """A number, 1 = the conditional model; or a function (strong, weak) -> guided of two denoisers (x_t, t) -> x_hat:
    strong under the label, weak without it or of the weak generator. Both are one where there is neither."""
    interval: Annotated[tuple[float, float] | None, Strict(False), AfterValidator(_ascending)] = None

    @classmethod
    def of(cls, section: Sample, options: Mapping[str, Any]) -> Sampling:
        """Return a recipe's section with what is said otherwise; None says nothing. Raises UsageError."""
        values = {name: plain(value) for name, value in options.items() if value is not None}
        if isinstance(times := values.get("grid"), Tensor):
            values["steps"] = len(times) - 1
        return validate(cls, {**dict(section), **values}, "sample")


@dataclass(frozen=True)
class Stage(Step):
    """One step of a trajectory that knows how many there are, restarts included."""

    total: int

    @property
    def last(self) -> bool:
        """True where its x is the sample."""
        return self.index + 1 == self.total


@dataclass(frozen=True, eq=False)
class Inference(Composed):
    """Context without gradients, in the run's precision.

    Around each call and not around the trajectory, which hands control back between steps.
    """

    denoise: Denoise
    device: torch.device
    dtype: torch.dtype | None

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        with torch.no_grad(), autocast(self.device, self.dtype):
            return estimate(self.denoise, x_t, t, estimates)


def trajectory(
    run: Generator,
    request: Request,
    labels: Sequence[int] | None,
    positions: Sequence[int],
    seed: int,
    how: Sampling,
    weak: Generator | None = None,
) -> Iterator[Stage]:
    """Yield the way from noise to the samples at `positions`, step by step, on the run's device.

    `how.restarts` times the last `how.back` steps are taken again, from their sample with noise added (Xu et al. 2023,
    "Restart Sampling", algorithm 1, with t_min = 0): mistakes of earlier steps are mended by later ones.
    Raises UsageError.
    """
    schedule, method = run.denoiser.schedule, build.sampler(how.sampler, run.error)
    largest = spread(run.modality.facts, request.shape)
    try:
        times = build.grid(how.grid, run.time_distribution, largest)(schedule, how.steps)
    except ValueError as error:
        raise UsageError(f"steps: {error}") from None
    # schedules such as karras and sqrt end with a little noise left, which is taken out by a call more in each round
    again, clean = times[-1 - how.back :], at(schedule, float(times[-1])).sigma > 0
    total = len(times) - 1 + clean + how.restarts * (len(again) - 1 + clean)
    noise = NoiseStream(seed, "sample", positions, run.denoiser.space(request.shape))
    draw, first = (lambda: noise().to(run.device)), float(times[0])
    guided = denoise(run, request, labels, how, weak)
    x = bare(schedule, first, draw) if largest is None else marginal(guided, schedule, first, draw)
    calls = 0
    for round_ in range(how.restarts + 1):
        if round_:
            with torch.no_grad():
                examples = run.denoiser.unembed(x, conditions(run, request))
            request, times = run.modality.conditioning().redraw(request, seed, positions, round_), again
            guided = denoise(run, request, labels, how, weak)
            alpha, sigma = (float(value) for value in schedule(times[0]))
            with torch.no_grad():  # embeddings may be learned
                data = run.denoiser.embed(examples, conditions(run, request))
            x = alpha * data + sigma * draw()
        for step in follow(guided, schedule, method, x, times, noise, clean=True):
            x = step.x
            yield Stage(calls, step.t, step.s, step.x, step.x_hat, total)
            calls += 1


def spread(facts: Facts, shape: Sequence[int]) -> float | None:
    """The largest eigenvalue of examples of `shape`, which longer ones than trained can have: in proportion."""
    if facts.spread is None:
        return None
    return facts.spread * max(1.0, math.prod(shape) / math.prod(facts.shape))


def denoise(
    run: Generator, request: Request, labels: Sequence[int] | None, how: Sampling, weak: Generator | None = None
) -> Denoise:
    """Return the run's denoiser for a request, guided, clipped and by windows as `how` says. Raises UsageError."""
    modality = run.modality
    if weak is not None and (weak.modality.shape, weak.modality.labels) != (modality.shape, modality.labels):
        raise UsageError("the weak generator makes other examples than this one; take a snapshot of the same run")
    cond = conditions(run, request)
    if labels is not None:
        cond["label"] = torch.tensor(labels, device=run.device)
    other = None if weak is None else weak.denoiser

    def part(cond: dict[str, Tensor]) -> Denoise:
        inner = guide(run.denoiser, cond, how, len(modality.labels), other)
        bounds = modality.facts.bounds
        return clip(inner, *bounds) if how.clip and bounds else inner

    window, length = request.window, request.shape[-1]
    if window is None:
        inner = part(cond)
    else:
        places = starts(length, window, request.stride)
        inner = windowed(lambda at: part(cut(cond, at, window, length)), length, window, places)
    return Inference(inner, run.device, run.dtype)


def guide(
    denoiser: Denoiser, cond: dict[str, Tensor], how: Sampling, null: int, weak: Denoiser | None = None
) -> Denoise:
    """Return the denoiser under conditions, led away from the weak one or from no label: `null` is that label."""
    strong, w = conditional(denoiser, cond), how.guidance
    without = {**cond, "label": torch.full_like(cond["label"], null)} if "label" in cond else None
    if callable(w):
        lesser = conditional(denoiser, without) if weak is None and without else strong
        inside = w(strong, lesser if weak is None else conditional(weak, cond))
    elif weak is not None:
        inside = autoguidance(strong, conditional(weak, cond), w, how.rescale)
    else:
        inside = strong if without is None else classifier_free(denoiser, cond, without, w, how.rescale)
    if how.interval is None or w == 1:
        return inside
    return interval(inside, strong, denoiser.schedule, *how.interval)


def label_numbers(label: Label, known: Sequence[str], n: int) -> list[int] | None:
    """Return a label's number for each of n samples; None where there are no labels. Raises UsageError."""
    if not known:
        if label not in (None, "", UNCONDITIONAL):
            raise UsageError(f"label '{label}': this run was trained without labels; leave --label out")
        return None
    if label is None:
        return [i % len(known) for i in range(n)]
    index = {"": len(known), UNCONDITIONAL: len(known)} | {_normal_form(name): i for i, name in enumerate(known)}
    if isinstance(label, str) and _normal_form(label) not in index and "," in label:
        label = [part.strip() for part in label.split(",")]
    wanted = [_normal_form(str(name)) for name in ([label] if isinstance(label, str | int) else label)]
    if not 0 < len(wanted) <= n:
        raise UsageError(f"{len(wanted)} labels for {n} samples; give one label, or at most one for each")
    for name in wanted:
        if name not in index:
            raise unknown("label", name, [known for known in index if known])
    return [index[wanted[i % len(wanted)]] for i in range(n)]


def _normal_form(name: str) -> str:
    """Return a label as it is compared: é is one character, however it was typed."""
    return unicodedata.normalize("NFC", name)


def require_room(n: int, batch: int, shape: Sequence[int], device: torch.device) -> None:
    """Raise UsageError where the memory does not hold n samples of `shape` that are made `batch` at a time.

    By the least that there is of each: of all of them the result twice, of a batch the noise, x_t, x_hat and an
    earlier one, and what the network makes of them.
    """
    numbers, sides = math.prod(shape), " x ".join(map(str, shape))
    fix = "ask for fewer with -n, or for smaller ones"
    memory.require(n * (8 * numbers + 100), f"{n:,} samples of {sides}", fix)
    at_once = min(n, batch)
    memory.require(32 * at_once * numbers, f"a batch of {at_once:,} samples of {sides}", fix, device)


def conditions(run: Generator, request: Request) -> dict[str, Tensor]:
    """Return the conditions of a request on the run's device."""
    return {name: value.to(run.device) for name, value in request.cond.items()}
