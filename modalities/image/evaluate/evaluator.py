"""Metrics of pictures: those of toolkit.evaluation under the judge of pictures, and bits per dimension."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from modalities.image import codec
from modalities.image.data.dataset import own_size
from modalities.image.evaluate import torchvision_features
from modalities.image.evaluate.judge import PictureJudge
from modalities.image.evaluate.likelihood import likelihood
from modalities.image.options import EvaluationOptions, size_text
from toolkit.data.dataset import Examples, Splits
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import DataError
from toolkit.evaluation import pretext
from toolkit.evaluation.evaluator import Evaluator, Notify
from toolkit.evaluation.feature_metrics import Critic, check_counts, compare
from toolkit.evaluation.judge import obtain
from toolkit.evaluation.metrics import nearest
from toolkit.evaluation.table import EvaluationResult, Metric
from toolkit.recipe.options import Options

TURNS = ("0", "90", "180", "270")
OUTLINE = 16
"""Side in pixels at which copies are searched: a little noise or sharpening does not hide one."""
_AT_ONCE = 1_000


class ImageEvaluator(Evaluator):
    """Distances, diversity, agreement with the labels and copies, under the judge of pictures; bits per dimension."""

    counts_bits = True

    def metrics(self, samples: Examples, data: Splits, options: Options, notify: Notify) -> EvaluationResult:
        """Return the metrics of pictures (B, C, H, W) uint8 beside real ones."""
        assert isinstance(options, EvaluationOptions)
        self.check(len(samples.raw), data)
        rows = torch.arange(len(data.train)).split(_AT_ONCE)
        originals = torch.cat([copy_features(data.train.take(part).raw) for part in rows])

        def noise(n: int) -> Tensor:
            x = torch.randn((n, *data.facts.shape), generator=seeded_generator(0, "ceiling"))
            return codec.decode(x, data.facts)

        def closest(raw: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
            return nearest.nearest_of_many(copy_features(raw), originals, own)

        critic = critic_of(data, notify, options.features)
        return compare(critic, data.train, data.test, samples, noise, closest, options.cas, notify)

    def check(self, count: int, data: Splits) -> None:
        check_counts(count, data)

    def likelihood(
        self, denoiser: Denoiser, times: TimeDistribution | None, data: Splits, count: int, notify: Notify
    ) -> list[Metric]:
        """Return bits per dimension of held-out pictures: the variational bound, its terms, and by the flow."""
        return likelihood(data, denoiser, times, count, notify)

    def reading(self, samples: Path, reference: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options with the pictures' own size where all have one, so that no detail is lost."""
        if "size" in options:
            return options
        size = own_size(samples)
        alike = size is not None and size == own_size(Path(reference).expanduser())
        return {**options, "size": size_text(*size)} if size is not None and alike else options

    def check_alike(self, samples: Splits, real: Splits, where: str) -> None:
        """Raise DataError when sizes or numbers of channels differ."""
        try:
            super().check_alike(samples, real, where)
        except DataError as error:
            mine, theirs = samples.facts.shape, real.facts.shape
            hint = f"--size {size_text(theirs[2], theirs[1])}" if mine[1:] != theirs[1:] else f"--channels {theirs[0]}"
            raise DataError(f"{error}; bring both to one: {hint}") from None


def critic_of(data: Splits, notify: Notify = print, features: str = "") -> Critic:
    """Return the user's network, or the judge of the labels; without labels, a judge of rotations.

    features: FILE.safetensors:MODEL, or "".
    """
    if features:
        return torchvision_features.load(features)
    if data.facts.labels and len(data.test):
        return obtain(PictureJudge, data, notify)
    return obtain(PictureJudge, pretext.views(data, turn, TURNS), notify)


def turn(raw: Tensor, quarters: int) -> Tensor:
    """Return pictures (B, C, H, W) uint8 rotated by `quarters` of a turn; those that lie then are resized to H x W."""
    turned = raw.rot90(quarters, (2, 3))
    if turned.shape == raw.shape or not len(raw):
        return turned.reshape(raw.shape)
    back = functional.interpolate(turned.float(), raw.shape[-2:], mode="bilinear", antialias=True)
    return back.round().clamp(0, 255).to(torch.uint8)


def copy_features(raw: Tensor) -> Tensor:
    """Return features for finding copies: (B, C, H, W) uint8 averaged to at most 16 x 16, in 0..1: (B, d) float32."""
    size = (min(OUTLINE, raw.shape[-2]), min(OUTLINE, raw.shape[-1]))
    return functional.adaptive_avg_pool2d(raw.float() / 255, size).flatten(1)
