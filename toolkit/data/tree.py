"""Contents of a folder at any depth, in one order, whatever somebody has put there: nothing here raises.

A folder that may not be read, or be listed and not searched, is one line; so is one on a file system such as /proc,
whose files are no data and whose links lead everywhere. Links are followed, and each folder is read once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

AGAIN = "a link to a folder that is read elsewhere"
SYSTEM = "a folder of the system, which holds no data"
BROKEN = "broken link"
_OF_THE_SYSTEM = ("/proc", "/sys")


class TreeItem(NamedTuple):
    """A file, or a folder that is not read."""

    name: str
    """Path relative to the root, with forward slashes; "." is the root itself."""
    path: Path
    info: os.stat_result | None
    """Status of the file, or of what a link leads to; None where it cannot be had, and for folders."""
    problem: str = ""
    """Reason that a folder is not read, or a file cannot be looked at; "" where nothing is wrong."""


def walk(root: Path) -> Iterator[TreeItem]:
    """Yield all files under `root`, and the folders that are not read; names that begin with a dot are passed over."""
    system = {os.stat(place).st_dev for place in _OF_THE_SYSTEM if os.path.ismount(place)}
    visited: set[tuple[int, int]] = set()
    waiting = [""]  # a list and no recursion: a tree may be deeper than Python's stack
    top = os.fspath(root)
    while waiting:
        name = waiting.pop()
        folder = os.path.join(top, name) if name else top
        try:
            here = os.stat(os.path.join(folder, os.curdir))  # the dot inside needs the right to search
            if here.st_dev in system:
                yield TreeItem(name or ".", Path(folder), None, SYSTEM)
                continue
            if (here.st_dev, here.st_ino) in visited:  # a link back to a parent would never end
                yield TreeItem(name or ".", Path(folder), None, AGAIN)
                continue
            children = sorted(os.listdir(folder))
        except OSError as error:
            yield TreeItem(name or ".", Path(folder), None, _reason(error))
            continue
        visited.add((here.st_dev, here.st_ino))
        below = []
        for child in children:
            if child.startswith(".") or child == "__MACOSX":
                continue
            relative = f"{name}/{child}" if name else child
            path = os.path.join(folder, child)
            if os.path.isdir(path):
                below.append(relative)
                continue
            try:
                yield TreeItem(relative, Path(path), os.stat(path))
            except FileNotFoundError:
                yield TreeItem(relative, Path(path), None, BROKEN)
            except OSError as error:
                yield TreeItem(relative, Path(path), None, _reason(error))
        waiting += reversed(below)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
