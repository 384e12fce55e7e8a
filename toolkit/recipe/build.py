"""From a recipe's names and numbers to the objects of the core; what is an object already is taken as it is."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from toolkit.diffusion import (
    GRIDS,
    SAMPLERS,
    SCHEDULES,
    TIME_DISTRIBUTIONS,
    WEIGHTINGS,
    Adaptive,
    Denoiser,
    RegressionDenoiser,
    Shift,
    TimeDistribution,
    Topped,
    ZeroTerminalSNR,
    without_top,
)
from toolkit.diffusion.grid import IN_LEVELS, Grid, highest, learned
from toolkit.diffusion.loss import Unweighted, Weighting
from toolkit.diffusion.sampler import Sampler
from toolkit.diffusion.schedule import Schedule
from toolkit.diffusion.variance import PosteriorVariance
from toolkit.errors import UsageError
from toolkit.recipe.check import instantiate
from toolkit.recipe.objects import Named, absent, describe
from toolkit.recipe.schema import Diffusion, Recipe, Train
from toolkit.training.initial import initialise
from toolkit.training.loop import Config
from toolkit.training.objective import Objective
from toolkit.training.precision import resolve

if TYPE_CHECKING:
    from toolkit.data.dataset import Facts
    from toolkit.modality import Modality


def check(recipe: Recipe) -> None:
    """Raise UsageError for names, or options of them, that the core does not have or that do not go together.

    It takes no data, so that what would fail after the training is said before it.
    """
    for name, value in (("network", recipe.network), ("denoiser", recipe.diffusion.denoiser)):
        _present(value, name)
    time_distribution, noise = _plain_times(recipe.diffusion.time), schedule(recipe.diffusion)
    weighting(recipe.diffusion)
    objective(recipe.diffusion)
    spec = recipe.sample.sampler
    sampler({k: v for k, v in spec.items() if (k, v) != ("error", "learned")} if isinstance(spec, dict) else spec)
    try:
        grid(recipe.sample.grid, time_distribution)(noise, recipe.sample.steps)
    except ValueError as error:
        raise UsageError(f"sample.grid: {error}") from None


def _plain_times(spec: Named) -> TimeDistribution:
    times: TimeDistribution = _of_type(TimeDistribution, TIME_DISTRIBUTIONS, spec, "time distribution")
    return times


def _of_type(kind: type[Any], registry: Mapping[str, Callable[..., Any]], spec: Any, name: str) -> Any:
    """Return the object of a name, or an object that is a `kind`. Raises UsageError."""
    value = instantiate(registry, spec, name)
    if not isinstance(value, kind):
        raise UsageError(
            f"{name}: {describe(value)} is no {kind.__name__}; derive its class from {kind.__module__}.{kind.__name__}"
        )
    return value


def schedule(diffusion: Diffusion) -> Schedule:
    """Return the schedule of a [diffusion] section, warped as it says. Raises UsageError."""
    noise: Schedule = _of_type(Schedule, SCHEDULES, diffusion.schedule, "schedule")
    try:
        if diffusion.zero_terminal_snr:
            noise = ZeroTerminalSNR(noise)
        return noise if diffusion.shift == 1 else Shift(noise, diffusion.shift)
    except ValueError as error:
        raise UsageError(f"diffusion: {error}") from None


def sampler(spec: Named | Sampler, error: PosteriorVariance | None = None) -> Sampler:
    """Return the sampler of a name or an object; `error`: what a name's option error = "learned" stands for.

    Raises UsageError.
    """
    if isinstance(spec, dict) and spec.get("error") == "learned":
        if error is None:
            raise UsageError(
                'sampler: error = "learned" needs a run that measured it while it trained, as runs of pictures and '
                'sounds do; take "unit", or train again'
            )
        spec = {**spec, "error": error}
    solver: Sampler = _of_type(Sampler, SAMPLERS, spec, "sampler")
    return solver


def grid(
    spec: Named | Grid | Tensor, time_distribution: TimeDistribution | None = None, spread: float | None = None
) -> Grid:
    """Return (schedule, n) -> times of a name, a function or the times themselves.

    `time_distribution`: with what the run has learned.
    `spread`: the largest eigenvalue of the data, which the highest level follows unless the recipe says sigma_max.
    Raises UsageError.
    """
    if isinstance(spec, Tensor):
        return functools.partial(_fixed_times, spec)
    if callable(spec):
        return spec
    if not isinstance(spec, str | dict):
        raise UsageError(f"grid: {describe(spec)} is no function (schedule, steps) -> times, and no tensor of times")
    spec = {"name": spec} if isinstance(spec, str) else spec
    if spec["name"] == "learned":
        if not isinstance(time_distribution := without_top(time_distribution), Adaptive):
            raise UsageError("the grid 'learned' needs a run that was trained with diffusion.time = \"adaptive\"")
        return functools.partial(learned, time_distribution=time_distribution)
    if spec["name"] in IN_LEVELS and spread is not None:
        spec = {"sigma_max": highest(spread), **spec}
    spacing: Grid = instantiate({**GRIDS, "learned": learned}, spec, "grid")
    return spacing


def _fixed_times(times: Tensor, schedule: Schedule, n: int) -> Tensor:
    return times


def time_distribution(diffusion: Diffusion, denoiser: Denoiser, facts: Facts) -> TimeDistribution:
    """The distribution of times of a [diffusion] section, over the noise range of the denoiser where it leaves it open.

    A share `top` of it is for the levels where what is common to a whole example is decided, if that was measured.
    Raises UsageError.
    """
    named = diffusion.time
    spec = {"name": named} if isinstance(named, str) else named
    whole = facts.spread
    if isinstance(spec, dict) and spec["name"] == "adaptive":
        if (levels := denoiser.noise_range) is not None:
            spec = {**dict(zip(("low", "middle", "high"), levels, strict=True)), **spec}
        elif whole is not None:
            spec = {"high": highest(whole), **spec}
    times = _plain_times(spec)
    return Topped(times, diffusion.top, high=highest(whole)) if whole is not None and diffusion.top else times


def denoiser(recipe: Recipe, modality: Modality, weights: bool = True) -> Denoiser:
    """Return a new, untrained denoiser; its weights are functions of (seed, name of the parameter).

    Of a denoiser or a network that is an object it is a copy, with the weights that the object has. `weights`: False
    where they will be loaded, and need not be drawn so. Raises UsageError.
    """
    spec = recipe.diffusion.denoiser
    if isinstance(spec, Denoiser):
        return copy.deepcopy(spec)
    if isinstance(spec, nn.Module):
        raise UsageError(f"denoiser: {describe(spec)} is a network: pass it as network=, or a function that wraps it")
    _present(spec, "denoiser")
    noise = schedule(recipe.diffusion)
    net = network(recipe, modality, weights)
    try:
        result = modality.denoiser(net, noise, recipe.diffusion.prediction) if spec is None else _call(spec, net, noise)
    except ValueError as error:
        raise UsageError(f"diffusion.{'prediction' if spec is None else 'denoiser'}: {error}") from None
    if not isinstance(result, Denoiser):
        raise UsageError(f"denoiser: {describe(spec)} gave {describe(result)}, which is no toolkit.diffusion.Denoiser")
    return result


def network(recipe: Recipe, modality: Modality, weights: bool = True) -> nn.Module:
    """Return the modality's network, or what the recipe has in its place, for `denoiser`. Raises UsageError."""
    spec = recipe.network
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    _present(spec, "network")

    def make() -> nn.Module:
        net = modality.network() if spec is None else _call(spec, modality)
        if not isinstance(net, nn.Module):
            raise UsageError(f"network: {describe(spec)} gave {describe(net)}, which is no torch.nn.Module")
        return net

    if weights:
        return initialise(make, recipe.train.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)  # as there, for what is random and no weight
        return make()


