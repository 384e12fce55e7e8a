"""How good made sounds are: toolkit.evaluation's figures under the judge of sounds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modalities.audio.evaluate.judge import SoundJudge, copy_features, fitted, judge
from modalities.audio.mel import default
from modalities.audio.modality import Audio
from modalities.audio.view.files import ends
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import UsageError
from toolkit.evaluation import pretext
from toolkit.evaluation.feature_metrics import MAX_REAL, compare, evenly
from toolkit.evaluation.judge import obtain
from toolkit.evaluation.metrics import nearest
from toolkit.evaluation.table import USUAL, EvaluationResult, Wishes
from toolkit.modality import Dataset, Examples

SHIFT = 0.06
"""Seconds between a copy and its original."""
EXEMPLARS = 200
"""Clips that a judge of data without labels learns to know again."""
_AT_ONCE = 500


def assess(
    audio: Audio, made: Examples, notify: Callable[[str], None] = print, wishes: Wishes = USUAL
) -> EvaluationResult:
    """Figures of made sounds (B, C, L) beside those of an opened data set. Raises DataError, UsageError."""
    if wishes.features:
        raise UsageError("--features takes networks for pictures; sounds are judged by a network of their own")
    length = audio.shape[-1]
    made = Examples(fitted(made.raw, length), made.cond)
    train, test = audio.dataset("train"), audio.dataset("test")

    def noise(n: int) -> Tensor:
        return noise_like(evenly(train, MAX_REAL).raw, n)

    critic = critic_of(audio, notify)
    return compare(critic, train, test, made, noise, Originals(train, audio.rate), wishes, notify)


def critic_of(audio: Audio, notify: Callable[[str], None] = print) -> SoundJudge:
    """The judge of the labels; without labels, one that knows single clips again."""
    if audio.labels and len(audio.dataset("test")):
        return judge(audio, notify)
    return obtain(SoundJudge, pretext.exemplars(audio, varied, EXEMPLARS), notify)


class Originals:
    """Training clips, at most MAX_REAL of them, that made ones may be copies of; called, it finds the nearest."""

    def __init__(self, train: Dataset, rate: int) -> None:
        self.rate = rate
        self.numbers = torch.arange(min(MAX_REAL, len(train))) * len(train) // max(1, min(MAX_REAL, len(train)))
        self.outlines = torch.cat([copy_features(train.take(rows).raw, rate) for rows in self.numbers.split(_AT_ONCE)])
        self.shift = round(SHIFT * rate / default(rate, 32).hop)

    def __call__(self, raw: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Distance in dB between mel spectrograms, at the best shift in time, and the number of the training clip."""
        mine = None if own is None else torch.searchsorted(self.numbers, own)
        lines = torch.cat([copy_features(part, self.rate) for part in raw.split(_AT_ONCE)])
        far, which = nearest.nearest_aligned_of_many(lines, self.outlines, self.shift, mine)
        return far, self.numbers[which]


def varied(raw: Tensor, draw: torch.Generator) -> Tensor:
    """Clips (B, C, L) softer by up to 12 dB, with white noise 30 dB below each, where they sound at all."""
    n = len(raw)
    gain = 10 ** (-12 / 20 * torch.rand((n, 1, 1), generator=draw))
    level = raw.square().mean((1, 2), keepdim=True).sqrt() * 10 ** (-30 / 20)
    inside = torch.arange(raw.shape[-1]) < ends(raw)[:, None, None]
    return (raw + level * torch.randn(raw.shape, generator=draw)) * gain * inside


def noise_like(real: Tensor, n: int) -> Tensor:
    """White noise with the power and the length of real clips (m, C, L): (n, C, L)."""
    raw = real[torch.arange(n) % len(real)]
    length = ends(raw)[:, None, None]
    power = raw.square().sum((1, 2), keepdim=True) / (length * raw.shape[1])
    inside = torch.arange(raw.shape[-1]) < length
    return torch.randn(raw.shape, generator=seeded_generator(0, "ceiling")) * power.sqrt() * inside
