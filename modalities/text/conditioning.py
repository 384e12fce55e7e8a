"""Masks, given tokens and noise levels of tokens: the conditions of the network, in training and in sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from modalities.text.codec import Codec, lengths
from modalities.text.data.dataset import crop
from modalities.text.data.forms import normal
from modalities.text.data.tokens import EOS, PAD, SEP, Vocabulary
from modalities.text.infill import draw_given, parse_holes
from modalities.text.network import token_noise
from modalities.text.options import Model, SampleOptions
from toolkit.conditioning import Conditioning, Request
from toolkit.data.dataset import Examples, Facts, Splits
from toolkit.diffusion.randomness import Draws, uniform
from toolkit.errors import UsageError
from toolkit.recipe.options import Options

_GOLDEN = (math.sqrt(5) - 1) / 2


class TextConditioning(Conditioning):
    """Conditions of texts: masks beyond their ends, given tokens, and relative noise levels of tokens."""

    def __init__(self, model: Model, facts: Facts, splits: Splits | None) -> None:
        """`splits`: the opened data, or None; previews of a run of pairs write targets for its held-out sources."""
        super().__init__(facts.shape)
        self.model, self.facts, self.splits = model, facts, splits
        self.codec = Codec.of(facts)

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        """Crop running text at random, and add masks, given tokens and noise levels of tokens as conditions."""
        tokens, length = examples.raw, examples.cond["length"]
        if not self.codec.items:
            tokens = crop(tokens, draws) if tokens.shape[-1] > self.shape[-1] else tokens
            length = (tokens != PAD).sum(1)
        tokens = tokens[:, : int(length.max())]
        if "given" in examples.cond:
            given: Tensor | None = torch.arange(tokens.shape[-1]) < examples.cond["given"][:, None]
        elif self.model.given > 0:
            given = draw_given(length, tokens.shape[-1], self.model.given, draws)
        else:
            given = None
        cond = conditions(tokens, length, given)
        if self.model.spread:
            order = draws.uniform("scale", tokens.shape[-1])
            cond["scale"] = token_noise.spread_out(order, self.model.spread, length)
        if "label" in examples.cond:
            cond["label"] = examples.cond["label"]
        return Examples(tokens, cond)

    def plan(self, options: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """Return requests for texts of a set or drawn length, with any given tokens in place. Raises UsageError."""
        assert isinstance(options, SampleOptions)
        requests = self._requests(options, seed, positions)
        return [self.redraw(request, seed, [positions[i] for i in request.which], 0) for request in requests]

    def redraw(self, request: Request, seed: int, positions: Sequence[int], round: int) -> Request:
        """Return the request with other noise levels in each round, so that every token is rewritten in its turn."""
        scales = token_noise.scales(self.model.spread, request.shape[-1], seed, positions, round)
        return request._replace(cond={**request.cond, **scales})

    def _requests(self, options: SampleOptions, seed: int, positions: Sequence[int]) -> list[Request]:
        """Return the requests without noise levels of tokens."""
        if why := contradiction(options, self.codec.paired):
            raise UsageError(why)
        trained, count, items = self.shape[-1], len(positions), self.codec.items
        form = str(self.facts.extra.get("form", ""))  # as the texts of the training were
        if options.infill is not None:
            given = with_holes(normal(options.infill, form), self.codec.vocabulary, count, items)
            length = torch.full((count,), given["tokens"].shape[-1])
            requests = of_length(length, trained, options.temperature, given)
            return endless(requests)  # an end in a hole would cut off the given text behind it
        if options.length is not None:
            length = torch.full((count,), options.length + items)
        elif items:
            length = draw(lengths(self.facts), seed, positions)
        else:
            length = torch.full((count,), trained)
        if options.source is not None:
            target = None if options.length is None else options.length + 1
            source = normal(options.source, form)
            length, given = with_source(source, self.codec.vocabulary, length, trained, target)
            if target is not None:
                given["given"] = given["given"].clone()
                given["given"][..., -1] = 1
            requests = of_length(length, trained, options.temperature, given)
            return requests if target is None else endless(requests)
        if self.codec.paired:
            return self._targets(positions, length, options.temperature, options.length is not None)
        if items and options.length is not None:
            return endless(of_length(length, trained, options.temperature, with_end(count, options.length + 1)))
        return of_length(length, trained, options.temperature)

    def _targets(self, positions: Sequence[int], length: Tensor, temperature: float, ended: bool) -> list[Request]:
        """Return requests for targets of held-out sources, or of training sources where none is held out.

        ended: the targets have this length with their end, which is given.
        """
        if self.splits is None:
            raise UsageError("this run writes one column given the other: say what is given with --source TEXT")
        pairs = self.splits.test if len(self.splits.test) else self.splits.train
        # tables are often sorted, and then neighbours are alike: steps of the golden ratio reach all parts
        examples = pairs.take(torch.tensor([int(position * _GOLDEN % 1 * len(pairs)) for position in positions]))
        place = torch.arange(examples.raw.shape[-1])
        given = place < examples.cond["given"][:, None]
        tokens = examples.raw[:, None].masked_fill(~given[:, None], EOS)
        length = (examples.cond["given"] + length).clamp(max=self.shape[-1])
        if ended:
            given = given | (place == length[:, None] - 1)
        requests = of_length(length, self.shape[-1], temperature, {"tokens": tokens, "given": given[:, None].float()})
        return endless(requests) if ended else requests


def conditions(tokens: Tensor, length: Tensor, given: Tensor | None) -> dict[str, Tensor]:
    """Return `mask`, 0 beyond a text's end, and `given`, 1 at given tokens, where there are any: (B, 1, L) float."""
    cond = {}
    if int(length.min()) < tokens.shape[-1]:
        cond["mask"] = (torch.arange(tokens.shape[-1]) < length[:, None]).float()[:, None]
    if given is not None and bool(given.any()):
        cond["given"] = given.float()[:, None]
    return cond


