"""Texts as a modality: raw examples are (B, L) int64 tokens, 0 beyond each text's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import torch
from torch import Tensor, nn

from modalities.text import options
from modalities.text.codec import Codec, wrong
from modalities.text.conditioning import TextConditioning
from modalities.text.data import dataset, grammar, text_files
from modalities.text.data.formats import EXTENSIONS
from modalities.text.data.forms import normal
from modalities.text.data.text_files import Problems
from modalities.text.view import picture
from modalities.text.view.view import TextView
from toolkit.data.dataset import Facts, Splits
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.schedule import Schedule
from toolkit.errors import DataError
from toolkit.evaluation.evaluator import Evaluator
from toolkit.modality import Modality, Options
from toolkit.training.storage.files import make_folder, write_text_atomic


class Text(Modality):
    """Sequences of tokens: running text, items with an end, or pairs of a source and the target to write."""

    name = "text"
    default_recipe: ClassVar[str | Mapping[str, Any]] = "text/shakespeare"
    Data: ClassVar[type[Options]] = options.Data
    Model: ClassVar[type[Options]] = options.Model
    SampleOptions: ClassVar[type[Options]] = options.SampleOptions
    extensions = frozenset(EXTENSIONS)
    data: options.Data
    model: options.Model

    @property
    def codec(self) -> Codec:
        """Decoder of tokens into texts."""
        return Codec.of(self.facts)

    def load(self, cache: Path, notify: Callable[[str], None]) -> Splits:
        """Read the source, or take its tokens from the cache. Raises DataError, UsageError, StorageError."""
        corpus = dataset.read(self.data, cache, notify)
        facts = Facts(
            shape=(corpus.length,),
            labels=corpus.names,
            count=len(corpus.train),
            rejected=corpus.rejected,
            extra={
                "vocabulary": corpus.vocabulary.to_text(),
                "items": not corpus.packed,
                "paired": corpus.train.given is not None,
                "lengths": corpus.lengths,
                "test": len(corpus.test),
                "form": corpus.form,
            },
            identity=corpus.identity,
        )
        now = {f"data.{k}": v for k, v in self.data} | {f"model.{k}": v for k, v in self.model}
        better = {key: value for key, value in corpus.understood.proposals.items() if now.get(key) != value}
        understood = corpus.understood.model_copy(update={"proposals": better})
        return Splits(self.data.source, corpus.train, corpus.test, facts, understood)

    def wrong_facts(self) -> str:
        """Return why shape, vocabulary or lengths are none of texts, or ""."""
        return wrong(self.facts)

    def network(self) -> nn.Module:
        from modalities.text.network.transformer import build

        return build(self.model, self.codec.vocabulary.size, len(self.labels))

    def denoiser(self, net: nn.Module, schedule: Schedule, prediction: str) -> Denoiser:
        """Return a denoiser that predicts tokens, whatever `prediction` says."""
        from modalities.text.network.denoiser import TokenDenoiser
        from modalities.text.network.transformer import TokenNet

        assert isinstance(net, TokenNet)
        model = self.model
        codec = self.codec
        rules = grammar.of(codec.vocabulary, codec.items)
        return TokenDenoiser(net, schedule, model.recall, model.lowest, model.highest, model.spread, rules)

    def encode(self, raw: Tensor) -> Tensor:
        """Return tokens as they are; the denoiser embeds them."""
        return raw.long()

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    def texts(self, raw: Tensor) -> list[str]:
        """Return the text of each row of tokens (B, L), up to the end of an item; of a pair, the target."""
        return self.codec.texts(raw)

    def read(self, path: Path) -> Tensor:
        """Return a text file as (L,) int64 tokens, whole, read as the texts of the training are. Raises DataError."""
        problems = Problems()
        try:
            text = "".join(text_files.blocks(path.expanduser(), path.name, problems, self.data.encoding))
        except OSError as error:
            raise DataError(f"cannot read {path} as text: {error}") from None
        wrong = problems.unreadable or [
            f"{count:,} {kind}" for kind, count in problems.mends.items() if "U+FFFD" in kind
        ]
        if wrong:
            raise DataError(f"cannot read {path} as text: {wrong[0]}")
        text = normal(text, str(self.facts.extra.get("form", "")))
        return torch.from_numpy(self.codec.vocabulary.encode(text)).long()

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], options: Options | None = None) -> list[Path]:
        """Save (B, L) as one UTF-8 file each. Raises StorageError."""
        paths = [folder / f"{stem}.txt" for stem in stems]
        make_folder(folder)
        for path, text in zip(paths, self.texts(raw), strict=True):
            write_text_atomic(path, text, durable=False)
        return paths

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """Return a picture of the texts beside and below each other."""
        return picture.preview(self.texts(raw), labels)

    def conditioning(self) -> TextConditioning:
        return TextConditioning(self.model, self.facts, self.splits)

    def view(self) -> TextView:
        return TextView(self.facts)

    def evaluator(self) -> Evaluator:
        from modalities.text.evaluate.evaluator import TextEvaluator

        return TextEvaluator(self.model)
