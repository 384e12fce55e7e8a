"""What is asked of a sample, as the shape and the conditions of what is to be sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from modalities.text.data.tokens import EOS, SEP, Vocabulary
from modalities.text.infill import parse_holes
from modalities.text.options import Ask
from toolkit.diffusion.randomness import uniform
from toolkit.errors import UsageError
from toolkit.modality import Request


def conditions(tokens: Tensor, length: Tensor, given: Tensor | None) -> dict[str, Tensor]:
    """mask where a row (B, L) is longer than its text, and given where some of it is told; (B, 1, L) float each."""
    cond = {}
    if int(length.min()) < tokens.shape[-1]:
        cond["mask"] = (torch.arange(tokens.shape[-1]) < length[:, None]).float()[:, None]
    if given is not None and bool(given.any()):
        cond["given"] = given.float()[:, None]
    return cond


def of_length(
    length: Tensor, trained: int, temperature: float, given: Mapping[str, Tensor] | None = None
) -> list[Request]:
    """Texts of length (B,) tokens, those of equal length together; by windows where longer than in training.

    `given`: conditions with a row for each text.
    """
    made = []
    for size in length.unique().tolist():
        which = (length == size).nonzero()[:, 0]
        cond = {name: value[which, ..., :size] for name, value in (given or {}).items()}
        if temperature != 1:
            cond["temperature"] = torch.full((len(which),), temperature)
        made.append(Request(tuple(which.tolist()), (size,), cond, trained if size > trained else None))
    return made


def draw(quantiles: Sequence[float], seed: int, positions: Sequence[int]) -> Tensor:
    """Lengths drawn from their quantiles (from least to most): (B,) int64."""
    place = uniform(seed, "length", positions) * (len(quantiles) - 1)
    low = place.floor().long().clamp(max=max(0, len(quantiles) - 2))
    table = torch.tensor(quantiles, dtype=torch.float64)
    high = (low + 1).clamp(max=len(quantiles) - 1)
    return (table[low] + (place - low) * (table[high] - table[low])).round().long().clamp(min=1)


def with_holes(text: str, vocabulary: Vocabulary, count: int, item: bool) -> dict[str, Tensor]:
    """tokens and given, (count, 1, L), of a text whose underscores are holes; `item`: it ends with EOS.

    A hole of k characters becomes k tokens, or as many as k characters of the text around it take where tokens are
    longer. Raises UsageError, DataError.
    """
    parts = parse_holes(text)
    holes = [part for part in parts if isinstance(part, int)]
    if not holes:
        raise UsageError("--infill: the text has no holes; write _ for every character that is to be found")
    known = [vocabulary.encode(part).tolist() if isinstance(part, str) else [] for part in parts]
    characters = sum(len(part) for part in parts if isinstance(part, str))
    each = sum(map(len, known)) / characters if characters and vocabulary.kind != "char" else 1.0
    tokens: list[int] = []
    given: list[bool] = []
    for part, ids in zip(parts, known, strict=True):
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
    text: str, vocabulary: Vocabulary, length: Tensor, trained: int, asked: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The lengths (B,) of a source with targets of `length` (B,) after it, and tokens and given, (B, 1, L).

    Raises UsageError when the source leaves no room.
    """
    source = [*vocabulary.encode(text).tolist(), SEP]
    room = trained - len(source)
    if room < 2:
        raise UsageError(f"--source has {len(source) - 1} tokens, and this run takes {trained - 3} at most")
    if asked is not None and asked > room:
        raise UsageError(f"--length {asked - 1} does not fit behind this --source: {room - 1} tokens do")
    length = len(source) + length.clamp(max=room)
    tokens = torch.full((1, 1, int(length.max())), EOS)
    tokens[..., : len(source)] = torch.tensor(source)
    given = torch.zeros(1, 1, int(length.max()))
    given[..., : len(source)] = 1
    rows = len(length)
    return length, {"tokens": tokens.expand(rows, -1, -1), "given": given.expand(rows, -1, -1)}


def contradiction(ask: Ask, paired: bool) -> str:
    """Why these options do not go together, or ""."""
    if ask.infill is not None and (ask.length is not None or ask.source is not None):
        return "--infill says by itself how long the text is; leave --length and --source out"
    if ask.source is not None and not paired:
        return "--source needs a run that was trained on two columns; this one was not"
    return ""
