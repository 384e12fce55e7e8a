"""From a recipe's names and numbers to the objects of the core."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toolkit.diffusion import (
    GRIDS,
    SAMPLERS,
    SCHEDULES,
    TIME_DISTRIBUTIONS,
    WEIGHTINGS,
    Adaptive,
    Denoiser,
    Shift,
    TimeDistribution,
    Topped,
    ZeroTerminalSNR,
    without_top,
)
from toolkit.diffusion.grid import IN_LEVELS, Grid, highest, learned
from toolkit.diffusion.sampler import Sampler
from toolkit.diffusion.schedule import Schedule
from toolkit.diffusion.variance import PosteriorVariance
from toolkit.errors import UsageError
from toolkit.recipe import Diffusion, Named, Recipe, Train
from toolkit.recipe.check import instantiate
from toolkit.training.initial import initialised
from toolkit.training.loop import Config
from toolkit.training.precision import resolve

if TYPE_CHECKING:
    from toolkit.data.dataset import Facts
    from toolkit.modality import Modality


def check(recipe: Recipe) -> None:
    """Raise UsageError for names, or options of them, that the core does not have or that do not go together.

    It takes no data, so that what would fail after the training is said before it.
    """
    law, noise = _plain_times(recipe.diffusion.time), schedule(recipe.diffusion)
    instantiate(WEIGHTINGS, recipe.diffusion.weighting, "weighting")
    spec = recipe.sample.sampler
    sampler(spec if isinstance(spec, str) else {k: v for k, v in spec.items() if (k, v) != ("error", "learned")})
    try:
        grid(recipe.sample.grid, law)(noise, recipe.sample.steps)
    except ValueError as error:
        raise UsageError(f"sample.grid: {error}") from None


def _plain_times(spec: Named) -> TimeDistribution:
    made: TimeDistribution = instantiate(TIME_DISTRIBUTIONS, spec, "time law")
    return made


def schedule(diffusion: Diffusion) -> Schedule:
    """The schedule of a [diffusion] section, warped as it says. Raises UsageError."""
    made: Schedule = instantiate(SCHEDULES, diffusion.schedule, "schedule")
    try:
        if diffusion.zero_terminal_snr:
            made = ZeroTerminalSNR(made)
        return made if diffusion.shift == 1 else Shift(made, diffusion.shift)
    except ValueError as error:
        raise UsageError(f"diffusion: {error}") from None


def sampler(spec: Named | Sampler, error: PosteriorVariance | None = None) -> Sampler:
    """The sampler a recipe or --sampler names, or the one given; `error`: what its option error = "learned" stands for.

    Raises UsageError.
    """
    if isinstance(spec, Sampler):
        return spec
    if not isinstance(spec, str) and spec.get("error") == "learned":
        if error is None:
            raise UsageError(
                'sampler: error = "learned" needs a run that measured it while it trained, as runs of pictures and '
                'sounds do; take "unit", or train again'
            )
        spec = {**spec, "error": error}
    made: Sampler = instantiate(SAMPLERS, spec, "sampler")
    return made


def grid(spec: Named | Grid | Tensor, law: TimeDistribution | None = None, spread: float | None = None) -> Grid:
    """The times a recipe names, or those given: (schedule, n) -> times; `law` is what the run learned.

    `spread`: the largest eigenvalue of the data, which the highest level follows unless the recipe says sigma_max.
    Raises UsageError.
    """
    if isinstance(spec, Tensor):
        return functools.partial(_fixed, spec)
    if callable(spec):
        return spec
    spec = {"name": spec} if isinstance(spec, str) else spec
    if spec["name"] == "learned":
        if not isinstance(law := without_top(law), Adaptive):
            raise UsageError("the grid 'learned' needs a run that was trained with diffusion.time = \"adaptive\"")
        return functools.partial(learned, law=law)
    if spec["name"] in IN_LEVELS and spread is not None:
        spec = {"sigma_max": highest(spread), **spec}
    made: Grid = instantiate({**GRIDS, "learned": learned}, spec, "grid")
    return made


def _fixed(times: Tensor, schedule: Schedule, n: int) -> Tensor:
    return times


def time_distribution(diffusion: Diffusion, denoiser: Denoiser, facts: Facts) -> TimeDistribution:
    """The distribution of times of a [diffusion] section, over the noise range of the denoiser where it leaves it open.

    A share `top` of it is for the levels where what is common to a whole example is decided, if that was measured.
    Raises UsageError.
    """
    named = diffusion.time
    spec = {"name": named} if isinstance(named, str) else named
    whole = facts.spread
    if spec["name"] == "adaptive":
        if (levels := denoiser.noise_range) is not None:
            spec = {**dict(zip(("low", "middle", "high"), levels, strict=True)), **spec}
        elif whole is not None:
            spec = {"high": highest(whole), **spec}
    made = _plain_times(spec)
    return Topped(made, diffusion.top, high=highest(whole)) if whole is not None and diffusion.top else made


def denoiser(recipe: Recipe, modality: Modality) -> Denoiser:
    """A new, untrained denoiser; its weights are functions of (seed, name of the parameter). Raises UsageError."""
    law = schedule(recipe.diffusion)
    net = initialised(modality.network, recipe.train.seed)
    try:
        return modality.denoiser(net, law, recipe.diffusion.prediction)
    except ValueError as error:
        raise UsageError(f"diffusion.prediction: {error}") from None


def fit_config(
    recipe: Recipe, denoiser: Denoiser, facts: Facts, steps: int, device: torch.device, channels_last: bool
) -> Config:
    """What the loop needs, from a recipe. Raises UsageError."""
    train: Train = recipe.train
    return Config(
        steps=steps,
        batch=train.batch,
        accumulate=train.accumulate,
        lr=train.lr,
        warmup=train.warmup,
        decay=train.decay,
        weight_decay=train.weight_decay,
        betas=train.betas,
        optimizer=train.optimizer,
        clip=train.clip,
        ema=train.ema,
        seed=train.seed,
        time_distribution=time_distribution(recipe.diffusion, denoiser, facts),
        weighting=instantiate(WEIGHTINGS, recipe.diffusion.weighting, "weighting"),
        stratified=recipe.diffusion.stratified,
        dtype=resolve(train.precision, device),
        channels_last=channels_last,
        compile=train.compile,
    )
