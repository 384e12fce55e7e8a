"""Choose the files of a folder that are read, and their splits by their own names: train.csv, dev.csv, test.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from modalities.text.data import dialects, encodings
from toolkit.data.listing import Entry, Listing
from toolkit.data.splits import role
from toolkit.data.understood import Row

TEXTS = (".txt", ".text", ".md", ".markdown", ".rst")
"""Endings of running text."""
TABLES = (".csv", ".tsv", ".tab")
JSONS = (".jsonl", ".ndjson", ".json")
EXTENSIONS = (*TEXTS, *TABLES, *JSONS)
FORMATS = ".txt, .md, .rst, .jsonl, .json, .csv and .tsv"
_HEAD = 1 << 16
_LOOKED_AT = 20
_ABOUT = (
    "readme",
    "license",
    "licence",
    "copying",
    "changelog",
    "authors",
    "contributing",
    "citation",
    "notice",
    "copyright",
)
"""Files that are about the data, where there are others."""


class AnyEnding(Collection[str]):
    """The endings of a file that a user names: all of them."""

    def __contains__(self, ending: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(EXTENSIONS)

    def __len__(self) -> int:
        return len(EXTENSIONS)


def check(formats: str) -> str:
    """Return the option as it is typed. Raises ValueError for an ending that is not read."""
    if formats != "auto":
        for ending in endings_of(formats):
            if ending and ending not in EXTENSIONS:
                near = get_close_matches(ending, EXTENSIONS, n=1)
                hint = f"; did you mean '{near[0][1:]}'?" if near else ""
                raise ValueError(f"files ending in {ending} are not read{hint} ({FORMATS}, and none: without ending)")
    return formats


def endings_of(formats: str) -> tuple[str, ...]:
    """Return the endings that an option names: (".md", "") of "md,none"."""
    names = (name.strip().lower().lstrip(".") for name in formats.split(","))
    return tuple("" if name == "none" else f".{name}" for name in names)


def ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def kind(name: str) -> str:
    """Return what a file's ending says: "text", "table" or "json"."""
    end = ending(name)
    return "table" if end in TABLES else "json" if end in JSONS else "text"


def choose(listing: Listing, formats: str, items: bool) -> list[Row]:
    """Keep the files of a listing that are read together, count the others by ending, and return rows about them.

    items: all documents are items, so that texts and rows can be mixed.
    """
    account: list[Row] = []
    if formats != "auto":
        wanted = endings_of(formats)
        _keep(listing, lambda entry: ending(entry.name) in wanted)
        return account
    if any(not _is_about(entry) for entry in listing.entries):
        out = _keep(listing, lambda entry: not _is_about(entry))
        account += _passed_over_row("files about the data, by their names", out, "beside the others", False)
    plain = [entry for entry in listing.entries if not ending(entry.name)]
    texts = {entry.name for entry in plain if _is_text(entry)}
    named = [entry for entry in listing.entries if ending(entry.name)]
    if named and _bytes(named) >= sum(entry.size for entry in plain if entry.name in texts):
        out = _keep(listing, lambda entry: bool(ending(entry.name)))
        account += _passed_over_row("files without ending", out, "beside the others", len(texts) > 0)
    else:
        _keep(listing, lambda entry: bool(ending(entry.name)) or entry.name in texts)
    rows = [entry for entry in listing.entries if kind(entry.name) != "text"]
    running = [entry for entry in listing.entries if kind(entry.name) == "text"]
    if rows and running and not items:
        most = _bytes(running) >= _bytes(rows)
        out = _keep(listing, lambda entry: (kind(entry.name) == "text") == most)
        why = "which cannot be mixed with running text" if most else "which cannot be mixed with rows"
        account += _passed_over_row("files of rows" if most else "files of running text", out, why, True)
    return account


def _keep(listing: Listing, wanted: Callable[[Entry], bool]) -> list[Entry]:
    """Keep the wanted entries; count the others by ending, and return them."""
    out = [entry for entry in listing.entries if not wanted(entry)]
    listing.entries = [entry for entry in listing.entries if wanted(entry)]
    listing.ignored.update(ending(entry.name) for entry in out)
    return out


def _passed_over_row(what: str, out: Sequence[Entry], why: str, warning: bool) -> list[Row]:
    if not out:
        return []
    ends = ",".join(sorted({ending(entry.name).lstrip(".") or "none" for entry in out}))
    value = f"{len(out):,} {what}, {why}: {_first(out)}"
    return [Row(name="passed over", value=value, data=len(out), change=f"--formats {ends}", warning=warning)]


def _first(entries: Sequence[Entry]) -> str:
    return entries[0].name + (" ..." if len(entries) > 1 else "")


def _bytes(entries: Sequence[Entry]) -> int:
    return sum(entry.size for entry in entries)


def _is_about(entry: Entry) -> bool:
    name = PurePosixPath(entry.name).name.casefold()
    return name.split(".")[0] in _ABOUT and kind(entry.name) == "text"


def _is_text(entry: Entry) -> bool:
    try:
        with entry.path.open("rb") as file:
            head = file.read(_HEAD)
        if not any(head.startswith(mark) for mark, _ in encodings.MARKS):
            encodings.check_controls(head)
    except (OSError, encodings.NotText):
        return False
    return not any(head.startswith(start) for start, _ in encodings.SIGNATURES)


def tabular(entries: Sequence[Entry]) -> bool:
    """Return whether files of running text are tables: every line of their beginnings has equally many tabs."""
    looked = [entry for entry in entries if kind(entry.name) == "text"][:_LOOKED_AT]
    return bool(looked) and len(looked) == min(len(entries), _LOOKED_AT) and all(_has_columns(e.path) for e in looked)


def _has_columns(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    lines = head.replace(b"\0", b"").decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return b"\t" in head and dialects.is_table(lines[:-1] if len(head) == _HEAD else lines)


def split_files(listing: Listing) -> None:
    """Assign splits by the names of files, where none are assigned: train.txt trains, test.txt or dev.txt does not."""
    if any(entry.split for entry in listing.entries) or listing.splits_by:
        return
    roles = {entry.name: _role(entry.name) for entry in listing.entries}
    known = Counter(part for part in roles.values() if part)
    if "train" not in known or len(known) < 2:
        return
    named = sum(entry.size for entry in listing.entries if roles[entry.name])
    if named < _bytes(listing.entries) / 2:  # one such file among many others
        return
    held = "test" if "test" in known else "val"
    splits = {"train": "train", held: "test"}
    inside = [replace(entry, split=splits[part]) for entry in listing.entries if (part := roles[entry.name]) in splits]
    out = [entry for entry in listing.entries if roles[entry.name] not in splits]
    listing.entries = inside
    first = {split: next(entry.name for entry in inside if entry.split == split) for split in ("train", "test")}
    listing.splits_by = f"by files {first['train']} and {first['test']}"
    if out:
        listing.notes.append(f"{len(out):,} files of no split or another one are left out: {_first(out)}")


def _role(name: str) -> str | None:
    stem = PurePosixPath(name).stem.split(".")[0]
    parts = stem.replace("-", "_").split("_")
    return role(stem) or role(parts[-1]) or role(parts[0])
