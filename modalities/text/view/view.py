"""Views of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import PIL.Image
from torch import Tensor

from modalities.text.codec import Codec
from modalities.text.view import picture
from toolkit.data.dataset import Examples, Facts
from toolkit.view import Shown, View


class TextView(View):
    """Lines, a page, and a strip of texts on their way from noise."""

    counts = (8, 24)

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @cached_property
    def codec(self) -> Codec:
        return Codec.of(self.facts)

    def lines(self, raw: Tensor, labels: Sequence[str] = ()) -> list[str]:
        return picture.lines(self.codec.texts(raw), labels)

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """Return a picture of the first two texts of moments (T, B, L), the likeliest tokens of each."""
        return picture.strip([self.codec.texts(moment) for moment in moments])

    def page(self, raw: Tensor, labels: Sequence[str], real: Examples | None = None) -> str:
        """Return a page of texts, with real ones below."""
        texts = self.codec.texts(raw)
        if real is None:
            return picture.page(texts, labels)
        names = [self.facts.labels[i] for i in real.cond["label"].tolist()] if "label" in real.cond else []
        return picture.page(texts, labels, self.codec.texts(real.raw[:, : self.facts.shape[-1]]), names)

    def shown(self, raw: Tensor) -> list[Shown]:
        """Return each of raw texts (B, L)."""
        return [Shown(text=text) for text in self.codec.texts(raw[:, : self.facts.shape[-1]])]

    def rate(self, raw: Tensor, seconds: float) -> str:
        count = int(self.codec.characters(raw).sum())
        return f"{count:,} characters, {count / max(seconds, 1e-9):,.0f} a second"
