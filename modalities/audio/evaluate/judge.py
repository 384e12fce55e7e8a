"""The judge of sounds: a small network on log-mel spectrograms, and features for finding copies of training clips."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from modalities.audio.codec import rate_of
from modalities.audio.mel import default, log_mel
from toolkit.evaluation.judge import Classifier, Judge, TrainingSchedule

FEATURES = 64
MELS = 64
FLOOR = 1e-4
"""Smallest magnitude, that of white noise 70 dB below full scale. Softer sound is silence to the judge."""
SILENCE = -1.0
"""Network input where there is silence."""
_NEPERS = 3.0
"""Nepers in one unit of the network's input; full scale is near 2."""
WIDTHS = (32, 48, 96, 128)
RANGE_DB = 50.0
"""Decibels from the loudest to the softest cell of a spectrogram in which copies are searched."""


class SoundJudge(Judge):
    """Judge of raw clips (B, C, L) float32, zero beyond each clip's end; L is cut or padded to the data's."""

    kind = "audio"
    version = 2
    course: ClassVar[TrainingSchedule] = TrainingSchedule(
        steps=400, batch=48, lr=3e-3, weight_decay=0.02, smoothing=0.1
    )
    held = 20_000

    @property
    def rate(self) -> int:
        """Sample rate in Hz."""
        return rate_of(self.facts)

    def network(self) -> Classifier:
        """Return four strided levels, 4 x 4 averages over frequency and time, 64 features: 0.4 M parameters."""
        layers: list[nn.Module] = []
        before = 1
        for level, width in enumerate(WIDTHS):
            kernel = 5 if level == 0 else 3
            layers += _convolution(before, width, kernel, stride=2)
            if 0 < level < 3:
                layers += _convolution(width, width, 3, stride=1)
            before = width
        layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * before, FEATURES, bias=False)]
        # normalised before they are cut at 0: without that a third of the features died
        body = nn.Sequential(*layers, nn.BatchNorm1d(FEATURES), nn.ReLU())
        return Classifier(body, nn.Linear(FEATURES, len(self.names)))

    def prepare(self, raw: Tensor) -> Tensor:
        """Return log-mel spectrograms, pairs of frames averaged, silence at -1: (B, 1, 64, frames) float32."""
        mel = log_mel(fit_length(raw, self.facts.shape[-1]), default(self.rate, MELS)).clamp(min=math.log(FLOOR))
        mel = functional.avg_pool1d(mel, 2, ceil_mode=True)
        return ((mel - math.log(FLOOR)) / _NEPERS + SILENCE).unsqueeze(1)

    def augment(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Move in time and pitch, change gain and timbre, add noise, and silence a band and a moment.

        Bands and moments as in SpecAugment (Park et al. 2019). Silence stays silent. All is gentle: with twice as much,
        64 % instead of 74 % of the drums were recognised by judges that had not been trained on them.
        """
        n, _, mels, frames = x.shape
        late = torch.randint(-1, 3, (n,), generator=draw)
        high = torch.randint(-1, 2, (n,), generator=draw)
        x = move(x, high, late)
        gain, tilt = (torch.rand((2, n, 1, 1, 1), generator=draw) * 2 - 1).unbind(0)
        ramp = torch.linspace(-1, 1, mels)[:, None]
        noise = torch.randn(x.shape, generator=draw)
        x = torch.where(x > SILENCE, (x + 0.5 * gain + 0.3 * tilt * ramp + 0.1 * noise).clamp(min=SILENCE), SILENCE)
        x = x.masked_fill(_stretches(n, mels, 6, draw)[:, None, :, None], SILENCE)
        return x.masked_fill(_stretches(n, frames, frames // 8, draw)[:, None, None, :], SILENCE)


def copy_features(raw: Tensor, rate: int) -> Tensor:
    """Return levels of 32 mel bands in dB above the quietest level that counts, RANGE_DB below the clip's highest.

    So gain does not matter, nor noise far below the sound. raw: (B, C, L), L a multiple of 256. Returns
    (B, 32, frames) float32, 0 in silence, for `nearest.aligned_distances`. Frames begin a window before it and end one
    after it, so that a clip shifted in time has the same.
    """
    spec = default(rate, 32)
    loud = raw.abs().amax((1, 2), keepdim=True)
    mel = log_mel(functional.pad(raw / torch.where(loud > 0, loud, 1), (spec.n_fft, spec.n_fft)), spec)
    levels = mel * (20 / math.log(10))
    return (levels - levels.amax((1, 2), keepdim=True) + RANGE_DB).clamp(min=0) * (loud > 0)


def fit_length(raw: Tensor, length: int) -> Tensor:
    """Return raw (B, C, L) cut or padded with silence to (B, C, length)."""
    return functional.pad(raw[..., :length], (0, max(0, length - raw.shape[-1])))


def move(x: Tensor, high: Tensor, late: Tensor) -> Tensor:
    """Return x (B, 1, F, T), each moved by high (B,) bands and late (B,) frames; silence fills the gap."""
    bands = torch.arange(x.shape[2])[None, :] - high[:, None]
    frames = torch.arange(x.shape[3])[None, :] - late[:, None]
    inside = ((bands >= 0) & (bands < x.shape[2]))[:, :, None] & ((frames >= 0) & (frames < x.shape[3]))[:, None, :]
    bands, frames = bands.clamp(0, x.shape[2] - 1), frames.clamp(0, x.shape[3] - 1)
    values = x[torch.arange(len(x))[:, None, None], 0, bands[:, :, None], frames[:, None, :]]
    return torch.where(inside, values, SILENCE).unsqueeze(1)


def _convolution(before: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    plain = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
    return [plain, nn.BatchNorm2d(width), nn.ReLU()]


def _stretches(n: int, size: int, most: int, draw: torch.Generator) -> Tensor:
    """Return a mask with one stretch of up to `most` places in each row: (n, size) bool."""
    length = torch.randint(most + 1, (n, 1), generator=draw)
    start = (torch.rand((n, 1), generator=draw) * (size - length + 1)).long()
    place = torch.arange(size)
    return (place >= start) & (place < start + length)
