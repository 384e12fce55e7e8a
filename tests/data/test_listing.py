"""Listing a folder: what is found, what is left out, and and what is said of an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.data import listing
from toolkit.data.listing import Entry


def test_what_is_found(tmp_path: Path) -> None:
    for name in ("b.TXT", "a.txt", "deep/c.txt", ".hidden.txt", "__MACOSX/d.txt", "e.bin", "empty.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"" if name == "empty.txt" else b"x")
    os.symlink(tmp_path, tmp_path / "deep" / "up")
    os.symlink(tmp_path / "gone", tmp_path / "link.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    found = listing.walk(tmp_path, {".txt"})
    assert [(entry.name, entry.size, entry.label) for entry in found.entries] == [
        ("a.txt", 1, None),
        ("b.TXT", 1, None),
        ("deep/c.txt", 1, None),
    ]
    assert sorted(found.rejected) == [
        "deep/up: a link to a folder that is read elsewhere",
        "empty.txt: empty file",
        "link.txt: broken link",
        "pipe.txt: not a regular file",
    ]
    assert dict(found.ignored) == {".bin": 1}
    assert len(found.signature) == 4 and found.signature == sorted(found.signature)
    before = found.signature
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    assert listing.walk(tmp_path, {".txt"}).signature != before


def test_what_is_said_of_an_empty_folder(tmp_path: Path) -> None:
    assert listing.what_else(listing.walk(tmp_path, {".txt"}), "TXT") == "it is empty"
    (tmp_path / "a.b\x1b").write_bytes(b"x")
    (tmp_path / "README").write_bytes(b"x")
    said = listing.what_else(listing.walk(tmp_path, {".txt"}), "TXT")
    assert said == "only other files (1 without ending, 1 .b?); TXT are read"


def test_labels_are_in_natural_order() -> None:
    entries = [Entry(name, Path("x"), 1, label=name) for name in ("10", "9", "b2", "a")]
    assert listing.label_names(entries) == ("9", "10", "a", "b2")
    assert listing.label_names(entries, ("b2", "a", "9", "10", "other")) == ("b2", "a", "9", "10")
    assert listing.label_names([*entries, Entry("c", Path("x"), 1)]) == ()
    assert listing.label_names(entries[:1]) == ()
