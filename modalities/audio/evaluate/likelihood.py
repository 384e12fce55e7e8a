"""Bits per 16-bit sample of held-out sounds."""

from __future__ import annotations

from collections.abc import Callable

import torch

from modalities.audio import conditioning, mel
from modalities.audio.codec import Codec, rate_of
from modalities.audio.options import Data, Model
from toolkit.data.dataset import Splits
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.likelihood import Bins
from toolkit.diffusion.loss import TimeDistribution
from toolkit.errors import DataError
from toolkit.evaluation import likelihood as bits
from toolkit.evaluation.table import Metric

FLOW = 4
"""Clips that are also measured along the flow: it takes 48 passes forward and back for each, and 24 more for two."""
STEP = 2.0**-15
"""Distance of neighbouring 16-bit samples in [-1, 1)."""


def likelihood(
    options: Data,
    model: Model,
    data: Splits,
    denoiser: Denoiser,
    times: TimeDistribution | None,
    count: int,
    notify: Callable[[str], None],
) -> list[Metric]:
    """Return bits per 16-bit sample up to every clip's end, given its label and length. Raises DataError.

    Clips are rounded to 16 bits after the data section's resampling and gain. With pre-emphasis, a sample's grid is
    shifted by the share of the true sample before it, which a decoder knows.
    """
    test, facts = data.test, data.facts
    if not len(test):
        raise DataError("no sounds were held out, so there is no likelihood to measure")
    trained = facts.shape[-1]
    numbers = torch.linspace(0, len(test) - 1, min(count, len(test))).round().long()
    examples = test.take(numbers)
    length = examples.cond["length"]
    frames = conditioning.array_length(int(length.max()), trained)
    raw = (examples.raw[..., :frames].double() / STEP).round().clamp(-(2**15), 2**15 - 1) * STEP
    cond = conditioning.conditions(length, frames, trained)
    if "label" in examples.cond and facts.labels:
        cond["label"] = examples.cond["label"]
    if model.condition == "mel":
        cond["mel"] = mel.normalise(mel.log_mel(raw.float(), mel.default(rate_of(facts), model.mels)))
    before = torch.nn.functional.pad(raw[..., :-1], (1, 0))
    low = (-1.0 - options.emphasis * before) / facts.std if options.emphasis else -1.0 / facts.std
    bins = Bins(1 << 16, low, STEP / facts.std)
    notify(f"bits of {len(numbers)} held-out sounds")
    return bits.figures(
        denoiser, times, Codec.of(options, facts).encode(raw), bins, cond, "bits/sample", batch=16, flow=FLOW
    )
