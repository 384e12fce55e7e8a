"""The loss of a network on examples at noise that stays the same for a whole run, so that measurements compare.

The training loss is of other examples, times and noise at each step, and its own chance hides what a network still
learns. Here which examples, which times and which noise are functions of (seed, purpose, position), so between two
networks only the networks differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution, Weighting, weighted
from toolkit.diffusion.randomness import Draws, normal, seeded_generator, uniform
from toolkit.diffusion.schedule import Schedule, beside
from toolkit.modality import Dataset, Modality
from toolkit.training.budget import PASSES
from toolkit.training.objective import Objective, example_losses
from toolkit.training.precision import autocast

SHARE = 0.02
"""Share of the training's network calls that measuring may take."""
TIMES = {30: 320, 20: 320, 10: 48, 4: 16}
"""Measurements of a run: the largest number that leaves so many examples each time."""
MAX_EXAMPLES = 320
"""Examples of one measurement, held-out ones and training examples together."""
TRAINED_SHARE = 4
"""One in so many of them is a training example."""
LEAST_HELD_OUT = 5
"""Fewer held-out examples say nothing."""
DRAWS, MAX_DRAWS = 4, 16
"""Noise levels for each example; more where examples are few."""
BINS = 8
"""Noise levels are told apart by: of equal probability in training."""
AT_ONCE = 32
"""Examples in one call of the network."""
_GOLDEN = (math.sqrt(5) - 1) / 2


class Amounts(NamedTuple):
    """Amounts that a run measures."""

    times: int
    """Measurements, spread evenly over the run; the last one is at its end. 0: none is affordable."""
    held_out: int
    """Examples; 0 where too few are held out."""
    trained: int
    """Training examples."""
    draws: int
    """Noise levels for each."""

    @property
    def calls(self) -> int:
        """Network calls of one measurement."""
        return (self.held_out + self.trained) * self.draws


def amounts(steps: int, batch: int, held_out: int, trained: int, draws: int | None = None) -> Amounts:
    """Return what fits into `SHARE` of a training of so many steps, given how many examples there are of each kind.

    A training step takes `PASSES` calls for each example. One measurement more is left over for the end. `draws`: noise
    levels for each example, where they are fixed already.
    """
    each_draws = draws or DRAWS
    whole = SHARE * PASSES * batch * steps
    for times, least in TIMES.items():
        each = whole / (times + 1)
        if each >= least * each_draws and steps >= 2 * times:
            break
    else:
        return Amounts(0, 0, 0, each_draws)
    rows = min(MAX_EXAMPLES, int(each / each_draws))
    known = min(trained, rows // TRAINED_SHARE if held_out >= LEAST_HELD_OUT else rows)
    unknown = min(held_out, rows - known) if held_out >= LEAST_HELD_OUT else 0
    while draws is None and each_draws < MAX_DRAWS and 2 * each_draws * (known + unknown) <= each:
        each_draws *= 2
    return Amounts(times, unknown, known, each_draws)


class FixedNoise:
    """Some examples of a data set, each at a few noise levels of its own."""

    def __init__(
        self, modality: Modality, dataset: Dataset, count: int, draws: int, seed: int, purpose: str,
        time_distribution: TimeDistribution, weighting: Weighting, objective: Objective | None = None,
    ) -> None:  # fmt: skip
        """The first `count` of the data in a random order, so that a smaller set is part of a larger one.

        `time_distribution`: as training began with it; `draws`: times of each example, of equal probability.
        `objective`: the loss, where it is not the denoiser's own.
        """
        self.modality, self.dataset = modality, dataset
        self.seed, self.purpose, self.draws = seed, purpose, draws
        self.time_distribution, self.weighting, self.objective = time_distribution.fresh(), weighting, objective
        order = torch.randperm(len(dataset), generator=seeded_generator(seed, purpose, "order"))
        self.rows = order[: min(count, len(dataset))]

    def __len__(self) -> int:
        return len(self.rows)

    def quantiles(self, count: int | None = None) -> Tensor:
        """Return the quantile of each draw in (0, 1): (count, draws) float64, one in each stratum.

        `count`: positions, the first so many; None: all examples.
        """
        start = float(uniform(self.seed, f"{self.purpose} time", [0]))
        count = len(self) if count is None else count
        part = torch.tensor([(start + _GOLDEN * p) % 1 for p in range(count)], dtype=torch.float64)
        return (torch.arange(self.draws) + part[:, None]) / self.draws

    def batches(self) -> Iterator[tuple[list[int], Tensor, dict[str, Tensor]]]:
        """(positions, encoded examples (B, *), their conditions), examples of like length together."""
        order = torch.arange(len(self))
        if self.dataset.lengths is not None:
            order = self.dataset.lengths[self.rows].argsort(stable=True)
        for part in order.split(AT_ONCE):
            positions = part.tolist()
            draws = Draws(self.seed, positions, (self.purpose,))
            raw, cond = self.modality.conditioning().batch(self.dataset.take(self.rows[part]), draws)
            yield positions, self.modality.encode(raw), dict(cond)

    def noise(self, positions: list[int], shape: tuple[int, ...], draw: int) -> Tensor:
        """eps of one draw for the examples at `positions`: (B, *shape) float32."""
        return normal(self.seed, f"{self.purpose} noise", positions, shape, draw)

    @torch.no_grad()
    def losses(
        self,
        denoiser: Denoiser,
        dtype: torch.dtype | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """The loss as training weighs it, on the network's device, autocast to `dtype`: (n, draws) float64.

        `watch` is called before each batch, and may raise to stop.
        """
        device = next(denoiser.net.parameters()).device
        denoiser.eval()
        u = self.quantiles()
        losses = torch.empty_like(u)
        for positions, data, cond in self.batches():
            watch()
            x, cond = data.to(device), {name: value.to(device) for name, value in cond.items()}
            for draw in range(self.draws):
                t = beside(self.time_distribution.time(u[positions, draw], denoiser.schedule), x)
                eps = self.noise(positions, denoiser.space(tuple(data.shape[1:])), draw).to(device)
                with autocast(device, dtype):
                    loss = example_losses(self.objective, denoiser, x, t, eps, cond)
                losses[positions, draw] = weighted(loss, denoiser, self.weighting, t).cpu().double()
        return losses

    def by_level(self, losses: Tensor) -> list[float | None]:
        """Mean of losses (n, draws) in each of `BINS` bins of equal probability, None where there is no draw."""
        place = (self.quantiles(len(losses)) * BINS).long().clamp(max=BINS - 1)
        parts = [losses[place == i] for i in range(BINS)]
        return [float(part.mean()) if len(part) else None for part in parts]


def levels(time_distribution: TimeDistribution, schedule: Schedule) -> list[float]:
    """The noise sigma / alpha in the middle of each of the `BINS` bins, in rank of probability."""
    middles = time_distribution.time((torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS, schedule)
    return [float(noise) for noise in schedule.noise_ratio(middles)]
