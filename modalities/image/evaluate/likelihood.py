"""Bits per dimension of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch

from modalities.image.codec import encode
from toolkit.data.dataset import Splits
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.likelihood import Bins
from toolkit.diffusion.loss import TimeDistribution
from toolkit.errors import DataError
from toolkit.evaluation import likelihood as bits
from toolkit.evaluation.table import Metric

PIXELS = Bins(256, -1.0, 1 / 127.5)


def likelihood(
    data: Splits, denoiser: Denoiser, times: TimeDistribution | None, count: int, notify: Callable[[str], None]
) -> list[Metric]:
    """Return bits per dimension of 8-bit pictures, given their labels. Raises DataError."""
    test, facts = data.test, data.facts
    if not len(test):
        raise DataError("no pictures were held out, so there is no likelihood to measure")
    numbers = torch.linspace(0, len(test) - 1, min(count, len(test))).round().long()
    examples = test.take(numbers)
    bins = PIXELS.standardise(facts.mean, facts.std)
    notify(f"bits of {len(numbers)} held-out pictures")
    return bits.figures(denoiser, times, encode(examples.raw, facts), bins, examples.cond, "bits/dim")
