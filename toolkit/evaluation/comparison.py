"""The outcome of comparing two networks on the same examples and noise: a sentence, a table, JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from toolkit.training.difference import Difference

FORMAT = 1


class Bin(NamedTuple):
    """One range of noise."""

    low: float
    """sigma / alpha."""
    high: float
    a: float
    """Mean loss of the first network, not weighted."""
    b: float
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same examples and noise."""

    names: tuple[str, str]
    what: str
    """Meaning of the losses in `bins`."""
    weighted: str
    """Meaning of the loss in `overall`."""
    a: float
    """The first network's loss, as the first run's training weighs it."""
    b: float
    overall: Difference
    """b - a."""
    bins: tuple[Bin, ...]
    available: int
    """Held-out examples there are."""

    @property
    def better(self) -> int | None:
        """0 or 1, or None when these examples cannot tell."""
        return int(self.overall.mean < 0) if self.overall.significant else None

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        d, n = self.overall, self.overall.n
        if d.mean == 0 and d.error == 0:
            return f"no difference: equal on all {n:,} examples, bit for bit"
        if self.better is not None:
            low, high = sorted(abs(end / d.scale) for end in (d.low, d.high))
            size = f"{abs(d.share):.2%} {{}} (95 % interval {low:.2%} to {high:.2%})"
            if self.better:
                return f"{self.names[1]} is better: its loss is {size.format(f'lower than that of {self.names[0]}')}"
            return f"{self.names[0]} is better: the loss of {self.names[1]} is {size.format('higher')}"
        needed = d.examples_needed()
        more = "" if needed is None else f"; to show one of this size, n would have to be about {_round(needed):,}"
        rest = f", and there are {self.available:,}" if needed is not None and needed > self.available else ""
        return f"no difference that {n:,} examples can show: {d.share:+.2%} +- {d.share_reach:.2%}{more}{rest}"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """(noise, first, second, difference, 95 % interval) of all levels together, as training weighs them, and of
        each."""
        rows = [("all, weighted", self.a, self.b, self.overall)]
        rows += [(f"{bin.low:.3g} to {bin.high:.3g}", bin.a, bin.b, bin.difference) for bin in self.bins]
        return [
            (name, f"{a:.5g}", f"{b:.5g}", f"{d.share:+.2%}", f"{d.low / d.scale:+.2%} to {d.high / d.scale:+.2%}")
            for name, a, b, d in rows
        ]

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of `toolkit compare --json`."""

        def pair(d: Difference) -> dict[str, float | int | None]:
            ends = [value if math.isfinite(value) else None for value in (d.error, d.low, d.high)]
            return {"difference": d.mean, "error": ends[0], "low": ends[1], "high": ends[2], "n": d.n}

        bins = [{"noise": [bin.low, bin.high], "a": bin.a, "b": bin.b, **pair(bin.difference)} for bin in self.bins]
        return {
            "format": FORMAT, "a": self.names[0], "b": self.names[1], "loss": self.weighted, "loss_a": self.a,
            "loss_b": self.b, **pair(self.overall), "better": None if self.better is None else "ab"[self.better],
            "sentence": self.sentence, "levels": {"loss": self.what, "bins": bins}, "held_out": self.available,
        }  # fmt: skip


def _round(value: int) -> int:
    """Round to two digits."""
    return round(value, -max(0, len(str(value)) - 2))
