"""Tar shards in the WebDataset layout: KEY.jpg beside KEY.cls, read in place; nothing is ever extracted.

train-*.tar and test-*.tar give the split when there are both. KEY.cls holds the class number in decimal;
classes.json beside the shards is a list of the classes' names. Other members of a key are ignored.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from modalities.image.data.decode import readable
from toolkit.console import printable
from toolkit.data.listing import Entry, Listing
from toolkit.data.splits import SPLITS
from toolkit.errors import DataError, UsageError

MAX_MEMBER_BYTES = 64 * 2**20
MAX_MEMBERS = 20_000_000
MAX_CLASSES = 100_000
_MAX_CLASSES_BYTES = 4 * 2**20
_MAX_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class _Part:
    offset: int
    size: int


def find(source: Path) -> list[Path]:
    """Return the shards of `source`: itself when it is a .tar file, else the .tar files in it, sorted."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".tar" else []
    # of a folder that may be listed and not searched, isfile says no, where is_file raises
    return sorted(path for path in source.iterdir() if path.suffix.lower() == ".tar" and os.path.isfile(path))


def signature(shards: list[Path]) -> list[str]:
    """Return one line for each file the pictures depend on: name, size and time of change."""
    files = [path for path in (*shards, shards[0].parent / "classes.json") if path.is_file()]
    return [f"{path.name}\t{path.stat().st_size}\t{path.stat().st_mtime_ns}" for path in files]


def scan(shards: list[Path], labels: str = "auto", splits: str = "auto") -> Listing:
    """List the pictures in the shards in their order. Raises DataError for an unusable classes.json.

    labels: "auto" (.cls) or "none"; splits: "auto" or "none". Raises UsageError for other labels, which are of folders.
    """
    if labels not in ("auto", "none"):
        raise UsageError(f"data.labels '{labels}' is for folders; shards have .cls files: write auto or none")
    listing = Listing()
    named = {split: [path for path in shards if path.name.startswith(f"{split}-")] for split in SPLITS}
    if all(named.values()) and splits == "auto":
        listing.splits_by = "by shards train-*.tar and test-*.tar"
        if others := len(shards) - sum(map(len, named.values())):
            listing.notes.append(f"{others} shards called neither train-*.tar nor test-*.tar are left out")
        for split, paths in named.items():
            for path in paths:
                _scan_shard(path, split, listing)
    else:
        for path in shards:
            _scan_shard(path, None, listing)
    if labels == "none":
        listing.entries = [replace(entry, label=None) for entry in listing.entries]
        listing.labels_by = "none, as said"
    else:
        _name_labels(listing, _class_names(shards[0].parent / "classes.json"))
    return listing


def _scan_shard(path: Path, split: str | None, listing: Listing) -> None:
    """Append the pictures of one shard, their labels still numbers."""
    pictures: dict[str, tuple[str, _Part]] = {}
    classes: dict[str, _Part] = {}
    endings = readable()
    for name, part in _members(path, listing):
        pure = PurePosixPath(name)
        stem, _, ending = pure.name.partition(".")
        key = str(pure.with_name(stem or "_"))
        if "." + ending.lower() in endings:
            if key in pictures:
                listing.reject(f"{path.name}/{name}", "a second picture for the same key")
            else:
                pictures[key] = (name, part)
        elif ending.lower() == "cls":
            classes.setdefault(key, part)
        else:
            listing.ignored[pure.suffix.lower()] += 1
    if not pictures:
        return
    with path.open("rb") as stream:
        for key, (name, part) in pictures.items():
            label = None
            if key in classes:
                stream.seek(classes[key].offset)
                text = stream.read(min(classes[key].size, 32)).strip()
                if not (text.isdigit() and classes[key].size <= 32 and int(text) < MAX_CLASSES):
                    listing.reject(f"{path.name}/{name}", "its .cls is not a class number")
                    continue
                label = str(int(text))
            listing.entries.append(Entry(f"{path.name}/{name}", path, part.size, part.offset, label, split))


class _BoundedFile(io.FileIO):
    """A file for tarfile that reads at most 1 MB at once: a forged long-name header may ask for gigabytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header larger than 1 MB")
        return super().read(size) or b""


def _members(path: Path, listing: Listing) -> list[tuple[str, _Part]]:
    """Return name and place of each member that may be used; the others are rejected with the reason.

    A damaged archive is rejected too, and the members before the damage are returned.
    """
    members: list[tuple[str, _Part]] = []
    names: set[str] = set()
    total = path.stat().st_size
    try:
        with _BoundedFile(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            last = -1
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header
                if member.offset <= last:  # a forged size must not make us go round in circles
                    raise tarfile.ReadError("headers that point backwards")
                last = member.offset
                if why := _refusal(member, names, total):
                    listing.reject(f"{path.name}/{member.name}", why)
                elif not member.isdir():
                    members.append((member.name, _Part(member.offset_data, member.size)))
                names.add(member.name)
                if len(names) > MAX_MEMBERS:
                    raise tarfile.ReadError(f"more than {MAX_MEMBERS:,} members")
            stream.seek(archive.offset)  # tarfile takes a broken header for the end; the real end is zeros
            if any(stream.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"no header at byte {archive.offset}")
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        listing.reject(path.name, f"damaged archive ({printable(str(error))[:160]}); what comes before was read")
    return members


def _refusal(member: tarfile.TarInfo, names: set[str], total: int) -> str:
    """Return the reason why a member must not be used; empty when it may. names: of the members before it."""
    pure = PurePosixPath(member.name)
    if member.issym() or member.islnk():
        return "a link inside an archive"
    if member.isdir():
        return ""
    if not member.isreg() or member.issparse():
        return "not a regular file inside the archive"
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\\" in member.name or ":" in pure.parts[0]:
        return "a path that leads out of the archive"
    if member.name in names:
        return "the name appears twice"
    if member.size > MAX_MEMBER_BYTES:
        return f"{member.size:,} bytes, more than the {MAX_MEMBER_BYTES:,} allowed"
    if member.size <= 0:
        return "empty file"
    if member.offset_data + member.size > total:
        return "cut off by the end of the archive"
    return ""


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        if path.stat().st_size > _MAX_CLASSES_BYTES:
            raise ValueError("larger than 4 MB")
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); mend or remove it") from None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{path} must be a JSON list of class names; mend or remove it")
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a class twice; mend or remove it")
    return names


def _name_labels(listing: Listing, names: list[str]) -> None:
    """Turn class numbers into names; numbers without a name are rejected when there are names."""
    listing.label_order = tuple(names)
    listing.labels_by = "by .cls"
    bare = sum(entry.label is None for entry in listing.entries)
    if 0 < bare < len(listing.entries):
        listing.notes.append(f"{bare} of {len(listing.entries)} pictures have no .cls, so no labels are used")
    if bare == len(listing.entries):
        listing.labels_by = "none: no picture has a .cls"
    if not names:
        return
    entries, listing.entries = listing.entries, []
    for entry in entries:
        if entry.label is not None and int(entry.label) >= len(names):
            listing.reject(entry.name, f"class {entry.label}, but classes.json has {len(names)} names")
        else:
            listing.entries.append(replace(entry, label=entry.label and names[int(entry.label)]))
