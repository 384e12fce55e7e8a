"""Account of a folder of sounds: rows for people and programs, and values of options that fit."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from modalities.audio.data.container.sniff import FORMATS
from modalities.audio.data.loudness import LEVELS
from modalities.audio.data.measure import Measured, decibels
from modalities.audio.options import Data
from toolkit.console import duration
from toolkit.data import labels, understood
from toolkit.data.listing import Entry, Listing, label_names
from toolkit.data.understood import Row, Understood, counts_text, few

FEW_CLIPS = 100
"""Number of clips below which the smallest network is proposed."""
ALIKE_DB = 3.0
"""Range of loudness below which it is left as it is, in dB."""
RAISED_DB = 40.0
"""Gain from which on hiss is likely raised too."""
HIGHEST_NEEDED = 48_000
"""Rate in Hz beyond which there is nothing to hear."""
SHORT_SECONDS = 0.02
"""Length below which a sound is a click."""
USUAL_SHARE = 0.95
LONGEST_DEFAULT_SECONDS = 1.0
_LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class SoundSet:
    """Usable files of a source, and the examples made of them."""

    listing: Listing
    entries: Sequence[Entry]
    sounds: Sequence[Measured]
    """One for each entry."""
    test: np.ndarray
    """(N,) bool: entries that are held out."""
    options: Data
    rate: int
    seconds: float
    """Longest example."""
    first: np.ndarray
    """(N,) bool: entries of which only the beginning is used."""
    clips: np.ndarray
    """(N,) int64: clips of each entry, silent ones left aside."""
    silent: int
    """Clips that are silent."""


def block(read: SoundSet) -> Understood:
    """Return the rows about the sounds and the proposals."""
    rows = [
        understood.files([entry.name for entry in read.entries], read.listing.ignored, FORMATS),
        *labels.rows(read.listing, read.entries, read.test),
        _formats(read),
        _rates(read),
        _channels(read),
        *_lengths(read),
        _silence_row(read),
        *_silent(read),
        _loudness(read),
        *_offset(read),
        *understood.problem("clipped", [sound.name for sound in read.sounds if sound.clipped]),
        *_copies(read),
        *_fault_rows(read),
        *understood.unusable_rows(read.listing.rejected),
        *understood.notes(read.listing.notes),
    ]
    return Understood(rows=tuple(rows), proposals=_proposals(read))


def _formats(read: SoundSet) -> Row:
    names = [sound.about.format for sound in read.sounds]
    return Row(name="formats", value=counts_text(names), data=dict(Counter(names)))


def _rates(read: SoundSet) -> Row:
    rates = Counter(sound.about.rate for sound in read.sounds)
    lost = sum(count for rate, count in rates.items() if rate > read.rate)
    raised = sum(count for rate, count in rates.items() if rate < read.rate)
    value = counts_text(f"{sound.about.rate:,} Hz" for sound in read.sounds)
    if len(rates) > 1 or lost or raised:
        value += f"; read at {read.rate:,} Hz"
    if lost:
        value += f", so what is above {read.rate / 2:,.0f} Hz is lost: {_of(lost, len(read.sounds))}"
    if raised:
        value += f"; recorded at a lower rate, so without treble: {_of(raised, len(read.sounds))}"
    commonest = min(max(rates, key=lambda rate: (rates[rate], rate)), HIGHEST_NEEDED)
    data: JsonValue = {"rates": {str(rate): n for rate, n in rates.items()}, "rate": read.rate, "cut": lost}
    change = f"--rate {commonest}" if commonest != read.rate else ""
    return Row(name="rates", value=value, data=data, change=change, warning=2 * lost > len(read.sounds))


def _channels(read: SoundSet) -> Row:
    layouts = [_LAYOUTS.get(s.about.channels, f"{s.about.channels} channels") for s in read.sounds]
    several = [sound for sound in read.sounds if sound.about.channels > 1]
    differ = sum(sound.differs for sound in several)
    value = counts_text(layouts)
    if several:
        value += f"; the channels of {differ:,} of {len(several):,} differ"
    if any(sound.about.channels != read.options.channels for sound in read.sounds):
        value += f"; read as {_LAYOUTS[read.options.channels]}"
    data: JsonValue = {"channels": dict(Counter(layouts)), "differ": differ, "read": read.options.channels}
    mixed = differ if read.options.channels == 1 else 0
    change = "--channels 2" if mixed else "--channels 1" if read.options.channels == 2 and not differ else ""
    return Row(name="channels", value=value, data=data, change=change, warning=2 * mixed > len(read.sounds))


def _lengths(read: SoundSet) -> list[Row]:
    seconds = np.array([sound.seconds for sound in read.sounds])
    kept = _seconds_kept(read.sounds)
    longer = int((kept > read.seconds).sum())
    low, median, usual, high = np.quantile(seconds, [0, 0.5, USUAL_SHARE, 1], method="inverted_cdf")
    value = f"{len(seconds):,} sounds, {_time(float(seconds.sum()))}: {_round(low)} to {_round(high)} s, half up to "
    value += f"{_round(median)}, {USUAL_SHARE:.0%} up to {_round(usual)}; an example holds {_round(read.seconds)} s"
    begun = int(read.first.sum())
    if longer > begun:
        several = int(read.clips[(kept > read.seconds) & ~read.first].sum())
        value += f"; longer, and cut into overlapping clips: {longer - begun:,} ({several:,} clips)"
    if begun:
        dies = ", since they die away" if read.options.clips == "auto" else ""
        value += f"; longer, and cut to their beginning{dies}: {begun:,}"
    padded = int((kept < read.seconds).sum())
    data: JsonValue = {
        "seconds": [float(low), float(median), float(usual), float(high)], "example": read.seconds, "longer": longer,
        "first": begun,
        "padded": padded, "clips": int(read.clips.sum()), "total": float(seconds.sum()),
    }  # fmt: skip
    another = min(60.0, 2 * round(read.seconds, 1) if longer and read.seconds >= 0.1 else read.seconds)
    change = f"--seconds {another:.3g}" + (" or --clips all" if begun else "")
    rows = [Row(name="lengths", value=value, data=data, change=change if longer else "")]
    short = [sound.name for sound, length in zip(read.sounds, kept) if length < SHORT_SECONDS]
    return rows + understood.problem("very short", short, more=f"they last less than {SHORT_SECONDS} s, as clicks do")


def _seconds_kept(sounds: Sequence[Measured]) -> np.ndarray:
    """Return the seconds of each file that are left between the silence at its ends, (N,)."""
    return np.array([max(0.0, sound.seconds - sound.before - sound.after) for sound in sounds])


def _silence_row(read: SoundSet) -> Row:
    before, after = (np.array([getattr(sound, side) for sound in read.sounds]) for side in ("before", "after"))
    cut = int(((before > 0) | (after > 0)).sum())
    data: JsonValue = {"files": cut, "seconds": float((before + after).sum())}
    if not read.options.trim:
        return Row(name="silence", value="none is cut at the ends", data=data, change="--trim 60")
    value = f"cut at the ends of {_of(cut, len(before))}"
    if cut:
        value += (
            f", {(before + after).sum():,.2f} s in all, at most {before.max():.2f} s before and {after.max():.2f} after"
        )
    value += f" ({read.options.trim:g} dB below the peak)"
    return Row(name="silence", value=value, data=data, change="--trim 0" if cut else "")


def _silent(read: SoundSet) -> list[Row]:
    if not read.silent:
        return []
    value = f"{read.silent:,} of {read.silent + int(read.clips.sum()):,} clips of long sounds are silent and left out"
    value += f" (peaks below {read.options.silence:g} dB)"
    return [Row(name="silent clips", value=value, data=read.silent, change="--silence -150")]


def _loudness(read: SoundSet) -> Row:
    levels = np.array([decibels(sound.power) for sound in read.sounds])
    gains = np.array([20 * math.log10(sound.gain) for sound in read.sounds])
    low, high = f"{levels.min():.0f}", f"{levels.max():.0f}"
    value = (f"{low} dB" if low == high else f"{low} to {high} dB, median {np.median(levels):.0f}") + " (mean power)"
    kind, level = read.options.loudness, read.options.level
    level = LEVELS[kind] if level is None else level
    sentences = {"peak": f"each peak is brought to {level:g} dB", "rms": f"each mean power is brought to {level:g} dB",
            "lufs": f"each is brought to {level:g} LUFS", "none": "left as it is"}[kind]  # fmt: skip
    value += f"; {sentences}"
    raised = int((gains > RAISED_DB).sum())
    if raised:
        value += f"; raised by {RAISED_DB:.0f} to {gains.max():.0f} dB, noise too: {_of(raised, len(gains))}"
    data: JsonValue = {
        "decibels": [float(levels.min()), float(np.median(levels)), float(levels.max())],
        "raised": raised,
    }
    change = "--silence -40" if raised else "--loudness none" if kind != "none" else "--loudness peak"
    return Row(name="loudness", value=value, data=data, change=change, warning=bool(raised))


def _offset(read: SoundSet) -> list[Row]:
    names = [f"{sound.name} ({sound.offset:+.2g})" for sound in read.sounds if sound.offset]
    if not names:
        return []
    removed = read.options.dc
    value = f"{few(names)}; {'removed' if removed else 'left in, and amplified with the sound'}"
    change = "--dc false" if removed else "--dc true"
    return [Row(name="constant offset", value=value, data=list(names[:1000]), change=change, warning=not removed)]


def _copies(read: SoundSet) -> list[Row]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, sound in enumerate(read.sounds):
        groups[sound.digest].append(i)
    alike = [group for group in groups.values() if len(group) > 1]
    across = sum(len(set(read.test[group].tolist())) > 1 for group in alike)
    unlike = sum(len({read.entries[i].label for i in group}) > 1 for group in alike)
    more = [f"{across:,} of them in training and held out" if across else "",
            f"{unlike:,} under different labels" if unlike else ""]  # fmt: skip
    names = [" = ".join(read.sounds[i].name for i in group) for group in alike]
    rows = understood.problem("copies", names, more=", ".join(text for text in more if text))
    return [row.model_copy(update={"data": {"groups": row.data, "across": across, "unlike": unlike}}) for row in rows]


def _fault_rows(read: SoundSet) -> list[Row]:
    names = [f"{s.name}: {', '.join(s.mended)} ({s.seconds:,.2f} s read)" for s in read.sounds if s.mended]
    return understood.problem("mended", names)


def _proposals(read: SoundSet) -> dict[str, JsonValue]:
    """Return values at dotted keys of a recipe: rate, length and network; others where they are not the default."""
    options = read.options
    usual = float(np.quantile(_seconds_kept(read.sounds), USUAL_SHARE, method="inverted_cdf"))
    seconds = min(LONGEST_DEFAULT_SECONDS, max(0.01, math.ceil(usual * 100 - 1e-6) / 100))
    levels = [decibels(sound.power) for sound in read.sounds]
    fits: dict[str, Any] = {
        "data.rate": read.rate,
        "data.seconds": options.seconds or (seconds if read.options.clips != "first" else round(read.seconds, 2)),
        "model.preset": "tiny" if read.clips.sum() < FEW_CLIPS else "small",
    }
    if sum(sound.differs for sound in read.sounds) > len(read.sounds) / 2:
        fits["data.channels"] = 2
    if max(levels) - min(levels) < ALIKE_DB:
        fits["data.loudness"] = "none"
    if options.labels == "auto" and not label_names(read.entries):
        patterns = [text.rpartition(" (")[0] for text in read.listing.alternatives if "{" in text]
        if patterns:
            fits["data.labels"] = patterns[0]
    return fits


def _of(count: int, total: int) -> str:
    return f"all {total:,} files" if count == total > 1 else f"{count:,} of {total:,} files"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _round(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.3f}"
