"""How good made pictures are: toolkit.evaluation's figures under the judge of pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from modalities.image.evaluate import torchvision_features
from modalities.image.evaluate.judge import PictureJudge, judge
from modalities.image.modality import Image
from toolkit.diffusion.randomness import seeded_generator
from toolkit.evaluation import pretext
from toolkit.evaluation.feature_metrics import Critic, compare
from toolkit.evaluation.judge import obtain
from toolkit.evaluation.metrics import nearest
from toolkit.evaluation.table import USUAL, EvaluationResult, Wishes
from toolkit.modality import Examples

TURNS = ("0", "90", "180", "270")
OUTLINE = 16
"""Pixels of a side at which copies are looked for: a little noise or sharpening does not hide one."""
_AT_ONCE = 1_000


def assess(
    image: Image, made: Examples, notify: Callable[[str], None] = print, wishes: Wishes = USUAL
) -> EvaluationResult:
    """Figures of made pictures (B, C, H, W) uint8 beside those of an opened data set. Raises DataError, UsageError."""
    train, test = image.dataset("train"), image.dataset("test")
    outlines = torch.cat([copy_features(train.take(rows).raw) for rows in torch.arange(len(train)).split(_AT_ONCE)])

    def noise(n: int) -> Tensor:
        return image.decode(torch.randn((n, *image.shape), generator=seeded_generator(0, "ceiling")))

    def closest(raw: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        return nearest.nearest_of_many(copy_features(raw), outlines, own)

    critic = critic_of(image, notify, wishes.features)
    return compare(critic, train, test, made, noise, closest, wishes, notify)


def critic_of(image: Image, notify: Callable[[str], None] = print, features: str = "") -> Critic:
    """The user's network, or the judge of the labels; without labels, a judge of how pictures are turned.

    features: FILE.safetensors:MODEL, or "".
    """
    if features:
        return torchvision_features.load(features)
    if image.labels and len(image.dataset("test")):
        return judge(image, notify)
    return obtain(PictureJudge, pretext.views(image, turned, TURNS), notify)


def turned(raw: Tensor, quarters: int) -> Tensor:
    """Square pictures (B, C, H, H) turned by so many quarters."""
    return raw.rot90(quarters, (2, 3))


def copy_features(raw: Tensor) -> Tensor:
    """What copies are told by: pictures (B, C, H, W) uint8 averaged to at most 16 x 16, in 0..1: (B, d) float32."""
    size = min(OUTLINE, raw.shape[-1])
    return functional.adaptive_avg_pool2d(raw.float() / 255, size).flatten(1)
