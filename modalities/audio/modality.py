"""Sounds as a modality: raw clips are (B, C, L) float32 in [-1, 1], zero beyond each clip's end; C = 1 or 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import torch
from torch import Tensor, nn

from modalities.audio import mel, options
from modalities.audio.codec import Codec, rate_of, read
from modalities.audio.conditioning import AudioConditioning, quantiles, wrong
from modalities.audio.data import augment, dataset
from modalities.audio.data.decode import EXTENSIONS
from modalities.audio.view import files, picture
from modalities.audio.view.view import AudioView
from toolkit.data.dataset import Facts, Splits
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.schedule import Schedule
from toolkit.errors import UsageError
from toolkit.evaluation.evaluator import ClassifierOptions, Evaluator
from toolkit.modality import Modality, Options

LOWEST_SNR_DB = -30.0
"""Highest signal-to-noise ratio of an unconditional model's schedule at t = 1."""


class Audio(Modality):
    """Raw waveforms of one rate and of unequal length, with or without labels; or a vocoder for them."""

    name = "audio"
    default_recipe: ClassVar[str | Mapping[str, Any]] = "audio/drums"
    Data: ClassVar[type[Options]] = options.Data
    Model: ClassVar[type[Options]] = options.Model
    SampleOptions: ClassVar[type[Options]] = options.SampleOptions
    EvaluationOptions: ClassVar[type[Options]] = ClassifierOptions
    extensions = frozenset(EXTENSIONS)
    data: options.Data
    model: options.Model

    @property
    def rate(self) -> int:
        """Sample rate in Hz."""
        return rate_of(self.facts)

    @property
    def vocoder(self) -> bool:
        """True where the network is conditioned on a mel spectrogram, and on no label."""
        return self.model.condition == "mel"

    def load(self, cache: Path, notify: Callable[[str], None]) -> Splits:
        """Decode the source, or read it from the cache. Raises DataError, UsageError, StorageError."""
        corpus = dataset.read(self.data, cache, notify, "all" if self.vocoder else "auto")
        train, test = dataset.Clips(corpus, test=False), dataset.Clips(corpus, test=True)
        facts = Facts(
            shape=(self.data.channels, corpus.length),
            labels=() if self.vocoder else corpus.names,
            std=corpus.std,
            count=len(train),
            rejected=corpus.rejected,
            identity=corpus.identity,
            extra={
                "rate": corpus.rate,
                "channels": self.data.channels,
                "test": len(test),
                "durations": quantiles(train.lengths / corpus.rate, train.labels, len(corpus.names)),
            },
        )
        return Splits(self.data.source, train, test, facts, corpus.understood)

    def wrong_facts(self) -> str:
        """Return why shape, rate or durations are none of sounds, or ""."""
        return wrong(self.facts)

    def network(self) -> nn.Module:
        """Return the network of the [model] section: (B, C, L) -> (B, C, L). Raises UsageError."""
        from modalities.audio.network.presets import build

        spec = mel.default(self.rate, self.model.mels) if self.vocoder else None
        return build(self.model, self.shape[0], len(self.labels), spec, self.facts.std, self.rate)

    def denoiser(self, net: nn.Module, schedule: Schedule, prediction: str) -> Denoiser:
        """Return the denoiser. Raises UsageError when an unconditional model's schedule does not end in noise."""
        end = float(schedule.log_snr(torch.ones((), dtype=torch.float64))) * 4.342944819032518
        if not self.vocoder and end > LOWEST_SNR_DB:
            raise UsageError(
                f"diffusion.schedule {schedule!r} ends at a signal-to-noise ratio of {end:.1f} dB: sampling starts "
                f"from noise alone, which such a model never met, so all it makes sounds alike. Take a schedule that "
                f"ends below {LOWEST_SNR_DB:.0f} dB, such as flow or cosine, or set zero_terminal_snr = true"
            )
        return super().denoiser(net, schedule, prediction)

    def describe(self, net: nn.Module) -> list[tuple[str, str]]:
        """Return rows with the receptive field, with a warning when it is shorter than a clip, and the augmentation."""
        from modalities.audio.network.presets import reach

        field, everywhere = reach(net)
        seconds, clip = field / self.rate, self.shape[-1] / self.rate
        sees = f"{field:,} samples ({seconds:.2f} s) by convolution" + (", all by attention" if everywhere else "")
        if not (everywhere or field >= self.shape[-1] or self.vocoder):
            sees += f"; WARNING: shorter than the clip ({clip:.2f} s), so its parts will not know of each other"
        note = augment.note(self.data)
        return [("receptive field", sees), *([("augmentation", note)] if note else [])]

    def encode(self, raw: Tensor) -> Tensor:
        """Return samples (B, C, L) pre-emphasised and divided by the training set's deviation, float32."""
        return Codec.of(self.data, self.facts).encode(raw)

    def decode(self, x: Tensor) -> Tensor:
        """Return the inverse of `encode`; a clip beyond full scale is scaled down to it."""
        return Codec.of(self.data, self.facts).decode(x)

    def read(self, path: Path) -> Tensor:
        """Return a sound file as (C, L) float32 at the run's rate and channels, whole. Raises DataError."""
        return read(path, self.rate, self.shape[0])

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], options: Options | None = None) -> list[Path]:
        """Save (B, C, L) as WAV or FLAC, each clip without the silence that pads it. Raises StorageError."""
        return files.write(raw, self.rate, folder, stems, getattr(options, "format", "wav"))

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """Return waveform and mel spectrogram of each clip; equal labels share rows."""
        return picture.preview(raw, self.rate, labels, self.labels)

    def conditioning(self) -> AudioConditioning:
        return AudioConditioning(self.data, self.model, self.facts, self.splits)

    def view(self) -> AudioView:
        return AudioView(self.facts)

    def evaluator(self) -> Evaluator:
        from modalities.audio.evaluate.evaluator import AudioEvaluator

        return AudioEvaluator(self.data, self.model)
