"""Agreement: the share of samples that show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toolkit.evaluation.metrics.interval import wilson


def agreement(asked: Sequence[str], seen: Sequence[str], part: int | None = None) -> Tensor:
    """Whether the seen label is the asked one: (n,) bool.

    `part`: compare only this part of labels that hyphens divide, 0 for the digit of "3-theo".
    Raises ValueError when there are not as many of both, or a label has no such part.
    """
    if len(asked) != len(seen):
        raise ValueError(f"{len(asked)} asked and {len(seen)} seen labels")
    if part is not None:
        short = next((label for label in (*asked, *seen) if label.count("-") < part), None)
        if short is not None:
            raise ValueError(f"label '{short}' has no part {part}")
        asked, seen = ([label.split("-")[part] for label in labels] for labels in (asked, seen))
    return torch.tensor([a == s for a, s in zip(asked, seen)], dtype=torch.bool)


def parts(labels: Sequence[str]) -> int:
    """Into how many parts hyphens divide every one of the labels; 1 when that differs, as in kick, snare, hi-hat."""
    counts = {label.count("-") + 1 for label in labels}
    return counts.pop() if len(counts) == 1 else 1


def share(right: Tensor) -> str:
    """A share with its 95 % interval, of right (n,) bool: "97.0 % (91.5 to 99.0)"."""
    count, n = int(right.sum()), len(right)
    low, high = wilson(count, n)
    return f"{count / n:.1%} ({100 * low:.1f} to {100 * high:.1f})".replace("%", " %")
