"""The judge of pictures: two pairs of convolutions, trained on pictures shifted by up to two pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from toolkit.evaluation.judge import Classifier, Judge, TrainingSchedule

FEATURES = 64


class PictureJudge(Judge):
    """Judge of raw pictures (B, C, H, W) uint8 of the size it was trained on."""

    kind = "image"
    course: ClassVar[TrainingSchedule] = TrainingSchedule(steps=1500, batch=128, lr=2e-3, weight_decay=0.01)

    def network(self) -> Classifier:
        """Return two pairs of convolutions with pooling, 64 features, and a linear layer on them."""
        body = nn.Sequential(
            nn.Conv2d(self.facts.shape[0], 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(1024, FEATURES), nn.ReLU(),
        )  # fmt: skip
        return Classifier(body, nn.Linear(FEATURES, len(self.names)))

    def prepare(self, raw: Tensor) -> Tensor:
        """Return pixels 0..255 as float32 in -1..1."""
        return raw.float() / 127.5 - 1

    def augment(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Shift by up to two pixels: digits are centred, samples need not be."""
        dy, dx = torch.randint(-2, 3, (2,), generator=draw).tolist()
        return x.roll((dy, dx), (2, 3))
