"""The data of a run: the block about it, whether it is still that of before, and whether there is enough of it."""

from __future__ import annotations

from pathlib import Path

from toolkit.data.dataset import Facts
from toolkit.data.understood import Row, Understood
from toolkit.errors import UsageError

FEW = 50
"""Examples below which a network learns them by heart."""
MANY_PASSES = 500
"""Passes over the data from which on samples are likely to be copies."""
_ENOUGH_PASSES = 200


def with_passes(understood: Understood, count: int, examples: int, minutes: float | None) -> Understood:
    """Return the block with a row about how often each example is seen in the training that is planned."""
    passes = examples / max(1, count)
    value = f"{passes:,.{0 if passes >= 10 else 1}f} over {count:,} examples"
    change, warning = "", False
    if count < FEW or passes > MANY_PASSES:
        warning = True
        value += "; too little data for so long a training: samples will be copies of it. Add data or augmentation"
        if passes > MANY_PASSES:
            change = f"--minutes {max(0.1, minutes * _ENOUGH_PASSES / passes):.2g}" if minutes else "--steps N"
    row = Row(name="passes", value=value, data={"passes": passes, "examples": count}, change=change, warning=warning)
    return understood.model_copy(update={"rows": (*understood.rows, row)})


def check_same(before: Facts, now: Facts, out: Path, follow: bool) -> Facts:
    """Return the facts of a run that goes on: those of before, or, on request, with the changed data's own counts.

    The encoding stays as it was, so that the weights still fit. Raises UsageError for data that has changed, unless
    `follow`, and for data that the network does not fit.
    """
    changed = changes(before, now)
    if not changed:
        return now
    if fixed := differing(before, now):
        raise UsageError(f"{out} was trained on other data (differs in {', '.join(fixed)}); choose another --out")
    if not follow:
        raise UsageError(
            f"the data changed since {out} was trained on it ({', '.join(changed)}); go on with it as it is now by "
            "--follow-data, restore it, or choose another --out"
        )
    kept = {name: getattr(before, name) for name in ("mean", "std", "bounds", "spread")}
    return now.model_copy(update=kept)


def differing(before: Facts, now: Facts) -> list[str]:
    """Return what the network depends on, and which differs: shape, labels, and properties that are no statistics."""
    names = [name for name in ("shape", "labels") if getattr(before, name) != getattr(now, name)]
    for name, value in now.extra.items():
        statistic = name == "test" or isinstance(value, tuple)
        if name in before.extra and not statistic and before.extra[name] != value:  # versions add properties
            names.append(name)
    return names


def changes(before: Facts, now: Facts) -> list[str]:
    """Return what differs; nothing where the content is the same, or was for a version that knew no identity."""
    if before.identity and now.identity:
        if before.identity == now.identity:
            return []
    elif all(getattr(before, name) == getattr(now, name) for name in ("shape", "labels", "count", "mean", "std")):
        return []
    changed = [name for name in ("shape", "labels") if getattr(before, name) != getattr(now, name)]
    if before.count != now.count:
        changed.append(f"{before.count:,} training examples before, {now.count:,} now")
    return changed or ["the content, labels or order of the examples"]
