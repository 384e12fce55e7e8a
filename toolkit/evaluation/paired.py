"""Two networks on the same held-out examples at the same noise: which one is better, and how sure that is.

What both owe to the examples and the noise is in both losses and not in their difference, so a few hundred examples
tell apart what samples of thousands cannot. Whatever the networks predict and however they were weighted and scheduled,
they are compared in x: |x - x_hat|^2 at equal sigma / alpha, where x_t / alpha is the same. Denoisers of a learned
space, those of texts, are compared by their own loss, the cross-entropy of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from toolkit import paths
from toolkit import recipe as recipes
from toolkit.diffusion import Denoiser, Schedule
from toolkit.diffusion.denoiser import RegressionDenoiser
from toolkit.diffusion.likelihood import total
from toolkit.diffusion.loss import Weighting
from toolkit.diffusion.schedule import beside, expand
from toolkit.errors import DataError, UsageError
from toolkit.evaluation.comparison import Bin, Comparison
from toolkit.modality import Facts, Modality
from toolkit.recipe import Recipe, build
from toolkit.run.generator import Generator, load
from toolkit.training.difference import Difference
from toolkit.training.held_out import FixedNoise
from toolkit.training.precision import autocast

EXAMPLES = 512
"""Held-out examples, where there are so many."""
LEVELS = 8
"""Noise levels of each example, one in each bin of equal probability under the first run's time distribution."""
LEAST = 4
"""Held-out examples: fewer give no interval worth the name."""


def compare(
    a: Generator | str | Path,
    b: Generator | str | Path,
    names: tuple[str, str] = ("A", "B"),
    n: int = EXAMPLES,
    seed: int = 0,
    real: Modality | None = None,
    notify: Callable[[str], None] = print,
) -> Comparison:
    """The difference of two runs on `n` held-out examples of their data, or on all there are.

    `a`, `b`: run folders, or what `toolkit.load` gave, e.g. of another step or width of the same run. `real`: the
    opened data of the first run; opened here by default. Raises UsageError when the losses of the two would mean
    something else, DataError when the data is not there or holds nothing back.
    """
    if n < LEAST:
        raise UsageError(f"a comparison needs at least {LEAST} examples, not {n}")
    names = names if names != ("A", "B") or isinstance(a, Generator) else (str(a), str(b))
    first, second = (run if isinstance(run, Generator) else load(run, notify=notify) for run in (a, b))
    if reason := refusal(first, second):
        raise UsageError(f"{names[0]} and {names[1]} cannot be compared: {reason}")
    data = _open_data(first, names[0], notify) if real is None else real
    held = data.dataset("test")
    if len(held) < LEAST:
        raise DataError(
            f"the data of {names[0]} holds {len(held)} examples back, and a comparison needs {LEAST}: "
            "training examples would show which network knows them by heart, not which is better"
        )
    time_distribution = build.time_distribution(first.recipe.diffusion, first.denoiser, data.facts)
    weighting = build.weighting(first.recipe.diffusion)
    fixed = FixedNoise(data, held, n, LEVELS, seed, "compare", time_distribution, weighting)
    modality = _for_recipe(second.recipe, data)
    if reason := other_conditions(fixed, modality):
        raise UsageError(f"{names[0]} and {names[1]} cannot be compared: {reason}")
    levels = shared_levels(fixed, first.denoiser.schedule, second.denoiser.schedule)
    losses = [plain_losses(fixed, run.denoiser, levels, run.dtype) for run in (first, second)]
    weight = weights(first.denoiser, weighting, levels)
    whole = [(loss * weight).mean(1) for loss in losses]
    noise = (-levels / 2).exp()
    bins = tuple(
        Bin(float(at.min()), float(at.max()), float(p.mean()), float(q.mean()), Difference.between(p, q))
        for at, p, q in zip(noise.unbind(1), losses[0].unbind(1), losses[1].unbind(1), strict=True)
    )
    squared = in_x(first.denoiser, first.modality.shape)
    return Comparison(
        names,
        "|x - x_hat|^2 a number" if squared else "cross-entropy, nats a token",
        f"loss as {'the first run weighs it' if squared else 'in training'}",
        float(whole[0].mean()), float(whole[1].mean()), Difference.between(whole[0], whole[1]), bins, len(held),
    )  # fmt: skip


def refusal(a: Generator, b: Generator) -> str | None:
    """Return why the losses of two runs do not compare, or None."""
    if a.recipe.modality != b.recipe.modality:
        return f"one learns {a.recipe.modality}, the other {b.recipe.modality}"
    if differing := different_facts(a.modality.facts, b.modality.facts):
        return f"they were trained on other data (differs in {', '.join(differing)})"
    shape = a.modality.shape
    if in_x(a.denoiser, shape) != in_x(b.denoiser, shape) or a.denoiser.space(shape) != b.denoiser.space(shape):
        sizes = " and ".join(" x ".join(map(str, run.denoiser.space(shape))) for run in (a, b))
        return f"noise is added in spaces of other sizes ({sizes}), and hides less in the larger one"
    low, high = _overlap(a.denoiser.schedule, b.denoiser.schedule)
    if low >= high:
        return "their schedules have no noise level in common"
    return None


