"""The mark at the end of what `toolkit report` writes, by which a file that somebody wrote or changed is told apart."""

from __future__ import annotations

import hashlib
import re

_MARK = re.compile(r"\n<!-- toolkit report ([0-9a-f]{64}) -->\n$")


def mark(text: str) -> str:
    """Return `text` with the mark behind it, a comment in HTML and in Markdown."""
    return f"{text}\n<!-- toolkit report {_digest(text)} -->\n"


def ours(text: str) -> bool:
    """Return whether `text` is as `mark` returned it."""
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
