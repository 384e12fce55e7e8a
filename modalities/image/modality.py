"""Images as a modality: raw pixels are (B, C, H, W) uint8, C = 1 (grey) or 3 (RGB), and one more for transparency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import torch
from torch import Tensor, nn

from modalities.image import codec, options
from modalities.image.conditioning import ImageConditioning
from modalities.image.data import augment, dataset, decode
from modalities.image.data.levels import DEEP, Range
from modalities.image.view import picture
from modalities.image.view.view import ImageView
from toolkit.data.dataset import Facts, Splits
from toolkit.errors import DataError
from toolkit.evaluation.evaluator import Evaluator
from toolkit.modality import Modality, Options
from toolkit.training.storage.files import make_folder, write_stream_atomic


class Image(Modality):
    """Pictures of one size, with or without labels."""

    name = "image"
    default_recipe: ClassVar[str | Mapping[str, Any]] = "image/digits"
    Data: ClassVar[type[Options]] = options.Data
    Model: ClassVar[type[Options]] = options.Model
    EvaluationOptions: ClassVar[type[Options]] = options.EvaluationOptions
    extensions = frozenset(decode.EXTENSIONS)
    data: options.Data
    model: options.Model

    def load(self, cache: Path, notify: Callable[[str], None]) -> Splits:
        """Decode the source, or read it from the cache. Raises DataError, StorageError."""
        corpus = dataset.read(self.data, cache, notify)
        train, test = dataset.Pictures(corpus, test=False), dataset.Pictures(corpus, test=True)
        facts = Facts(
            shape=tuple(corpus.pixels.shape[1:]),
            labels=corpus.names,
            mean=corpus.mean,
            std=corpus.std,
            bounds=((-1 - corpus.mean) / corpus.std, (1 - corpus.mean) / corpus.std),
            count=len(train),
            rejected=corpus.rejected,
            identity=corpus.identity,
            extra={"test": len(test)} | {f"levels of {kind}": tuple(range) for kind, range in corpus.ranges.items()},
        )
        return Splits(self.data.source, train, test, facts, corpus.understood)

    def network(self) -> nn.Module:
        """Return the U-Net of the [model] section: (B, C, H, W) -> (B, C, H, W). Raises UsageError."""
        from modalities.image.network.presets import build

        return build(self.model, self.shape, len(self.labels))

    def describe(self, net: nn.Module) -> list[tuple[str, str]]:
        """Return a row with the augmentation, when there is any."""
        note = augment.note(self.data)
        return [("augmentation", note)] if note else []

    def encode(self, raw: Tensor) -> Tensor:
        """Return pixels 0..255 as float32 with mean 0 and variance 1 over the training set."""
        return codec.encode(raw, self.facts)

    def decode(self, x: Tensor) -> Tensor:
        """Return the inverse of `encode`, rounded to the nearest of 0..255, uint8."""
        return codec.decode(x, self.facts)

    def read(self, path: Path) -> Tensor:
        """Return a picture file as (C, H, W) uint8, cropped and resized as in training. Raises DataError."""
        channels, height, width = self.shape
        ranges = {
            kind: Range(*self.facts.extra[f"levels of {kind}"])  # type: ignore[misc]
            for kind in DEEP
            if f"levels of {kind}" in self.facts.extra
        }
        plan = dataset.plan_of(self.data, (width, height), channels, ranges)
        try:
            with decode.quiet():
                result = decode.one(path, plan)
        except FileNotFoundError:
            raise DataError(f"no such file: {path}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {decode.reason(error)}") from None
        if isinstance(result, str):
            raise DataError(f"{path} cannot be read: {result}")
        return torch.from_numpy(result.pixels)

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], options: Options | None = None) -> list[Path]:
        """Save (B, C, H, W) uint8 as folder/STEM.png, without metadata. Raises StorageError."""
        paths = [folder / f"{stem}.png" for stem in stems]
        make_folder(folder)
        for pixels, path in zip(raw, paths, strict=True):
            write_stream_atomic(path, partial(picture.to_image(pixels).save, format="PNG"), durable=False)
        return paths

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """Return the pictures (B, C, H, W) uint8 as one grid; `labels`, one for each, put equal ones into rows.

        Transparent ones are laid on a light checkerboard.
        """
        return picture.grid(raw, labels, order=self.labels)

    def wrong_facts(self) -> str:
        """Return why shape or levels are none of pictures, or ""."""
        shape, largest = self.facts.shape, options.LARGEST
        if len(shape) != 3 or shape[0] > 4 or max(shape[1:]) > largest:
            return f"shape {list(shape)} is no picture of 1 to 4 channels and sides up to {largest} pixels"
        for name, value in self.facts.extra.items():
            if name.startswith("levels of ") and not (isinstance(value, tuple) and len(value) == 2):
                return f"extra.{name} is not two numbers"
        return ""

    def conditioning(self) -> ImageConditioning:
        return ImageConditioning(self.shape, self.data)

    def view(self) -> ImageView:
        return ImageView(self.preview)

    def evaluator(self) -> Evaluator:
        from modalities.image.evaluate.evaluator import ImageEvaluator

        return ImageEvaluator()
