"""Is the core right? Closed-form oracles and the checks on them, for `toolkit verify` and for the tests.

Importing this loads no torch; running a check does.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

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

    Raises UsageError when nothing is called that: at once when no check can be, before anything is measured.
    """
    groups = [only] if only in GROUPS else list(GROUPS)
    wanted = "" if only is None or only in GROUPS else only.lower()
    chosen = [
        function
        for group in groups
        for name, function in checks(group).items()
        # a row's name begins with the name of its function, so most that are not wanted need not run
        if name.lower().startswith(wanted.split(" ")[0]) or wanted in name.lower() or not _is_label(wanted)
    ]
    unknown = UsageError(f"no check is called '{only}'; groups: {', '.join(GROUPS)}; or part of a name, e.g. C1, unipc")
    if not chosen or not _may_be_named(wanted):
        raise unknown
    return _measured(chosen, wanted, unknown)


def _measured(functions: Iterable[Callable[[], Iterable[Check]]], wanted: str, unknown: UsageError) -> Iterator[Check]:
    count = 0
    for function in functions:
        for row in function():
            if wanted in row.name.lower():
                count += 1
                yield row
    if count == 0:
        raise unknown


def _may_be_named(wanted: str) -> bool:
    """Whether every word of `wanted` is written in the checks or in what they are about, which names are made from.

    The name itself is known when its check has run, and all of them take a while.
    """
    known = _words()
    return all(any(word in text for text in known) for word in re.findall(r"[a-z_]+", wanted))


@cache
def _words() -> frozenset[str]:
    """Every string and every class name in the modules of checks and in the core, in lower case."""
    here = Path(__file__).parent
    found = set()
    for path in [*here.glob("*.py"), *(here.parent / "diffusion").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                found.add(node.value.lower())
            elif isinstance(node, ast.ClassDef):
                found.add(node.name.lower())
    return frozenset(found)


def _is_label(text: str) -> bool:
    """Whether `text` begins like the label of an invariant: A1, c7, ..."""
    return len(text) >= 2 and text[0].isalpha() and text[1].isdigit()
