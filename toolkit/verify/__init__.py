"""Is the core right? Closed-form oracles and the checks on them, for `toolkit verify` and for the tests.

Importing this loads no torch; running a check does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator

from toolkit.errors import UsageError
from toolkit.verify.check import Check

GROUPS = ("schedules", "losses", "samplers", "exactness", "orders", "ends", "guidance", "windows", "likelihood")
"""Each is a module checks_<group> with CHECKS: a name for each function that yields rows."""

__all__ = ["GROUPS", "Check", "checks", "run_checks"]


def checks(group: str) -> dict[str, Callable[[], Iterable[Check]]]:
    """The functions of one group by name."""
    found: dict[str, Callable[[], Iterable[Check]]] = importlib.import_module(f"toolkit.verify.checks_{group}").CHECKS
    return found


def run_checks(only: str | None = None) -> Iterator[Check]:
    """Rows as they are measured: all, those of a group, or those whose name contains `only`. About 15 s on one core.

    Raises UsageError when nothing is called that.
    """
    groups = [only] if only in GROUPS else list(GROUPS)
    wanted = "" if only is None or only in GROUPS else only.lower()
    count = 0
    for group in groups:
        for name, function in checks(group).items():
            # a row's name begins with the name of its function, so most that are not wanted need not run
            if not (name.lower().startswith(wanted.split(" ")[0]) or wanted in name.lower()) and _is_label(wanted):
                continue
            for row in function():
                if wanted in row.name.lower():
                    count += 1
                    yield row
    if count == 0:
        raise UsageError(f"no check is called '{only}'; groups: {', '.join(GROUPS)}; or part of a name, e.g. C1, unipc")


def _is_label(text: str) -> bool:
    """Whether `text` begins like the label of an invariant: A1, c7, ..."""
    return len(text) >= 2 and text[0].isalpha() and text[1].isdigit()