def _call(function: Any, *arguments: Any) -> Any:
    """Return what a function or class of the user's gives for as many of the arguments as it has no default for."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return function(*arguments)
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return function(*arguments[: sum(p.default is p.empty for p in plain)])


def _present(spec: Any, kind: str) -> None:
    if (description := absent(spec)) is not None:
        raise UsageError(f"the {kind} was an object in Python ({description}), which no file can hold: pass it again")
    if spec is not None and not callable(spec):
        raise UsageError(f"{kind}: {describe(spec)} cannot be called")


def weighting(diffusion: Diffusion) -> Weighting:
    """Return the weighting of a [diffusion] section. Raises UsageError."""
    law: Weighting = _of_type(Weighting, WEIGHTINGS, diffusion.weighting, "weighting")
    return law


def objective(diffusion: Diffusion) -> Objective | None:
    """Return the loss that takes the place of the denoiser's own, or None. Raises UsageError."""
    _present(diffusion.loss, "loss")
    made: Objective | None = diffusion.loss
    return made


def fit_config(
    recipe: Recipe, denoiser: Denoiser, facts: Facts, steps: int, device: torch.device, channels_last: bool
) -> Config:
    """Return what the training loop needs, from a recipe. Raises UsageError."""
    train: Train = recipe.train
    weights = weighting(recipe.diffusion)
    if not isinstance(weights, Unweighted) and not isinstance(denoiser, RegressionDenoiser):
        names = f"{type(weights).__name__} weighs squared errors, and {type(denoiser).__name__} has none"
        raise UsageError(f'diffusion.weighting: {names}; take weighting = "none"')
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
        weighting=weights,
        objective=objective(recipe.diffusion),
        stratified=recipe.diffusion.stratified,
        dtype=resolve(train.precision, device),
        channels_last=channels_last,
        compile=train.compile,
    )
