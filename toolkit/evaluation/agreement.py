"""Agreement: the share of samples that show the label they were sampled for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toolkit.evaluation.metrics.interval import wilson


def agreement(targets: Sequence[str], predictions: Sequence[str], part: int | None = None) -> Tensor:
    """Return whether each predicted label is its target: (n,) bool.

    `part`: compare only this part of labels that hyphens divide, 0 for the digit of "3-theo".
    Raises ValueError when there are not as many of both, or a label has no such part.
    """
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} asked and {len(predictions)} seen labels")
    if part is not None:
        short = next((label for label in (*targets, *predictions) if label.count("-") < part), None)
        if short is not None:
            raise ValueError(f"label '{short}' has no part {part}")
        targets, predictions = ([label.split("-")[part] for label in labels] for labels in (targets, predictions))
    return torch.tensor([a == b for a, b in zip(targets, predictions)], dtype=torch.bool)


def parts(labels: Sequence[str]) -> int:
    """Return how many parts hyphens divide each label into; 1 when that differs, as in kick, snare, hi-hat."""
    counts = {label.count("-") + 1 for label in labels}
    return counts.pop() if len(counts) == 1 else 1


def share(right: Tensor) -> str:
    """Return a share with its 95 % interval as text, of right (n,) bool: "97.0 % (91.5 to 99.0)"."""
    count, n = int(right.sum()), len(right)
    low, high = wilson(count, n)
    return f"{count / n:.1%} ({100 * low:.1f} to {100 * high:.1f})".replace("%", " %")
