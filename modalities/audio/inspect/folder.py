"""Survey of a folder of sounds, file by file in streams, and a proposal for training."""

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
"""Number of clips below which the smallest network is proposed."""
ALIKE_DB = 3.0
"""Range of loudness below which it is left as it is, in dB."""
LARGE_DC = 0.01
_LAYOUTS = {1: "mono", 2: "stereo"}
_SHOWN = 3
_LABELS_SHOWN = 12


@dataclass(frozen=True)
class Survey:
    """A folder of sounds, and options proposed for training."""

    path: Path
    listing: Listing
    """Readable files as entries, the others as rejected."""
    measured: tuple[Measured, ...]
    rate: int
    seconds: float
    channels: int
    preset: str
    loudness: str
    labels: str
    """Value of the option data.labels."""
    patterns: tuple[tuple[str, int], ...]
    """Patterns for file names that would give labels, and the number of labels."""

    def changes(self) -> dict[str, Any]:
        """Return the proposals at dotted keys of a recipe."""
        always = {"data.rate": self.rate, "data.seconds": self.seconds, "model.preset": self.preset}
        others = {"channels": self.channels, "labels": self.labels, "loudness": self.loudness}
        defaults = {name: Data.model_fields[name].default for name in others}
        return always | {f"data.{name}": value for name, value in others.items() if value != defaults[name]}

    @property
    def command(self) -> str:
        """Command that trains from the folder."""
        data = str(self.path)
        if not self.path.is_absolute() and not data.startswith("."):
            data = f"./{data}"  # "drums" alone would be the data set of that name
        parts = ["toolkit", "train", "--modality", "audio", "--data", data]
        for key, value in self.changes().items():
            parts += [f"--{key.split('.')[1]}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(parts)

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value) rows for a table."""
        return [*_contents(self), *_problems(self), *_proposals(self)]


def survey(path: Path, notify: Callable[[str], None]) -> Survey:
    """Measure every sound under `path`. Raises DataError when there is no readable one."""
    if not path.is_dir():
        raise DataError(f"no such folder: {path}")
    listing = labels.scan(path, "folders")
    entries = listing.entries
    if not entries and not listing.rejected:
        raise DataError(f"no sound in {path}: {files.what_else(listing, decode.FORMATS)}")
    sounds, pace = [], Pace()
    with contextlib.closing(store.in_order(measure, entries)) as results:
        for number, (entry, result) in enumerate(results, start=1):
            if isinstance(result, str):
                listing.reject(entry.name, result)
            else:
                sounds.append(result)
            if pace.due():
                notify(f"measured {number:,} of {len(entries):,} sounds")
    if not sounds:
        count, first = len(listing.rejected), sorted(listing.rejected)[0]
        raise DataError(f"no readable sound in {path}: {count} tried, e.g. {first}")
    readable = {sound.name for sound in sounds}
    listing.entries = [entry for entry in entries if entry.name in readable]
    return _propose(path, listing, sounds)


def inspect(path: Path, notify: Callable[[str], None]) -> Inspection:
    """Return `survey` as rows for a table, and its proposals. Raises DataError."""
    result = survey(path, notify)
    return Inspection(result.rows(), result.changes())


def patterns(stems: Sequence[str]) -> list[tuple[str, int]]:
    """Return patterns for file names that give labels, and the number of labels of each.

    All names must have equally many parts between "_" or "-"; a part is a label when it takes two values or more,
    each of them in five files on average. A number at the end counts takes.
    """
    matches = []
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
                matches.append((separator.join(fields), len(values)))
    return matches


def _propose(path: Path, listing: Listing, sounds: Sequence[Measured]) -> Survey:
    usable = [sound for sound in sounds if not sound.silent] or sounds
    lengths = [sound.seconds - sound.before - sound.after for sound in usable]
    usual = float(np.quantile(lengths, USUAL_SHARE, method="inverted_cdf"))
    seconds = min(LONGEST_DEFAULT_SECONDS, max(0.01, math.ceil(usual * 100 - 1e-6) / 100))
    clips = sum(max(1, math.ceil(2 * length / seconds) - 1) for length in lengths)
    levels = [decibels(sound.power) for sound in usable]
    by_name = patterns([Path(entry.name).stem for entry in listing.entries])
    has_labels = bool(files.label_names(listing.entries))
    return Survey(
        path,
        listing,
        tuple(sounds),
        dataset.default_rate(sound.about for sound in usable),
        seconds,
        channels=2 if sum(sound.differs for sound in usable) > len(usable) / 2 else 1,
        preset="tiny" if clips < FEW_CLIPS else "small",
        loudness="none" if max(levels) - min(levels) < ALIKE_DB else "peak",
        labels="folders" if has_labels or not by_name else by_name[0][0],
        patterns=tuple(by_name),
    )


def _contents(of: Survey) -> list[tuple[str, str]]:
    sounds = of.measured
    seconds = np.array([sound.seconds for sound in sounds])
    levels = np.array([decibels(sound.power) for sound in sounds if not sound.silent] or [-120.0])
    before, after = (np.array([getattr(sound, side) for sound in sounds]) for side in ("before", "after"))
    several = [sound for sound in sounds if sound.about.channels > 1]
    channels = _counts(_LAYOUTS.get(sound.about.channels, f"{sound.about.channels} channels") for sound in sounds)
    if several:
        channels += f"; {sum(sound.differs for sound in several):,} of {len(several):,} differ between them"
    low, median, usual, high = np.quantile(seconds, [0, 0.5, USUAL_SHARE, 1], method="inverted_cdf")
    return [
        ("sounds", f"{len(sounds):,} ({_time(float(seconds.sum()))})"),
        ("formats", _counts(sound.about.format for sound in sounds)),
        ("rates", _counts(f"{sound.about.rate:,} Hz" for sound in sounds)),
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


def _problems(of: Survey) -> list[tuple[str, str]]:
    sounds = of.measured
    problems = [
        ("silent", [sound.name for sound in sounds if sound.silent]),
        ("clipped", [sound.name for sound in sounds if sound.clipped]),
        ("off centre (DC)", [f"{sound.name} ({sound.dc:+.2f})" for sound in sounds if abs(sound.dc) >= LARGE_DC]),
        ("copies", [" = ".join(names) for names in copies(sounds)]),
        ("unreadable", sorted(of.listing.rejected)),
    ]
    rows = [(problem, f"{len(names):,}: {_few(names)}") for problem, names in problems if names]
    return rows + [("note", note) for note in of.listing.notes]


def _proposals(of: Survey) -> list[tuple[str, str]]:
    longer = sum(sound.seconds > of.seconds for sound in of.measured if not sound.silent)
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
    text = ", ".join(f"{files.printable(name)} {counts[name]:,}" for name in names[:_LABELS_SHOWN])
    return text + (f", ... {len(names) - _LABELS_SHOWN} more" if len(names) > _LABELS_SHOWN else "")


def _counts(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return f"{counts[0][0]}"
    return ", ".join(f"{value} ({count:,})" for value, count in counts)


def _few(names: Sequence[str]) -> str:
    text = "; ".join(files.printable(name) for name in names[:_SHOWN])
    return text + (" ..." if len(names) > _SHOWN else "")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
