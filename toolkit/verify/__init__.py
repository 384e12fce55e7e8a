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
"""Groups of checks. Each is a module checks_<group> with CHECKS: functions that yield rows, by name."""

__all__ = ["GROUPS", "Check", "checks", "run_checks"]


def checks(group: str) -> dict[str, Callable[[], Iterable[Check]]]:
    """Return the functions of one group by name."""
    table: dict[str, Callable[[], Iterable[Check]]] = importlib.import_module(f"toolkit.verify.checks_{group}").CHECKS
    return table


def run_checks(only: str | None = None) -> Iterator[Check]:
    """Measure all rows, those of a group, or those whose name contains `only`. About 15 s on one core.

    Raises UsageError when no row has that name: before any measurement, when no check can have it.
    """
    groups = [only] if only in GROUPS else list(GROUPS)
    part = "" if only is None or only in GROUPS else only.lower()
    functions = [
        function
        for group in groups
        for name, function in checks(group).items()
        # a row's name begins with the name of its function, so most functions without such rows need not run
        if name.lower().startswith(part.split(" ")[0]) or part in name.lower() or not _is_label(part)
    ]
    unknown = UsageError(f"no check is called '{only}'; groups: {', '.join(GROUPS)}; or part of a name, e.g. C1, unipc")
    if not functions or not _may_be_named(part):
        raise unknown
    return _rows(functions, part, unknown)


def _rows(functions: Iterable[Callable[[], Iterable[Check]]], part: str, unknown: UsageError) -> Iterator[Check]:
    count = 0
    for function in functions:
        for row in function():
            if part in row.name.lower():
                count += 1
                yield row
    if count == 0:
        raise unknown


def _may_be_named(part: str) -> bool:
    """Return True where every word of `part` occurs in the sources that names of rows are made from.

    The names themselves exist only after their checks have run, which takes a while.
    """
    texts = _words()
    return all(any(word in text for text in texts) for word in re.findall(r"[a-z_]+", part))


@cache
def _words() -> frozenset[str]:
    """Return every string and every class name in the modules of checks and in the core, in lower case."""
    here = Path(__file__).parent
    words = set()
    for path in [*here.glob("*.py"), *(here.parent / "diffusion").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                words.add(node.value.lower())
            elif isinstance(node, ast.ClassDef):
                words.add(node.name.lower())
    return frozenset(words)


def _is_label(text: str) -> bool:
    """Return True where `text` begins like the label of a check: A1, c7, ..."""
    return len(text) >= 2 and text[0].isalpha() and text[1].isdigit()
