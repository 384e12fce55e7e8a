"""Errors a user can act on. The command line prints them as one line and exits with `exit_code`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ToolkitError(Exception):
    """An error in one line: what was wrong, where, and what to do about it."""

    exit_code = 1


class UsageError(ToolkitError):
    """The command, recipe or argument asks for something that does not exist."""

    exit_code = 2


class DataError(ToolkitError):
    """A data set is missing, empty or unreadable."""

    exit_code = 66


class StorageError(ToolkitError):
    """A file could not be written; everything written before is intact."""

    exit_code = 74


class NotFiniteError(ToolkitError):
    """A checkpoint would hold NaN or infinity, and was not written."""

    exit_code = 76


class BusyError(ToolkitError):
    """Another process is using the run folder."""

    exit_code = 75


class DivergedError(ToolkitError):
    """Training produced non-finite numbers and could not recover."""

    exit_code = 76


class Interrupted(ToolkitError):
    """Training was asked to stop by a signal, and everything is saved. The exit code is 128 + its number."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    if near:
        hint = f"did you mean '{near[0]}'?"
    else:
        hint = "known: " + ", ".join(names) if names else "there is none here"
    return UsageError(f"unknown {kind} '{name}'; {hint}")