def of_length(
    length: Tensor, trained: int, temperature: float, given: Mapping[str, Tensor] | None = None
) -> list[Request]:
    """Return one request for all texts of equal length (B,), in tokens; by windows where longer than in training.

    `given`: conditions with a row for each text.
    """
    requests = []
    for size in length.unique().tolist():
        which = (length == size).nonzero()[:, 0]
        cond = {name: value[which, ..., :size] for name, value in (given or {}).items()}
        if temperature != 1:
            cond["temperature"] = torch.full((len(which),), temperature)
        requests.append(Request(tuple(which.tolist()), (size,), cond, trained if size > trained else None))
    return requests


def endless(requests: Sequence[Request]) -> list[Request]:
    """Return requests for texts that end nowhere but where an end is given."""
    return [each._replace(cond={**each.cond, "endless": torch.ones(len(each.which))}) for each in requests]


def with_end(count: int, length: int) -> dict[str, Tensor]:
    """Return `tokens` and `given`, (count, 1, length), of items of which nothing but the end is given."""
    given = torch.zeros(count, 1, length)
    given[..., -1] = 1
    return {"tokens": torch.full((count, 1, length), EOS), "given": given}


def draw(quantiles: Sequence[float], seed: int, positions: Sequence[int]) -> Tensor:
    """Draw lengths from their quantiles (ascending): (B,) int64, at least 1."""
    place = uniform(seed, "length", positions) * (len(quantiles) - 1)
    low = place.floor().long().clamp(max=max(0, len(quantiles) - 2))
    table = torch.tensor(quantiles, dtype=torch.float64)
    high = (low + 1).clamp(max=len(quantiles) - 1)
    return (table[low] + (place - low) * (table[high] - table[low])).round().long().clamp(min=1)


def with_holes(text: str, vocabulary: Vocabulary, count: int, item: bool) -> dict[str, Tensor]:
    """Return `tokens` and `given`, (count, 1, L), of a text whose underscores are holes; `item`: it ends with EOS.

    A hole of k characters becomes k tokens, or as many as k characters of the text around it take where tokens are
    longer. Raises UsageError, DataError.
    """
    parts = parse_holes(text)
    holes = [part for part in parts if isinstance(part, int)]
    if not holes:
        raise UsageError("--infill: the text has no holes; write _ for every character that is to be found")
    encoded = [vocabulary.encode(part).tolist() if isinstance(part, str) else [] for part in parts]
    characters = sum(len(part) for part in parts if isinstance(part, str))
    each = sum(map(len, encoded)) / characters if characters and vocabulary.kind != "char" else 1.0
    tokens: list[int] = []
    given: list[bool] = []
    for part, ids in zip(parts, encoded, strict=True):
        size = len(ids) if isinstance(part, str) else max(1, round(part * each))
        tokens += ids if isinstance(part, str) else [EOS] * size
        given += [isinstance(part, str)] * size
    if item:
        tokens, given = [*tokens, EOS], [*given, True]
    return {
        "tokens": torch.tensor(tokens).expand(count, 1, -1),
        "given": torch.tensor(given).float().expand(count, 1, -1),
    }


def with_source(
    text: str, vocabulary: Vocabulary, length: Tensor, trained: int, target: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the lengths (B,) of a source and targets of `length` (B,) after it, and `tokens` and `given`, (B, 1, L).

    `target`: tokens that must fit behind the source. Raises UsageError when it leaves no room.
    """
    source = [*vocabulary.encode(text).tolist(), SEP]
    room = trained - len(source)
    if room < 2:
        raise UsageError(f"--source has {len(source) - 1} tokens, and this run takes {trained - 3} at most")
    if target is not None and target > room:
        raise UsageError(f"--length {target - 1} does not fit behind this --source: {room - 1} tokens do")
    length = len(source) + length.clamp(max=room)
    tokens = torch.full((1, 1, int(length.max())), EOS)
    tokens[..., : len(source)] = torch.tensor(source)
    given = torch.zeros(1, 1, int(length.max()))
    given[..., : len(source)] = 1
    rows = len(length)
    return length, {"tokens": tokens.expand(rows, -1, -1), "given": given.expand(rows, -1, -1)}


def contradiction(options: SampleOptions, paired: bool) -> str:
    """Return why these options do not go together, or ""."""
    if options.infill is not None and (options.length is not None or options.source is not None):
        return "--infill says by itself how long the text is; leave --length and --source out"
    if options.source is not None and not paired:
        return "--source needs a run that was trained on two columns; this one was not"
    return ""
