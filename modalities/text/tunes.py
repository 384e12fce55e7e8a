"""Is a text a tune? What music21 makes of ABC notation: can it be read, and do its bars have the metre's length."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from modalities.text.measure import Row, averaged, like
from toolkit.errors import ToolkitError
from toolkit.imports import require


class Checked(NamedTuple):
    """One text as a tune."""

    parses: bool
    """It can be read, has notes, and says its metre."""
    right: int
    """Bars between the first and the last whose notes add up to the metre."""
    bars: int
    """Bars between the first and the last, which may be incomplete by right."""


def check(text: str) -> Checked:
    """A text in ABC notation. Raises ToolkitError when music21 is missing."""
    abc = require("music21.abcFormat")
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            bars = list(_bars(abc, abc.ABCFile().readstr(text)))
    except Exception:  # the parser raises whatever the text makes it stumble over
        return Checked(False, 0, 0)
    inner = [(length, metre) for length, metre in bars[1:-1] if metre is not None]
    metred = any(metre is not None for _, metre in bars)
    return Checked(metred, sum(abs(length - metre) < 1e-6 for length, metre in inner), len(inner))


def describe(samples: Sequence[str], held_out: Sequence[str]) -> list[Row]:
    """The share of samples that parse, and of their inner bars that add up, beside as many held-out tunes.

    Bars of tunes that do not parse are not counted. None where music21 is missing.
    """
    try:
        made, real = ([check(text) for text in texts] for texts in (samples, like(samples, held_out)))
    except ToolkitError:
        nothing = float("nan")
        return [Row(name, nothing, nothing, nothing, nothing) for name in ("tunes that parse", "bars that add up")]
    return [
        averaged("tunes that parse", *_columns(made, "parses"), _share(real, "parses")),
        averaged("bars that add up", *_columns(made, "right"), _share(real, "right")),
    ]


def _bars(abc: Any, handler: Any) -> Iterator[tuple[float, float | None]]:
    """(length, length by the metre in force) of every bar with notes or rests, in quarter notes.

    Not of the score that music21 makes, which divides bars that are too long.
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


def _columns(checked: Sequence[Checked], what: str) -> tuple[Any, Any]:
    """Counts of what is right, and of what there is, (n,) each."""
    if what == "parses":
        return np.array([one.parses for one in checked], dtype=np.int64), np.ones(len(checked), dtype=np.int64)
    return np.array([one.right for one in checked]), np.array([one.bars for one in checked])


def _share(checked: Sequence[Checked], what: str) -> float:
    top, bottom = _columns(checked, what)
    return float(top.sum() / bottom.sum()) if bottom.sum() else float("nan")
