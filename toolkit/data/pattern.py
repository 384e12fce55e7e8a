"""Labels in file names: patterns such as {label}_{}_{}, and a guess of those that fit."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.errors import UsageError

LABEL = "{label}"
IGNORED = "{}"


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


def patterns(stems: Sequence[str]) -> list[tuple[str, int]]:
    """Return patterns for file names that give labels, and the number of labels of each.

    All names must have equally many parts between "_", "-" or " "; a part is a label when it takes two values or
    more, each of them in five files on average. A number at the end counts takes.
    """
    matches = []
    for separator in ("_", "-", " "):
        table = [stem.split(separator) for stem in stems]
        width = len(table[0]) if table else 0
        if width < 2 or any(len(parts) != width or not all(parts) for parts in table):
            continue
        for column in range(width):
            values = {parts[column] for parts in table}
            counts_takes = column == width - 1 and all(value.isdecimal() for value in values)
            if 2 <= len(values) <= len(table) / 5 and not counts_takes:
                fields = [LABEL if i == column else IGNORED for i in range(width)]
                matches.append((separator.join(fields), len(values)))
    return matches


def _wrong(text: str, why: str) -> UsageError:
    hint = f"auto, folders, folders:2, parent, metadata, none, or a pattern for file names such as {LABEL}_{IGNORED}"
    return UsageError(f"data.labels '{text}': {why}; write {hint}")
