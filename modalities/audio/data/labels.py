"""Files of a folder of sounds, and their labels: by folders, by file names, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modalities.audio.data.decode import EXTENSIONS
from toolkit.data import listing as files
from toolkit.data.listing import Listing
from toolkit.errors import UsageError

LABEL = "{label}"
IGNORED = "{}"


def scan(root: Path, labels: str) -> Listing:
    """List the sounds under `root`; labels: "folders", "none" or a pattern. Raises UsageError for a bad pattern."""
    pattern = None if labels in ("folders", "none") else Pattern(labels)
    listing = files.scan(root, EXTENSIONS, "sounds")
    if labels == "none":
        listing.entries = [replace(entry, label=None) for entry in listing.entries]
    elif pattern is not None:
        relabel(listing, pattern)
    return listing


def relabel(listing: Listing, pattern: Pattern) -> None:
    """Set the labels by file names; files whose name does not fit are rejected."""
    entries, listing.entries = listing.entries, []
    for entry in entries:
        label = pattern.label(Path(entry.name).stem)
        if label is None:
            listing.reject(entry.name, f"the name does not fit {pattern.text}")
        else:
            listing.entries.append(replace(entry, label=label))


class Pattern:
    """A pattern for file names: literal text and fields, {label} or {}; each field ends where the next text begins.

    Matching reads a name once from left to right, whatever the pattern: it never goes back to try again.
    """

    def __init__(self, text: str) -> None:
        """Raise UsageError when `text` is not a pattern with a {label}."""
        self.text = text
        self._first, self._fields = self._parse(text)

    def label(self, stem: str) -> str | None:
        """Return the label in a file's name without its ending; None when the name does not fit."""
        if not stem.startswith(self._first):
            return None
        rest, parts = stem[len(self._first) :], []
        for is_label, then in self._fields:
            value, separator, rest = rest.partition(then) if then else (rest, "end", "")
            if not value or not separator:
                return None
            if is_label:
                parts.append(value)
        return None if rest else "-".join(parts)

    @staticmethod
    def _parse(text: str) -> tuple[str, Sequence[tuple[bool, str]]]:
        """Return the text before the first field, and for each field (True for a label, the text after it)."""
        first, *rest = text.split("{")
        fields = []
        for part in rest:
            name, closed, then = part.partition("}")
            if not closed or name not in ("", "label") or "}" in then:
                raise _wrong(text, f"only {LABEL} and {IGNORED} may stand in braces")
            fields.append((name == "label", then))
        if "}" in first:
            raise _wrong(text, f"only {LABEL} and {IGNORED} may stand in braces")
        if not any(is_label for is_label, _ in fields):
            raise _wrong(text, f"it has no {LABEL}")
        if any(not then for _, then in fields[:-1]):
            raise _wrong(text, "between two fields there must be some text that ends the first")
        return first, fields


def _wrong(text: str, why: str) -> UsageError:
    hint = f"folders, none, or a pattern for file names such as {LABEL}_{IGNORED}_{IGNORED}"
    return UsageError(f"data.labels '{text}': {why}; write {hint}")
