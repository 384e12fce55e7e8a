"""What is in a folder of sounds, measured file by file in streams, and what to train from it."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalities.audio.data import dataset, decode, labels
from modalities.audio.data.cache import LONGEST_DEFAULT_SECONDS, USUAL_SHARE
from modalities.audio.inspect.file import TRIM_DB, Measured, copies, decibels, measure
from modalities.audio.options import Data
from toolkit.data import listing as files
from toolkit.data import store
from toolkit.data.listing import Listing
from toolkit.data.locate import Pace
from toolkit.errors import DataError
from toolkit.modality import Inspection

FEW_CLIPS = 100
"""With fewer, the smallest network is proposed."""
ALIKE_DB = 3.0
"""Loudness that spreads by less is left as it is."""
LARGE_DC = 0.01
_LAYOUTS = {1: "mono", 2: "stereo"}
_SHOWN = 3
_LABELS_SHOWN = 12


@dataclass(frozen=True)
class Survey:
    """A folder of sounds, and what to train from it."""

    path: Path
    listing: Listing
    """Its entries are the readable files."""
    measured: tuple[Measured, ...]
    rate: int
    seconds: float
    channels: int
    preset: str
    loudness: str
    labels: str
    """As the option data.labels takes it."""
    patterns: tuple[tuple[str, int], ...]
    """Patterns for file names that would give labels, and how many."""

    def changes(self) -> dict[str, Any]:
        """The proposals at dotted keys of a recipe."""
        found = {"data.rate": self.rate, "data.seconds": self.seconds, "model.preset": self.preset}
        others = {"channels": self.channels, "labels": self.labels, "loudness": self.loudness}
        defaults = {name: Data.model_fields[name].default for name in others}
        return found | {f"data.{name}": value for name, value in others.items() if value != defaults[name]}

    @property
    def command(self) -> str:
        """What to type to train from the folder."""
        data = str(self.path)
        if not self.path.is_absolute() and not data.startswith("."):
            data = f"./{data}"  # "drums" alone would be the data set of that name
        parts = ["toolkit", "train", "--modality", "audio", "--data", data]
        for key, value in self.changes().items():
            parts += [f"--{key.split('.')[1]}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(parts)

    def rows(self) -> list[tuple[str, str]]:
        """(what, how much), for a table."""
        return [*_what_there_is(self), *_what_is_wrong(self), *_what_to_do(self)]


def survey(path: Path, notify: Callable[[str], None]) -> Survey:
    """Measure every sound under `path`. Raises DataError when there is no readable one."""
    if not path.is_dir():
        raise DataError(f"no such folder: {path}")
    found = labels.scan(path, "folders")
    entries = found.entries
    if not entries and not found.rejected:
        raise DataError(f"no sound in {path}: {files.what_else(found, decode.FORMATS)}")
    measured, pace = [], Pace()
    with contextlib.closing(store.in_order(measure, entries)) as results:
        for number, (entry, result) in enumerate(results, start=1):
            if isinstance(result, str):
                found.reject(entry.name, result)
            else:
                measured.append(result)
            if pace.due():
                notify(f"measured {number:,} of {len(entries):,} sounds")
    if not measured:
        raise DataError(f"no readable sound in {path}: {len(found.rejected)} tried, e.g. {sorted(found.rejected)[0]}")
    readable = {one.name for one in measured}
    found.entries = [entry for entry in entries if entry.name in readable]
    return _propose(path, found, measured)


def inspect(path: Path, notify: Callable[[str], None]) -> Inspection:
    """Return `survey` as rows for a table, and its proposals. Raises DataError."""
    measured = survey(path, notify)
    return Inspection(measured.rows(), measured.changes())


def patterns(stems: Sequence[str]) -> list[tuple[str, int]]:
    """Patterns for file names that give labels, and how many labels.

    All names must have equally many parts between "_" or "-"; a part is a label when it takes two values or more,
    each of them in five files on average. A number at the end counts takes.
    """
    found = []
    for separator in ("_", "-"):
        table = [stem.split(separator) for stem in stems]
        width = len(table[0]) if table else 0
        if width < 2 or any(len(parts) != width or not all(parts) for parts in table):
            continue
        for column in range(width):
            values = {parts[column] for parts in table}
            counts_takes = column == width - 1 and all(value.isdecimal() for value in values)
            if 2 <= len(values) <= len(table) / 5 and not counts_takes:
                fields = [labels.LABEL if i == column else labels.IGNORED for i in range(width)]
                found.append((separator.join(fields), len(values)))
    return found


def _propose(path: Path, found: Listing, measured: Sequence[Measured]) -> Survey:
    usable = [one for one in measured if not one.silent] or measured
    lengths = [one.seconds - one.before - one.after for one in usable]
    usual = float(np.quantile(lengths, USUAL_SHARE, method="inverted_cdf"))
    seconds = min(LONGEST_DEFAULT_SECONDS, max(0.01, math.ceil(usual * 100 - 1e-6) / 100))
    clips = sum(max(1, math.ceil(2 * length / seconds) - 1) for length in lengths)
    levels = [decibels(one.power) for one in usable]
    by_name = patterns([Path(entry.name).stem for entry in found.entries])
    has_labels = bool(files.label_names(found.entries))
    return Survey(
        path,
        found,
        tuple(measured),
        dataset.default_rate(one.about for one in usable),
        seconds,
        channels=2 if sum(one.differs for one in usable) > len(usable) / 2 else 1,
        preset="tiny" if clips < FEW_CLIPS else "small",
        loudness="none" if max(levels) - min(levels) < ALIKE_DB else "peak",
        labels="folders" if has_labels or not by_name else by_name[0][0],
        patterns=tuple(by_name),
    )


def _what_there_is(of: Survey) -> list[tuple[str, str]]:
    measured = of.measured
    seconds = np.array([one.seconds for one in measured])
    levels = np.array([decibels(one.power) for one in measured if not one.silent] or [-120.0])
    before, after = (np.array([getattr(one, side) for one in measured]) for side in ("before", "after"))
    several = [one for one in measured if one.about.channels > 1]
    channels = _counts(_LAYOUTS.get(one.about.channels, f"{one.about.channels} channels") for one in measured)
    if several:
        channels += f"; {sum(one.differs for one in several):,} of {len(several):,} differ between them"
    low, median, usual, high = np.quantile(seconds, [0, 0.5, USUAL_SHARE, 1], method="inverted_cdf")
    return [
        ("sounds", f"{len(measured):,} ({_time(float(seconds.sum()))})"),
        ("formats", _counts(one.about.format for one in measured)),
        ("rates", _counts(f"{one.about.rate:,} Hz" for one in measured)),
        ("channels", channels),
        ("durations", f"{low:.2f} to {high:.2f} s, half below {median:.2f}, {USUAL_SHARE:.0%} below {usual:.2f}"),
        ("loudness", f"{levels.min():.0f} to {levels.max():.0f} dB (mean power), median {np.median(levels):.0f}"),
        (
            "silence at the ends",
            f"median {np.median(before):.2f} s before, {np.median(after):.2f} s after; at most "
            f"{before.max():.2f} and {after.max():.2f} ({TRIM_DB:.0f} dB below the peak)",
        ),
        ("labels", _labels(of)),
    ]


def _what_is_wrong(of: Survey) -> list[tuple[str, str]]:
    groups = copies(of.measured)
    first = [" = ".join(names) for names in groups]
    found = [
        ("silent", [one.name for one in of.measured if one.silent]),
        ("clipped", [one.name for one in of.measured if one.clipped]),
        ("off centre (DC)", [f"{one.name} ({one.dc:+.2f})" for one in of.measured if abs(one.dc) >= LARGE_DC]),
        ("copies", first),
        ("unreadable", sorted(of.listing.rejected)),
    ]
    rows = [(what, f"{len(names):,}: {_few(names)}") for what, names in found if names]
    return rows + [("note", note) for note in of.listing.notes]


def _what_to_do(of: Survey) -> list[tuple[str, str]]:
    longer = sum(one.seconds > of.seconds for one in of.measured if not one.silent)
    by_name = [f"{pattern} ({count:,} labels)" for pattern, count in of.patterns]
    if of.labels != "folders":
        labels = " or ".join(by_name)
    elif files.label_names(of.listing.entries):
        labels = " or ".join(["folders", *by_name])
    else:
        labels = "none: neither folders nor file names tell sounds apart"
    return [
        ("proposed rate", f"{of.rate:,} Hz"),
        ("proposed seconds", f"{of.seconds:g}" + (f"; {longer:,} longer files become several clips" if longer else "")),
        ("proposed labels", labels),
        ("proposed loudness", of.loudness),
        ("proposed preset", of.preset),
        ("to train", of.command),
    ]


def _labels(of: Survey) -> str:
    names = files.label_names(of.listing.entries)
    if not names:
        return "none by folders"
    counts = Counter(entry.label for entry in of.listing.entries)
    shown = ", ".join(f"{files.printable(name)} {counts[name]:,}" for name in names[:_LABELS_SHOWN])
    return shown + (f", ... {len(names) - _LABELS_SHOWN} more" if len(names) > _LABELS_SHOWN else "")


def _counts(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return f"{counts[0][0]}"
    return ", ".join(f"{value} ({count:,})" for value, count in counts)


def _few(names: Sequence[str]) -> str:
    shown = "; ".join(files.printable(name) for name in names[:_SHOWN])
    return shown + (" ..." if len(names) > _SHOWN else "")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
