"""Metrics of sounds: of toolkit.evaluation under the judge of sounds, of the signal itself, and bits per sample."""

from __future__ import annotations

import torch
from torch import Tensor

from modalities.audio import options as audio_options
from modalities.audio.codec import ends, rate_of
from modalities.audio.evaluate.judge import SoundJudge, copy_features, fit_length
from modalities.audio.evaluate.likelihood import likelihood
from modalities.audio.evaluate.signal_metrics import MEANINGS, NOISE, signal_metrics
from modalities.audio.mel import default
from toolkit.data.dataset import Dataset, Examples, Splits, evenly, spaced
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import DataError
from toolkit.evaluation import pretext
from toolkit.evaluation.evaluator import ClassifierOptions, Evaluator, Notify
from toolkit.evaluation.feature_metrics import MAX_REAL, check_counts, compare
from toolkit.evaluation.judge import obtain
from toolkit.evaluation.metrics import nearest
from toolkit.evaluation.table import EvaluationResult, Metric
from toolkit.recipe.options import Options

SHIFT = 0.06
"""Largest shift between a copy and its original, in seconds."""
EXEMPLARS = 200
"""Number of clips that a judge of data without labels learns to recognise."""
_AT_ONCE = 500


class AudioEvaluator(Evaluator):
    """Metrics under the judge of sounds, copies, and those of the signal itself; bits per sample."""

    counts_bits = True
    meanings = MEANINGS

    def __init__(self, data: audio_options.Data, model: audio_options.Model) -> None:
        self.data, self.model = data, model

    def metrics(self, samples: Examples, data: Splits, options: Options, notify: Notify) -> EvaluationResult:
        """Return the metrics of sounds (B, C, L) beside real ones."""
        assert isinstance(options, ClassifierOptions)
        self.check(len(samples.raw), data)
        samples = Examples(fit_length(samples.raw, data.facts.shape[-1]), samples.cond)

        def noise(n: int) -> Tensor:
            return noise_like(evenly(data.train, MAX_REAL).raw, n)

        originals = Originals(data.train, rate_of(data.facts))
        result = compare(critic_of(data, notify), data.train, data.test, samples, noise, originals, options.cas, notify)
        signal = signal_metrics(samples, data, noise_like(evenly(data.train, NOISE).raw, NOISE))
        return result._replace(figures=result.figures + signal)

    def check(self, count: int, data: Splits) -> None:
        check_counts(count, data)

    def likelihood(
        self, denoiser: Denoiser, times: TimeDistribution | None, data: Splits, count: int, notify: Notify
    ) -> list[Metric]:
        """Return bits per sample of held-out sounds: the variational bound, its terms, and by the flow."""
        return likelihood(self.data, self.model, data, denoiser, times, count, notify)

    def check_alike(self, samples: Splits, real: Splits, where: str) -> None:
        """Raise DataError when the rates differ; lengths may."""
        mine, theirs = rate_of(samples.facts), rate_of(real.facts)
        if mine != theirs:
            raise DataError(
                f"{where} has {mine:,} samples a second and the reference {theirs:,}; resample both: --rate RATE"
            )


def critic_of(data: Splits, notify: Notify = print) -> SoundJudge:
    """Return the judge of the labels; without labels, one that recognises single clips."""
    if data.facts.labels and len(data.test):
        return obtain(SoundJudge, data, notify)
    return obtain(SoundJudge, pretext.exemplars(data, vary, EXEMPLARS), notify)


class Originals:
    """Search for the nearest training clip, of at most MAX_REAL, that a sample may be a copy of."""

    def __init__(self, train: Dataset, rate: int) -> None:
        self.rate = rate
        self.numbers = spaced(len(train), MAX_REAL)
        self.features = torch.cat([copy_features(train.take(rows).raw, rate) for rows in self.numbers.split(_AT_ONCE)])
        self.shift = round(SHIFT * rate / default(rate, 32).hop)

    def __call__(self, raw: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return distances (B,) of mel spectrograms in dB, at the best shift in time, and training clips (B,)."""
        own = None if own is None else torch.searchsorted(self.numbers, own)
        features = torch.cat([copy_features(part, self.rate) for part in raw.split(_AT_ONCE)])
        distance, index = nearest.nearest_aligned_of_many(features, self.features, self.shift, own)
        return distance, self.numbers[index]


def vary(raw: Tensor, draw: torch.Generator) -> Tensor:
    """Return clips (B, C, L) softer by up to 12 dB, with white noise 30 dB below each one, up to its end."""
    n = len(raw)
    gain = 10 ** (-12 / 20 * torch.rand((n, 1, 1), generator=draw))
    level = raw.square().mean((1, 2), keepdim=True).sqrt() * 10 ** (-30 / 20)
    inside = torch.arange(raw.shape[-1]) < ends(raw)[:, None, None]
    return (raw + level * torch.randn(raw.shape, generator=draw)) * gain * inside


def noise_like(real: Tensor, n: int) -> Tensor:
    """Return white noise (n, C, L) with the power and the lengths of real clips (m, C, L)."""
    raw = real[torch.arange(n) % len(real)]
    length = ends(raw)[:, None, None]
    power = raw.square().sum((1, 2), keepdim=True) / (length * raw.shape[1])
    inside = torch.arange(raw.shape[-1]) < length
    return torch.randn(raw.shape, generator=seeded_generator(0, "ceiling")) * power.sqrt() * inside
