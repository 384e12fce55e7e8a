"""Bits that a sample of a held-out sound costs, as 16-bit files hold it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from modalities.audio import conditioning
from modalities.audio.modality import Audio
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.likelihood import Bins
from toolkit.diffusion.loss import TimeDistribution
from toolkit.errors import DataError
from toolkit.evaluation import likelihood as bits
from toolkit.evaluation.table import Figure

FLOW = 4
"""Clips that are also measured along the flow: it takes 48 passes forward and back for each, and 24 more for two."""
STEP = 2.0**-15
"""Of 16-bit samples in [-1, 1)."""


def likelihood(
    audio: Audio, denoiser: Denoiser, law: TimeDistribution | None, count: int, notify: Callable[[str], None]
) -> list[Figure]:
    """Bits of each 16-bit sample up to every clip's end, given its label and length. Raises DataError.

    Clips are rounded to 16 bits after what the data section does to them (resampling, loudness). With pre-emphasis, a
    sample's grid is moved by the share of the true sample before it, which a decoder knows.
    """
    test = audio.dataset("test")
    if not len(test):
        raise DataError("no sounds were held out, so no likelihood can be told")
    chosen = torch.linspace(0, len(test) - 1, min(count, len(test))).round().long()
    examples = test.take(chosen)
    length = examples.cond["length"]
    frames = conditioning.rounded(int(length.max()), audio.shape[-1])
    raw = (examples.raw[..., :frames].double() / STEP).round().clamp(-(2**15), 2**15 - 1) * STEP
    cond = conditioning.conditions(length, frames, audio.shape[-1])
    if "label" in examples.cond and audio.labels:
        cond["label"] = examples.cond["label"]
    if audio.vocoder:
        from modalities.audio import mel

        cond["mel"] = mel.normalise(mel.log_mel(raw.float(), audio.mel))
    before = torch.nn.functional.pad(raw[..., :-1], (1, 0))
    low = (-1.0 - audio.data.emphasis * before) / audio.facts.std if audio.data.emphasis else -1.0 / audio.facts.std
    bins = Bins(1 << 16, low, STEP / audio.facts.std)
    notify(f"bits of {len(chosen)} held-out sounds")
    return bits.figures(denoiser, law, audio.encode(raw), bins, cond, "bits/sample", batch=16, flow=FLOW)
