"""Labels and splits of listed files: by folders, by file names, by a metadata file, or none."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from toolkit.console import printable
from toolkit.data import metadata
from toolkit.data.folders import levels, split_folders, wrapper
from toolkit.data.listing import Entry, Listing, label_names, walk
from toolkit.data.pattern import Pattern, patterns
from toolkit.data.splits import role
from toolkit.data.understood import LABELS_SHOWN, Row, few
from toolkit.errors import DataError, UsageError

RARE = 5
"""Files of a label below which it is likely too rare to be learned."""
MANY_SHARE = 0.5
"""Share of the files that must have a label by folders for the others to be left out."""
UNEQUAL = 10
"""Ratio of the commonest to the rarest label that is worth a warning."""


def scan(root: Path, extensions: Collection[str], noun: str, labels: str = "auto", splits: str = "auto") -> Listing:
    """List the files under `root`, with their labels and splits; nothing is decoded.

    extensions: ".png", in lower case. noun: the files in messages, in the plural.
    labels: "auto" (a metadata file where there is one, else folders), "folders", "folders:2" (those of the second
        level), "parent" (the folder that a file lies in), "metadata" or "metadata:COLUMN", "none", or a pattern for
        file names, "{label}_{}".
    splits: "auto" (folders called train, test, val ... by their usual names, or a metadata file's column), or "none".

    Folders around everything else are no labels: pack/kick/1.wav has the label kick. Names are compared in NFC.
    Raises UsageError for other values, DataError for a metadata file that cannot be read.
    """
    how = _parse(labels)
    if splits not in ("auto", "none"):
        raise UsageError(f"data.splits '{splits}': write auto, or none to read folders called train and test as others")
    listing = walk(root, extensions)
    listing.entries = [replace(entry, label=None, split=None) for entry in listing.entries]
    names = [line.split("\t")[0] for line in listing.signature]
    beside = {path.relative_to(root).as_posix() for path in listing.metadata}
    names = [name for name in names if name not in beside]
    prefix = wrapper(names, splits == "auto")
    split = splits == "auto" and split_folders(listing, names, prefix, noun)
    if not split and splits == "auto" and prefix and role(prefix.rstrip("/").split("/")[-1]):
        listing.splits_by = f"none: all lies in {prefix}"
    by_file = _metadata(listing, root, labels, splits == "auto", noun)
    if how == "auto":
        named = by_file is not None and by_file.labels
        how = "metadata" if named else _first_telling(listing, prefix, split)
    if how == "none":
        listing.labels_by = "none, as said"
    elif how == "metadata":
        _by_metadata(listing, by_file, noun)
    elif isinstance(how, Pattern):
        _by_pattern(listing, how)
    elif isinstance(how, int):
        _by_folders(listing, prefix, split, noun, how)
    listing.alternatives = _alternatives(listing, prefix, split, labels)
    return listing


def rows(listing: Listing, entries: Sequence[Entry], test: np.ndarray) -> list[Row]:
    """Return the rows about splits and labels of the files that could be used. test: (N,) bool, those held out."""
    held = int(test.sum())
    by = listing.splits_by
    named = any(entry.split for entry in entries)
    how = by if named else "5 % by a hash of their names" + (f" ({by})" if by else "")
    change = "--splits none" if by else ""
    data = {"train": len(test) - held, "test": held, "by": by or "hash"}
    lines = [
        Row(name="splits", value=f"{len(test) - held:,} train, {held:,} held out: {how}", data=data, change=change)
    ]
    names = label_names(entries, listing.label_order)
    counts = Counter(entry.label for entry in entries)
    also = f"; also possible: {', '.join(listing.alternatives)}" if listing.alternatives else ""
    if not names:
        why = listing.labels_by or "none: neither folders nor a metadata file tell them apart"
        if why.startswith("by"):
            why = f"none: all have the same, {next(iter(counts))}, {why}"
        first = listing.alternatives[0].rpartition(" (")[0] if listing.alternatives else ""
        change = f"--labels '{first}'" if "{" in first else f"--labels {first}" if first else ""
        return [*lines, Row(name="labels", value=f"{why}{also}", data={}, change=change)]
    listed = ", ".join(f"{printable(name)} ({counts[name]:,})" for name in names[:LABELS_SHOWN])
    more = f", ... {len(names) - LABELS_SHOWN:,} more" if len(names) > LABELS_SHOWN else ""
    value = f"{len(names):,} {listing.labels_by}: {listed}{more}{also}"
    each = {printable(name): counts[name] for name in names}
    lines.append(
        Row(name="labels", value=value, data={"by": listing.labels_by, "counts": each}, change="--labels none")
    )
    return [*lines, *_label_problems(names, counts)]


def _label_problems(names: Sequence[str], counts: Counter[str | None]) -> list[Row]:
    same = Counter(name.casefold() for name in names)
    twins = [" and ".join(n for n in names if n.casefold() == key) for key, number in same.items() if number > 1]
    rare = [f"{name} ({counts[name]:,})" for name in names if counts[name] < RARE]
    most, least = max(counts[name] for name in names), min(counts[name] for name in names)
    problems = []
    if twins:
        problems.append(
            Row(name="labels alike", value=f"{few(twins)}: they differ in capitals only, and are labels of their own; "
                "rename one to join them", data=list(twins), warning=True)
        )  # fmt: skip
    if rare:
        problems.append(
            Row(name="rare labels", value=f"{few(rare)}: fewer than {RARE} files teach little", data=list(rare),
                change="--set train.balance=1", warning=True)
        )  # fmt: skip
    elif most > UNEQUAL * least:
        value = f"from {least:,} to {most:,} files: the rare ones are seen seldom"
        problems.append(
            Row(name="unequal labels", value=value, data=[least, most], change="--set train.balance=1", warning=True)
        )
    return problems


SIZE = re.compile(r"[0-9]{1,5}x[0-9]{1,5}(@[0-9]x?)?|[0-9]{1,5}px|scalable|symbolic", re.IGNORECASE)
"""Names of folders that are sizes of one picture, as icon themes have them."""


def _parse(labels: str) -> str | int | Pattern:
    """Return "auto", "metadata" or "none", a level of folders (0: the one a file lies in), or a pattern for names.

    Raises UsageError for what is none of these.
    """
    if labels in ("auto", "none"):
        return labels
    if _is_metadata(labels):
        return "metadata"
    if labels == "parent":
        return 0
    head, colon, level = labels.partition(":")
    if head == "folders" and (not colon or (level.isascii() and level.isdecimal() and 1 <= int(level) <= 64)):
        return int(level or 1)
    return Pattern(labels)


def _is_metadata(labels: str) -> bool:
    return labels == "metadata" or labels.startswith("metadata:")


def _by_folders(listing: Listing, prefix: str, split: bool, noun: str, level: int) -> None:
    """Set the labels by folders. level: 1 = the outermost; 0 = the one that a file lies in."""
    chosen = []
    for entry in listing.entries:
        folders = levels(entry, prefix, split)
        label = folders[level - 1] if len(folders) >= max(1, level) else None
        chosen.append(replace(entry, label=None if label is None else _label(label)))
    having = [entry for entry in chosen if entry.label is not None]
    stray = len(chosen) - len(having)
    listing.entries = chosen
    if not having:
        listing.labels_by = f"none: all lie in one folder, {prefix}" if prefix else ""
        return
    where = "the folder they lie in" if level == 0 else "folders" if level == 1 else f"folders of level {level}"
    if len({entry.label for entry in having}) < 2:
        listing.labels_by = f"none: all lie in one folder, {having[0].label}/" if not stray else _mostly(stray, noun)
    elif stray == 0:
        listing.labels_by = f"by {where}"
    elif len(having) > MANY_SHARE * len(chosen):
        listing.entries = having
        listing.labels_by = f"by {where}"
        first = next(entry.name for entry in chosen if entry.label is None)
        listing.notes.append(
            f"{stray:,} {noun} beside the folders that are labels ({first}{' ...' if stray > 1 else ''}) are left out; "
            "--labels none takes them"
        )
    else:
        listing.labels_by = _mostly(stray, noun)


def _first_telling(listing: Listing, prefix: str, split: bool) -> int:
    """Return the first level of folders that are no sizes: 2 where all lie in folders such as 16x16 and in others."""
    folders = [levels(entry, prefix, split) for entry in listing.entries]
    sizes = folders and all(len(parts) > 1 and SIZE.fullmatch(parts[0]) for parts in folders)
    if sizes:
        listing.notes.append("the folders of the first level are sizes, and no labels; --labels folders takes them")
    return 2 if sizes else 1


def _mostly(stray: int, noun: str) -> str:
    return f"none: {stray:,} {noun} lie in no folder of their own"


def _by_pattern(listing: Listing, pattern: Pattern) -> None:
    """Set the labels by file names; files whose name does not fit are rejected."""
    entries, listing.entries = listing.entries, []
    for entry in entries:
        label = pattern.label(unicodedata.normalize("NFC", PurePosixPath(entry.name).stem))
        if label is None:
            listing.reject(entry.name, f"the name does not fit {pattern.text}")
        else:
            listing.entries.append(replace(entry, label=_label(label)))
    listing.labels_by = f"by file names, {pattern.text}"


def _metadata(listing: Listing, root: Path, labels: str, splits: bool, noun: str) -> metadata.Metadata | None:
    """Read the metadata files, and set the splits that they give. Raises DataError, UsageError."""
    asked = _is_metadata(labels)
    if not listing.metadata or not (asked or labels == "auto"):
        if asked:
            raise DataError(f"no metadata.jsonl, metadata.csv or dataset.json in {root}; say --labels folders")
        return None
    column = labels.partition(":")[2] or None
    by_file = metadata.read(listing.metadata, root, column)
    if column and not by_file.column:
        raise UsageError(f"no column '{column}' in {listing.metadata[0]}; it has {', '.join(by_file.columns)}")
    if asked and not by_file.labels:
        raise DataError(f"no labels in {listing.metadata[0]}; its columns: {', '.join(by_file.columns) or 'none'}")
    files = {metadata.plain(entry.name) for entry in listing.entries}
    absent = sum(name not in files for name in {*by_file.labels, *by_file.splits})
    if absent:
        listing.notes.append(f"{absent:,} rows of {listing.metadata[0].name} name files that are not there")
    if by_file.unusable:
        listing.notes.append(
            f"{by_file.unusable:,} rows of {listing.metadata[0].name} have no file name, or a label that is a list"
        )
    if not by_file.labels:
        has = f"has no column for labels ({', '.join(by_file.columns) or 'no columns'})"
        listing.notes.append(f"{listing.metadata[0].name} {has}; --labels metadata:COLUMN takes one")
    if splits and not listing.splits_by and {"train"} < set(by_file.splits.values()):
        held = "test" if "test" in by_file.splits.values() else "val"
        roles = {"train": "train", held: "test"}
        split_of = {name: roles.get(known) for name, known in by_file.splits.items()}
        before = len(listing.entries)
        entries = [replace(entry, split=split_of.get(metadata.plain(entry.name))) for entry in listing.entries]
        listing.entries = [entry for entry in entries if entry.split]
        listing.splits_by = f"by {listing.metadata[0].name}"
        if len(listing.entries) < before:
            listing.notes.append(f"{before - len(listing.entries):,} {noun} of no split or another one are left out")
    return by_file


def _by_metadata(listing: Listing, by_file: metadata.Metadata | None, noun: str) -> None:
    assert by_file is not None
    entries = []
    for entry in listing.entries:
        label = by_file.labels.get(metadata.plain(entry.name))
        entries.append(replace(entry, label=None if label is None else _label(label)))
    having = [entry for entry in entries if entry.label is not None]
    name = listing.metadata[0].name
    if not having:
        raise DataError(f"{listing.metadata[0]} names none of the {len(entries):,} {noun}; say --labels folders")
    if len(having) < len(entries):
        listing.notes.append(
            f"{len(entries) - len(having):,} {noun} that {name} gives no label are left out; --labels none takes them"
        )
    listing.entries = having
    listing.labels_by = f"by {name}"


def _alternatives(listing: Listing, prefix: str, split: bool, labels: str) -> list[str]:
    """Return values of the option that give other labels, with their numbers."""
    folders = [levels(entry, prefix, split) for entry in listing.entries]
    current = {entry.label for entry in listing.entries}
    options: list[tuple[str, int]] = []
    for level in (1, 2, 3):
        values = {_label(parts[level - 1]) for parts in folders if len(parts) >= level}
        if folders and len(values) > 1 and all(len(parts) >= level for parts in folders) and values != current:
            options.append(("folders" if level == 1 else f"folders:{level}", len(values)))
    parents = {_label(parts[-1]) for parts in folders if parts}
    if folders and len(parents) > 1 and all(folders) and parents != current:
        options.append(("parent", len(parents)))
    if len(listing.entries) <= 100_000:
        options += patterns([PurePosixPath(entry.name).stem for entry in listing.entries])
    return [f"{option} ({count:,})" for option, count in options if option != labels][:4]


def _label(text: str) -> str:
    """Return a label as it is compared and shown: NFC, without characters that a terminal cannot show."""
    return printable(unicodedata.normalize("NFC", text)).strip() or "?"
