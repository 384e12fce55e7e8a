"""Metrics of tables of pairs: targets that match a reference, and values of the source that they repeat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from modalities.text.evaluate.ngram import Ints
from modalities.text.evaluate.words import Row, average

_NAN = float("nan")
_SLOT = re.compile(r"[\w ]+\[([^\[\]]+)\]")
_SAID_OTHERWISE = {"yes", "no"}
"""Values that no sentence repeats: familyFriendly[no] is "not for families"."""


def slots(source: str) -> list[str]:
    """Return the values of a meaning representation, `name[Alimentum], area[city centre]`, that a text can repeat."""
    values = [value.strip() for value in _SLOT.findall(source)]
    return [value for value in values if value and value.casefold() not in _SAID_OTHERWISE]


def describe(sources: Sequence[str], targets: Sequence[str], references: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return metrics of targets beside what people wrote for the same sources, which `references` holds.

    sources, targets: n texts each, in one order; references: any number of texts for each source.
    "exact": the share that is word for word a reference of its source; people: one of their texts against the others.
    "slots told": the share of the values in key[value] that are repeated as they are, whatever the case of letters: the
    slot error rate counts those that are missing (Wen et al. 2015). None where no source has slots.
    """
    rows: list[Row] = []
    pairs = [(source, text) for source, text in zip(sources, targets, strict=True) if source in references]
    if pairs:
        same = [text in references[source] for source, text in pairs]
        human = [
            text in (*texts[:i], *texts[i + 1 :])
            for texts in (references[source] for source in dict.fromkeys(source for source, _ in pairs))
            if len(texts) > 1
            for i, text in enumerate(texts)
        ]
        people_same = sum(human) / len(human) if human else _NAN
        rows.append(average("exact", np.array(same), np.ones(len(same)), people_same).share())
    if any(slots(source) for source in sources):
        own = _count_repeats(list(zip(sources, targets, strict=True)))
        people = [(source, text) for source in dict.fromkeys(sources) for text in references.get(source, ())]
        right, whole = _count_repeats(people)
        rows.append(average("slots told", *own, right.sum() / whole.sum() if whole.sum() else _NAN).share())
    return rows


def _count_repeats(pairs: Sequence[tuple[str, str]]) -> tuple[Ints, Ints]:
    """Count the values of each source that its text repeats, and all of them: (n,) twice."""
    values = [[value.casefold() for value in slots(source)] for source, _ in pairs]
    repeated = [sum(value in text.casefold() for value in own) for own, (_, text) in zip(values, pairs, strict=True)]
    return np.array(repeated, np.int64), np.array([len(own) for own in values], np.int64)
