"""Strips, pages and the speed of sounds."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
from torch import Tensor

from modalities.audio.codec import ends, rate_of
from modalities.audio.view import page, picture
from toolkit.data.dataset import Examples, Facts
from toolkit.view import Shown, View


class AudioView(View):
    """Spectrograms from noise to sound, a page with players, and the real-time factor."""

    counts = (24, 48)

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @property
    def sample_rate(self) -> int:
        return rate_of(self.facts)

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """Return a row of mel spectrograms for each clip of moments (T, B, C, L), from noise to sound."""
        return picture.strip(moments, self.sample_rate)

    def page(self, raw: Tensor, labels: Sequence[str], real: Examples | None = None) -> str:
        """Return a page that plays every clip, with real ones of the same label beside them."""
        return page.page(raw, labels, self.sample_rate, real, self.facts.labels)

    def shown(self, raw: Tensor) -> list[Shown]:
        """Return each of raw sounds (B, C, L) with its waveform and spectrogram, all of one scale of time."""
        return page.shown(raw, self.sample_rate)

    def rate(self, raw: Tensor, seconds: float) -> str:
        """Return the real-time factor: seconds of sound for each second of computing."""
        duration = float(ends(raw).sum()) / self.sample_rate
        return f"{duration:.1f} s of sound in {seconds:.1f} s: {duration / max(seconds, 1e-9):.1f} times real time"
