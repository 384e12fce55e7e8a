"""Images as a modality: raw pixels are (B, C, H, W) uint8, C = 1 (grey) or 3 (RGB)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import torch
from torch import Tensor, nn

from modalities.image import options
from modalities.image.data import augment
from modalities.image.data import decode as picture
from modalities.image.data.cache import Corpus
from modalities.image.data.dataset import Pictures
from modalities.image.data.dataset import read as read_corpus
from modalities.image.view import picture as preview
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError, UsageError
from toolkit.evaluation.table import EvaluationResult, Figure, Wishes
from toolkit.modality import Examples, Facts, Modality, Options

_LISTED = 1_000


class Image(Modality):
    """Square pictures of one size, with or without labels."""

    name = "image"
    default_recipe: ClassVar[str | Mapping[str, Any]] = "image/digits"
    Data: ClassVar[type[Options]] = options.Data
    Model: ClassVar[type[Options]] = options.Model
    data: options.Data
    model: options.Model
    _corpus: Corpus | None = None

    def read_data(self, cache: Path, notify: Callable[[str], None]) -> Facts:
        """Decode the source, or find it decoded. Raises DataError, StorageError."""
        corpus = self._corpus = read_corpus(self.data, cache, notify)
        rejected = corpus.rejected[:_LISTED]
        if len(rejected) < len(corpus.rejected):
            rejected += (f"... and {len(corpus.rejected) - _LISTED} more",)
        test = int(corpus.test.sum())
        return Facts(
            shape=tuple(corpus.pixels.shape[1:]),
            labels=corpus.names,
            mean=corpus.mean,
            std=corpus.std,
            bounds=((-1 - corpus.mean) / corpus.std, (1 - corpus.mean) / corpus.std),
            count=len(corpus.pixels) - test,
            rejected=rejected,
            extra={"test": test},
        )

    def dataset(self, split: str) -> Pictures:
        """The split "train" or "test", which may be empty. Raises UsageError."""
        if split not in ("train", "test"):
            raise UsageError(f"unknown split '{split}'; known: train, test")
        if self._corpus is None:
            raise RuntimeError("the data has not been opened: call open() first")
        return Pictures(self._corpus, test=split == "test")

    def network(self) -> nn.Module:
        """The U-Net that [model] asks for: (B, C, H, W) -> (B, C, H, W)."""
        from modalities.image.network.presets import build

        return build(self.model, self.shape, len(self.labels))

    def augment(self, raw: Tensor, draws: Draws) -> Tensor:
        """Crop, shift and flip as [data] says: (B, C, H, W) uint8 to the same."""
        return augment.augment(raw, self.data, draws)

    def augment_note(self) -> str:
        return augment.note(self.data)

    def encode(self, raw: Tensor) -> Tensor:
        """Pixels 0..255 to float32 with mean 0 and variance 1 over the training set: (raw / 127.5 - 1 - mean) / std."""
        return (raw.float() / 127.5 - (1 + self.facts.mean)) / self.facts.std

    def decode(self, x: Tensor) -> Tensor:
        """The inverse of `encode`, rounded to the nearest of 0..255, uint8."""
        return ((x.float() * self.facts.std + (1 + self.facts.mean)) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def read(self, path: Path) -> Tensor:
        """A picture file as (C, H, W) uint8, resized and cropped like the training pictures. Raises DataError."""
        channels, size, _ = self.shape
        try:
            with picture.quiet(), path.open("rb") as stream:
                return torch.from_numpy(picture.pixels(stream, size, channels))
        except FileNotFoundError:
            raise DataError(f"no such file: {path}") from None
        except Exception as error:  # damaged files make Pillow raise nearly everything
            raise DataError(f"{path} cannot be read: {picture.reason(error)}") from None

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], ask: Options | None = None) -> list[Path]:
        """Save (B, C, H, W) uint8 as folder/STEM.png, without metadata. Raises StorageError."""
        paths = []
        for pixels, stem in zip(raw, stems, strict=True):
            buffer = io.BytesIO()
            preview.to_image(pixels).save(buffer, "PNG")
            paths.append(preview.save(buffer.getvalue(), folder / f"{stem}.png"))
        return paths

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """The pictures (B, C, H, W) uint8 as one grid; `labels`, one for each, put equal ones into captioned rows."""
        return preview.grid(raw, labels, order=self.labels)

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """A row for each picture, from noise to picture: (T, B, C, H, W) uint8."""
        return preview.strip(moments)

    def assess(self, made: Examples, notify: Callable[[str], None], wishes: Wishes) -> EvaluationResult:
        """Distances, diversity, agreement with the labels and copies, under the judge of pictures."""
        from modalities.image.evaluate.evaluator import assess

        return assess(self, made, notify, wishes)

    def likelihood(
        self, denoiser: Denoiser, law: TimeDistribution | None, count: int, notify: Callable[[str], None]
    ) -> list[Figure]:
        """Bits per dimension of held-out pictures: the variational bound, its terms, and by the flow."""
        from modalities.image.evaluate.likelihood import likelihood

        return likelihood(self, denoiser, law, count, notify)
