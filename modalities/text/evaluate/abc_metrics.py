"""Metrics of tunes in ABC notation (standard 2.1), read by music21: tunes that parse, and bars that add up."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from modalities.text.evaluate.words import Row, average, like
from toolkit.imports import require


class TuneCounts(NamedTuple):
    """Counts of one text as a tune."""

    parses: bool
    """True where it can be read, has notes, and gives its metre."""
    right: int
    """Bars between the first and the last whose notes add up to the metre."""
    bars: int
    """Bars between the first and the last, which may be incomplete by right."""


def check(text: str) -> TuneCounts:
    """Check a text in ABC notation. Raises ToolkitError when music21 is missing."""
    abc = require("music21.abcFormat")
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            bars = list(_bars(abc, abc.ABCFile().readstr(text)))
    except Exception:  # the parser raises whatever the text makes it stumble over
        return TuneCounts(False, 0, 0)
    inner = [(length, metre) for length, metre in bars[1:-1] if metre is not None]
    metred = any(metre is not None for _, metre in bars)
    return TuneCounts(metred, sum(abs(length - metre) < 1e-6 for length, metre in inner), len(inner))


def describe(samples: Sequence[str], held_out: Sequence[str]) -> list[Row]:
    """Return the share of samples that parse, and of their inner bars that add up, beside as many held-out tunes.

    Bars of tunes that do not parse are not counted. Raises ToolkitError when music21 is missing.
    """
    tunes, real = ([check(text) for text in texts] for texts in (samples, like(samples, held_out)))
    return [
        _row("tunes that parse", [(one.parses, 1) for one in tunes], [(one.parses, 1) for one in real]),
        _row("bars that add up", [(one.right, one.bars) for one in tunes], [(one.right, one.bars) for one in real]),
    ]


def _bars(abc: Any, handler: Any) -> Iterator[tuple[float, float | None]]:
    """Yield (length, length by the metre in force) of every bar with notes or rests, in quarter notes.

    The tokens are read, not the score that music21 makes, which divides bars that are too long.
    """
    metre: float | None = None
    for bar in handler.splitByMeasure():
        lengths = []
        for token in bar.tokens:
            if isinstance(token, abc.ABCMetadata) and token.isMeter():
                signature = token.getTimeSignatureObject()
                metre = float(signature.barDuration.quarterLength) if signature is not None else None
            elif isinstance(token, abc.ABCNote) and not token.inGrace:
                lengths.append(float(token.quarterLength))
        if lengths:
            yield sum(lengths), metre


def _row(name: str, counts: Sequence[tuple[int, int]], real: Sequence[tuple[int, int]]) -> Row:
    """Return the share that is right, from (right, all) of each text."""
    right, whole = np.array(counts).T
    total = sum(count for _, count in real)
    return average(name, right, whole, sum(count for count, _ in real) / total if total else float("nan")).share()