def different_facts(a: Facts, b: Facts) -> list[str]:
    """Return the facts in which two data sets differ, apart from rejected files and what was measured."""
    names = [name for name in Facts.model_fields if name not in ("rejected", "spread", "bounds")]
    return [name for name in names if getattr(a, name) != getattr(b, name)]


def in_x(denoiser: Denoiser, shape: tuple[int, ...]) -> bool:
    """Return True where noise is added to the encoded data themselves, and not in a learned space."""
    return denoiser.space(shape) == tuple(shape)


def other_conditions(fixed: FixedNoise, other: Modality) -> str | None:
    """Return what two networks are told differently about the same examples, as a sentence; None where all is equal."""
    for (_, x, cond), (_, y, conditions) in zip(fixed.batches(), _again(fixed, other), strict=True):
        names = sorted(
            name for name in {*cond, *conditions}
            if name not in cond or name not in conditions or not torch.equal(cond[name], conditions[name])
        )  # fmt: skip
        if names or not torch.equal(x, y):
            return f"their [model] sections tell the networks other things ({', '.join(names) or 'x'})"
    return None


def _again(fixed: FixedNoise, other: Modality) -> Iterator[tuple[list[int], Tensor, dict[str, Tensor]]]:
    again = FixedNoise(
        other,
        fixed.dataset,
        len(fixed),
        fixed.draws,
        fixed.seed,
        fixed.purpose,
        fixed.time_distribution,
        fixed.weighting,
    )
    return again.batches()


def shared_levels(fixed: FixedNoise, a: Schedule, b: Schedule) -> Tensor:
    """Log-SNRs that both schedules have, by the time distribution of `fixed` under the first: (n, draws) float64."""
    wanted = a.log_snr(fixed.time_distribution.time(fixed.quantiles().flatten(), a)).clamp(*_overlap(a, b))
    return wanted.unflatten(0, (len(fixed), fixed.draws))


def _overlap(a: Schedule, b: Schedule) -> tuple[float, float]:
    """Least and largest log-SNR that two schedules have in common, at most 40 either way."""
    ends = [
        schedule.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64)).clamp(-40, 40).tolist() for schedule in (a, b)
    ]
    return max(low for low, _ in ends), min(high for _, high in ends)


@torch.no_grad()
def plain_losses(fixed: FixedNoise, denoiser: Denoiser, levels: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The loss of each example at each of its log-SNRs (n, draws), not weighted: (n, draws) float64.

    |x - x_hat|^2 a number where noise is added to the data, else the denoiser's own loss.
    """
    device = next(iter(denoiser.parameters()), torch.zeros(())).device
    denoiser.eval()
    losses = torch.empty_like(levels)
    for positions, data, cond in fixed.batches():
        x, cond = data.to(device), {name: value.to(device) for name, value in cond.items()}
        for draw in range(fixed.draws):
            t = beside(denoiser.schedule.time(levels[positions, draw]), x)
            eps = fixed.noise(positions, denoiser.space(tuple(data.shape[1:])), draw).to(device)
            with autocast(device, dtype):
                if not in_x(denoiser, tuple(data.shape[1:])):
                    loss = denoiser.loss(x, t, eps, cond)
                else:
                    alpha, sigma = denoiser.schedule(t)
                    x_hat = denoiser(expand(alpha, x) * x + expand(sigma, x) * eps, t, cond)
                    mask = cond.get("mask")
                    loss = total((x - x_hat).square(), mask) / total(torch.ones_like(x), mask).clamp(min=1)
            losses[positions, draw] = loss.cpu().double()
    return losses


def weights(denoiser: Denoiser, weighting: Weighting, levels: Tensor) -> Tensor:
    """Return the factor of |x - x_hat|^2 in the training of `denoiser` at each log-SNR; 1 where its loss is another."""
    if not isinstance(denoiser, RegressionDenoiser):
        return torch.ones_like(levels)
    t = denoiser.schedule.time(levels.flatten())
    c_out = denoiser.coefficients(t).c_out
    weight = weighting.on_target(t, denoiser) / c_out.square().clamp(min=1e-30)
    return torch.where(c_out == 0, 0.0, weight).view_as(levels)


def _for_recipe(recipe: Recipe, data: Modality) -> Modality:
    """Return the opened data as another recipe's network is given it: by its [model] and the data's own [data]."""
    kind = type(data)
    return kind(data.data, recipes.validate_for(recipe, kind)[1], data.facts)


def _open_data(run: Generator, name: str, notify: Callable[[str], None]) -> Modality:
    real = run.fresh_modality()
    real.open(paths.cache(), notify)
    if differing := different_facts(run.modality.facts, real.facts):
        raise DataError(
            f"the data of {name} has changed since it was trained (differs in {', '.join(differing)}); "
            "put back what it was trained on"
        )
    real.learn(spread=run.modality.facts.spread)
    return real
