"""Locating a source by its name, and lines for the user about how it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from toolkit import paths
from toolkit.console import printable
from toolkit.errors import DataError

PACE_SECONDS = 3.0
_SHOWN = 5


class Pace:
    """Timer of progress lines: one every few seconds of work, and none when it takes less."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._last + PACE_SECONDS:
            return False
        self._last = now
        return True


def locate(name: str, names: Sequence[str], archives: Collection[str] = ()) -> Path:
    """Return the folder that `name` means: a path, or a name below TOOLKIT_DATA. Raises DataError.

    names: data sets that have a name, for the message. archives: endings of single files that are accepted too.
    """
    text = printable(name)[:200]
    for make in (lambda: Path(name).expanduser(), lambda: paths.data_root() / name):
        try:
            path = make()
            if path.is_dir() or (path.is_file() and path.suffix.lower() in archives):
                return path.resolve()
            if path.is_file():
                raise DataError(f"{path} is a file; --data takes the folder it is in")
        except (OSError, ValueError, RuntimeError) as error:  # too long, with a NUL, ~ of an unknown user
            raise DataError(f"no such folder: {text} ({error})") from None
    raise DataError(f"no such folder: {text} (nor in {paths.data_root()}, nor a data set: {', '.join(names)})")


def report_rejected(rejected: Sequence[str], count: int, notify: Callable[[str], None]) -> None:
    """Pass a line that sums up, and the first few files, to `notify`. count: files that could be used."""
    if not rejected:
        return
    notify(f"{len(rejected)} of {len(rejected) + count} files could not be read and are left out:")
    for line in rejected[:_SHOWN]:
        notify(f"  {line}")
    if len(rejected) > _SHOWN:
        notify(f"  ... and {len(rejected) - _SHOWN} more; facts.json of the run lists them")
