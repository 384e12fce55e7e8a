"""The highest noise level follows the data: measured before a run starts, and kept among its facts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from toolkit.data import spectrum
from toolkit.diffusion.schedule import Schedule
from toolkit.modality import Facts, Modality
from toolkit.recipe import Recipe, build

WORTH_SAYING = 0.01
"""Share of a deviation that samples lack."""


def follow(modality: Modality, recipe: Recipe, before: Facts | None, notify: Callable[[str], None]) -> Facts:
    """Put the spread of the open data among the facts, and return these.

    That of `before`, the facts of a run that goes on, stays as it is. Says so when the recipe's schedule ends too low
    for it.
    """
    spread = spectrum.spread(modality) if before is None else before.spread
    facts = modality.learn(spread=spread)
    schedule = build.schedule(recipe.diffusion)
    if spread is not None and (share := lost_share(schedule, spread)) > WORTH_SAYING:
        end = float(schedule.noise_ratio(torch.ones((), dtype=torch.float64)))
        notify(
            f"the schedule ends at sigma/alpha = {end:.0f}, where this data still shows: samples will lack up to "
            f"{share:.0%} of the spread of what is common to a whole example, such as brightness; with flow or cosine "
            f"they will not"
        )
    return facts


def lost_share(schedule: Schedule, spread: float) -> float:
    """The share of the deviation of the strongest mode that samples lack because the schedule ends too low: 0 to 1.

    As `start.marginal` has it: 1 - sqrt(1 - g^3), where g is the data's share in the variance of x_T.
    """
    noise = float(schedule.noise_ratio(torch.ones((), dtype=torch.float64))) ** 2
    return 1 - math.sqrt(1 - (spread / (spread + noise)) ** 3)
