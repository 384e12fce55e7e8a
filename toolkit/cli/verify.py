"""`toolkit verify`: the core's self-check, as a table of measured and expected numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.cli.console import console, print_table


def verify(
    only: Annotated[str | None, typer.Option(metavar="TEXT", help="A group, or part of a name: C1, unipc.")] = None,
) -> None:
    """Measure every formula of the core against a closed form; exit 1 if one is wrong."""
    from rich.text import Text

    from toolkit.verify import run_checks

    checks = []
    with console().status("checking") as status:
        for check in run_checks(only):
            checks.append(check)
            status.update(f"checking: {len(checks)} done, last: {check.name}")
    rows = [
        (
            c.name,
            _text(c.measured),
            _text(c.expected),
            Text("ok", "green") if c.ok else Text("WRONG", "bold red"),
            c.note,
        )
        for c in checks
    ]
    print_table(rows, ("check", "measured", "expected", "", "note"))
    wrong = sum(not check.ok for check in checks)
    print(f"\n{len(checks) - wrong} right, {wrong} wrong")
    if wrong:
        raise typer.Exit(1)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
