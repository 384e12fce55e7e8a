"""Texts as a modality: raw examples are (B, L) int64 tokens, 0 beyond each text's end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import torch
from torch import Tensor, nn

from modalities.text import conditioning as requests
from modalities.text import options
from modalities.text.data.dataset import Corpus, Texts, crop
from modalities.text.data.dataset import read as read_corpus
from modalities.text.data.tokens import EOS, PAD, SEP, Vocabulary
from modalities.text.infill import draw_given
from modalities.text.network import token_noise
from modalities.text.view import picture as preview
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.randomness import Draws
from toolkit.diffusion.schedule import Schedule
from toolkit.errors import DataError, StorageError, UsageError
from toolkit.evaluation.table import EvaluationResult, Figure, Wishes
from toolkit.modality import Examples, Facts, Inspection, Modality, Options, Request

MIDDLE = 0.45
"""Noise, in units of the norm of an embedding, at which context decides most before training has told."""
_LISTED = 1_000
_GOLDEN = (math.sqrt(5) - 1) / 2


class Text(Modality):
    """Sequences of tokens: running text, or items with an end, or pairs of which the second is written."""

    name = "text"
    default_recipe: ClassVar[str | Mapping[str, Any]] = "text/shakespeare"
    shown: ClassVar[tuple[int, int]] = (8, 24)
    Data: ClassVar[type[Options]] = options.Data
    Model: ClassVar[type[Options]] = options.Model
    Ask: ClassVar[type[Options]] = options.Ask
    data: options.Data
    model: options.Model
    _corpus: Corpus | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """What the tokens stand for."""
        return Vocabulary.from_text(str(self.facts.extra["vocabulary"]))

    @property
    def items(self) -> bool:
        """Whether examples are whole items, which end with EOS, and not cut from running text."""
        return bool(self.facts.extra["items"])

    def read_data(self, cache: Path, notify: Callable[[str], None]) -> Facts:
        """Read the source, or find its tokens in the cache. Raises DataError, UsageError, StorageError."""
        corpus = self._corpus = read_corpus(self.data, cache, notify)
        rejected = corpus.rejected[:_LISTED]
        if len(rejected) < len(corpus.rejected):
            rejected += (f"... and {len(corpus.rejected) - _LISTED} more",)
        return Facts(
            shape=(corpus.length,),
            labels=corpus.names,
            count=len(corpus.train),
            rejected=rejected,
            extra={
                "vocabulary": corpus.vocabulary.to_text(),
                "items": not corpus.packed,
                "paired": corpus.train.given is not None,
                "lengths": corpus.lengths,
                "test": len(corpus.test),
            },
        )

    def dataset(self, split: str) -> Texts:
        """The split "train" or "test", which may be empty. Raises UsageError."""
        if split not in ("train", "test"):
            raise UsageError(f"unknown split '{split}'; known: train, test")
        if self._corpus is None:
            raise RuntimeError("the data has not been opened: call open() first")
        return self._corpus.train if split == "train" else self._corpus.test

    def network(self) -> nn.Module:
        from modalities.text.network.transformer import build

        return build(self.model, self.vocabulary.size, len(self.labels))

    def denoiser(self, net: nn.Module, schedule: Schedule, prediction: str) -> Denoiser:
        """A denoiser that predicts tokens, whatever `prediction` says."""
        from modalities.text.network.denoiser import TokenDenoiser
        from modalities.text.network.transformer import TokenNet

        assert isinstance(net, TokenNet)
        return TokenDenoiser(net, schedule, self.model.recall, self.model.lowest, self.model.highest)

    def noise_levels(self) -> tuple[float, float, float]:
        """In units of one coordinate: an embedding has norm sqrt(dims), times a scale where levels are spread."""
        norm = math.sqrt(self.model.dims)
        widest = math.exp(self.model.spread)
        return self.model.lowest * norm / widest, MIDDLE * norm, self.model.highest * norm * widest

    def prepare(self, examples: Examples, draws: Draws) -> Examples:
        """Cut running text anywhere; say where texts end, and which tokens are told."""
        tokens, length = examples.raw, examples.cond["length"]
        if not self.items:
            tokens = crop(tokens, draws) if tokens.shape[-1] > self.shape[-1] else tokens
            length = (tokens != PAD).sum(1)
        tokens = tokens[:, : int(length.max())]
        if "given" in examples.cond:
            given: Tensor | None = torch.arange(tokens.shape[-1]) < examples.cond["given"][:, None]
        elif self.model.given > 0:
            given = draw_given(length, tokens.shape[-1], self.model.given, draws)
        else:
            given = None
        cond = requests.conditions(tokens, length, given)
        if self.model.spread:
            order = draws.uniform("scale", tokens.shape[-1])
            cond["scale"] = token_noise.spread_out(order, self.model.spread, length)
        if "label" in examples.cond:
            cond["label"] = examples.cond["label"]
        return Examples(tokens, cond)

    def encode(self, raw: Tensor) -> Tensor:
        """Tokens as they are; the denoiser embeds them."""
        return raw.long()

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    def texts(self, raw: Tensor) -> list[str]:
        """What tokens (B, L) say, up to the end of an item; of a pair, what was written."""
        known, found, paired = self.vocabulary, [], bool(self.facts.extra["paired"])
        for row in raw.tolist():
            start = row.index(SEP) + 1 if paired and SEP in row else 0
            stop = row.index(EOS, start) if self.items and EOS in row[start:] else len(row)
            found.append(known.decode(row[start:stop]))
        return found

    def sources(self, raw: Tensor) -> list[str]:
        """Of pairs (B, L): what each text was written from."""
        return [self.vocabulary.decode(row[: row.index(SEP)] if SEP in row else []) for row in raw.tolist()]

    def requests(self, ask: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """Texts of the asked or a drawn length, or with what is given in its place. Raises UsageError."""
        assert isinstance(ask, options.Ask)
        return [
            self.renewed(job, seed, [positions[i] for i in job.which], 0) for job in self._asked(ask, seed, positions)
        ]

    def renewed(self, request: Request, seed: int, positions: Sequence[int], round: int) -> Request:
        """Other tokens become noise in each round, so that all have their turn to be written anew."""
        drawn = token_noise.scales(self.model.spread, request.shape[-1], seed, positions, round)
        return request._replace(cond={**request.cond, **drawn})

    def _asked(self, ask: options.Ask, seed: int, positions: Sequence[int]) -> list[Request]:
        """The requests without the tokens' noise levels. Raises UsageError."""
        paired = bool(self.facts.extra["paired"])
        if why := requests.contradiction(ask, paired):
            raise UsageError(why)
        trained, count = self.shape[-1], len(positions)
        if ask.infill is not None:
            given = requests.with_holes(ask.infill, self.vocabulary, count, self.items)
            length = torch.full((count,), given["tokens"].shape[-1])
            made = requests.of_length(length, trained, ask.temperature, given)
            # an end in a hole would cut off what is given behind it
            return [job._replace(cond={**job.cond, "endless": torch.ones(len(job.which))}) for job in made]
        if ask.length is not None:
            length = torch.full((count,), ask.length + self.items)
        elif self.items:
            lengths = self.facts.extra["lengths"]
            assert isinstance(lengths, tuple)
            length = requests.draw(lengths, seed, positions)
        else:
            length = torch.full((count,), trained)
        if ask.source is not None:
            most = None if ask.length is None else ask.length + 1
            length, given = requests.with_source(ask.source, self.vocabulary, length, trained, most)
            return requests.of_length(length, trained, ask.temperature, given)
        if paired:
            return self._written(positions, length, ask.temperature)
        return requests.of_length(length, trained, ask.temperature)

    def _written(self, positions: Sequence[int], length: Tensor, temperature: float) -> list[Request]:
        """What a model of pairs draws while it trains: targets for held-out sources, or for those of the training."""
        if self._corpus is None:
            raise UsageError("this run writes one column given the other: say what is given with --source TEXT")
        pairs = self.dataset("test") if self.facts.extra["test"] else self.dataset("train")
        # tables are often sorted, and then neighbours are alike: steps of the golden ratio reach all parts
        places = [int(position * _GOLDEN % 1 * len(pairs)) for position in positions]
        examples = pairs.take(torch.tensor(places))
        told = torch.arange(examples.raw.shape[-1]) < examples.cond["given"][:, None]
        given = {"tokens": examples.raw[:, None].masked_fill(~told[:, None], EOS), "given": told[:, None].float()}
        length = (examples.cond["given"] + length).clamp(max=self.shape[-1])
        return requests.of_length(length, self.shape[-1], temperature, given)

    def read(self, path: Path) -> Tensor:
        """A text file as (L,) int64 tokens, whole. Raises DataError."""
        try:
            text = path.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {path} as text: {error}") from None
        return torch.from_numpy(self.vocabulary.encode(text)).long()

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], ask: Options | None = None) -> list[Path]:
        """Save (B, L) as one UTF-8 file each. Raises StorageError."""
        paths = [folder / f"{stem}.txt" for stem in stems]
        try:
            for path, text in zip(paths, self.texts(raw), strict=True):
                path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from None
        return paths

    def lines(self, raw: Tensor, labels: Sequence[str] = ()) -> list[str]:
        return preview.lines(self.texts(raw), labels)

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """The texts beside and below each other."""
        return preview.preview(self.texts(raw), labels)

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """The likeliest tokens of two texts on their way from noise, (T, B, L)."""
        return preview.strip([self.texts(moment) for moment in moments])

    def page(self, raw: Tensor, labels: Sequence[str], real: Examples | None = None) -> str:
        """A page of texts, with real ones below."""
        if real is None:
            return preview.page(self.texts(raw), labels)
        told = real.raw[:, : self.shape[-1]]
        names = [self.labels[i] for i in real.cond["label"].tolist()] if "label" in real.cond else []
        return preview.page(self.texts(raw), labels, self.texts(told), names)

    def rate_note(self, raw: Tensor, seconds: float) -> str:
        made = int(self.vocabulary.characters(raw.numpy()).sum())
        return f"{made:,} characters, {made / max(seconds, 1e-9):,.0f} a second"

    def assess(self, made: Examples, notify: Callable[[str], None], wishes: Wishes) -> EvaluationResult:
        """Words, n-grams, two judges and copies, each beside held-out text."""
        from modalities.text.evaluate.evaluator import assess

        return assess(self, made, notify)

    def likelihood(
        self, denoiser: Denoiser, law: TimeDistribution | None, count: int, notify: Callable[[str], None]
    ) -> list[Figure]:
        """The variational bound of held-out texts in bits per character, its terms, and n-gram models beside it."""
        from modalities.text.evaluate.evaluator import likelihood_figures

        return likelihood_figures(self, denoiser, law, count, notify)

    @classmethod
    def inspect(cls, path: Path, notify: Callable[[str], None]) -> Inspection:
        """What is in a file or folder of texts, and what to train from it. Raises DataError."""
        from modalities.text.inspect import survey

        found = survey(path, notify)
        return Inspection(found.rows(), found.changes())
