"""Conversion of rows of tokens into texts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from modalities.text.data.tokens import EOS, SEP, Vocabulary
from toolkit.data.dataset import Facts

LONGEST = 4096
"""Tokens of an example."""


class Codec(NamedTuple):
    """Decoder of rows of tokens (B, L)."""

    vocabulary: Vocabulary
    items: bool
    """True where examples are whole items that end with EOS, not crops of running text."""
    paired: bool
    """True where an item is a source, SEP and the target to be written."""

    @classmethod
    def of(cls, facts: Facts) -> Codec:
        extra = facts.extra
        return cls(Vocabulary.from_text(str(extra["vocabulary"])), bool(extra["items"]), bool(extra["paired"]))

    def texts(self, raw: Tensor) -> list[str]:
        """Return the text of each row of tokens (B, L), up to the end of an item; of a pair, the target."""
        texts = []
        for row in raw.tolist():
            start = row.index(SEP) + 1 if self.paired and SEP in row else 0
            stop = row.index(EOS, start) if self.items and EOS in row[start:] else len(row)
            texts.append(self.vocabulary.decode(row[start:stop]))
        return texts

    def sources(self, raw: Tensor) -> list[str]:
        """Return the source of each pair (B, L)."""
        return [self.vocabulary.decode(row[: row.index(SEP)] if SEP in row else []) for row in raw.tolist()]

    def characters(self, raw: Tensor) -> Tensor:
        """Return the number of characters of each token (B, L)."""
        return torch.from_numpy(self.vocabulary.characters(raw.numpy()))


def lengths(facts: Facts) -> tuple[float, ...]:
    """Return the quantiles of the lengths of training items; () for running text."""
    quantiles = facts.extra["lengths"]
    assert isinstance(quantiles, tuple)
    return quantiles


def wrong(facts: Facts) -> str:
    """Return why no texts have such facts, or "". Raises DataError for a vocabulary that cannot be read."""
    shape, extra = facts.shape, facts.extra
    if len(shape) != 1 or shape[0] > LONGEST:
        return f"shape {list(shape)} is no length of up to {LONGEST:,} tokens"
    for name, kind in (("vocabulary", str), ("items", bool), ("paired", bool), ("lengths", tuple)):
        if not isinstance(extra.get(name), kind):
            return f"extra.{name} is missing, or of another kind"
    if extra.get("form", "") not in ("", "nfc", "nfd"):
        return "extra.form is neither nfc nor nfd"
    Vocabulary.from_text(str(extra["vocabulary"]))
    quantiles = lengths(facts)
    if bool(extra["items"]) != bool(quantiles) or not all(0 <= size <= shape[0] + 1 for size in quantiles):
        return f"extra.lengths must be lengths of items, up to {shape[0]:,} tokens"
    return ""
