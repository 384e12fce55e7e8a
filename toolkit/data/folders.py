"""Structure of folders: those around everything, those that are splits, and the others that a file lies in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from toolkit.data.listing import Entry, Listing
from toolkit.data.splits import role


def split_folders(listing: Listing, names: Iterable[str], prefix: str, noun: str) -> bool:
    """Assign the splits of entries below folders of the usual names; return False where there are none.

    names: of all files below `prefix`, unreadable ones too: a train/ that holds nothing else is still a split, and
    test/ must not be trained on. Files outside are left out. Of both test and val, test is held out and val left out.
    """
    tops = {name[len(prefix) :].split("/")[0] for name in names if "/" in name[len(prefix) :]}
    roles = {top: known for top in tops if (known := role(top)) is not None}
    if "train" not in roles.values() or len(set(roles.values())) < 2:
        return False
    held = "test" if "test" in roles.values() else "val"
    chosen = {top: "train" if known == "train" else "test" for top, known in roles.items() if known in ("train", held)}
    inside, outside = list[Entry](), list[Entry]()
    for entry in listing.entries:
        top, below, _ = entry.name[len(prefix) :].partition("/")
        split = chosen.get(top) if below else None
        (inside if split else outside).append(replace(entry, split=split))
    listing.entries = inside
    folders = " and ".join(f"{top}/" for top in sorted(chosen, key=lambda top: chosen[top] != "train"))
    listing.splits_by = f"by folders {folders}"
    spare = [entry for entry in outside if roles.get(entry.name[len(prefix) :].split("/")[0]) == "val"]
    if spare:
        other = spare[0].name[len(prefix) :].split("/")[0]
        listing.notes.append(f"{len(spare):,} {noun} in {other}/ are left out, because another folder is held out")
    if len(outside) > len(spare):
        listing.notes.append(f"{len(outside) - len(spare):,} {noun} outside {folders} are left out")
    return True


def levels(entry: Entry, prefix: str, split: bool) -> list[str]:
    """Return the folders that a file lies in, outermost first, without those around everything and of its split."""
    parts = entry.name[len(prefix) :].split("/")[:-1]
    return parts[1:] if split else parts


def wrapper(names: Sequence[str], train: bool) -> str:
    """Return the folder, "pack/" or "a/b/", that all files lie in, if there is further structure below it.

    train: a single folder called train counts too.
    """
    prefix = ""
    while names:
        tops = {name[len(prefix) :].split("/")[0] if "/" in name[len(prefix) :] else "" for name in names}
        if len(tops) > 1 or "" in tops:
            return prefix
        top = next(iter(tops))
        if role(top) and not train:
            return prefix
        prefix += top + "/"
    return prefix
