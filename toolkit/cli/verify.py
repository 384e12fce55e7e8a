"""`toolkit verify`: the core's self-check, as a table of measured and expected numbers; and of anybody's bound."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from toolkit.cli import complete
from toolkit.cli.console import AsJson, print_result
from toolkit.console import console
from toolkit.errors import UsageError

app = typer.Typer(
    help="Measure every formula of the core against a closed form; exit 1 if one is wrong.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def verify(
    context: typer.Context,
    only: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A group, or part of a name: C1, unipc.", autocompletion=complete.checks),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure every formula of the core against a closed form; exit 1 if one is wrong."""
    if context.invoked_subcommand is not None:
        if only is not None:
            raise UsageError(f"--only chooses among the core's own checks, and '{context.invoked_subcommand}' is none")
        if as_json:
            raise UsageError(f"write --json behind '{context.invoked_subcommand}'")
        return
    from rich.text import Text

    from toolkit.verify import run_checks

    checks = []
    with console(stderr=as_json).status("checking") as status:
        for check in run_checks(only):
            checks.append(check)
            status.update(Text(f"checking: {len(checks)} done, last: {check.name}"))
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
    wrong = sum(not check.ok for check in checks)
    content = {"right": len(checks) - wrong, "wrong": wrong, "checks": [asdict(check) for check in checks]}
    print_result(as_json, content, rows, ("check", "measured", "expected", "", "note"))
    if not as_json:
        print(f"\n{len(checks) - wrong} right, {wrong} wrong")
    if wrong:
        raise typer.Exit(1)


@app.command()
def bound(
    model: Annotated[
        str, typer.Option(metavar="MODULE", help="A .py file or a module with denoiser(source); it is run.")
    ],
    as_json: AsJson = False,
) -> None:
    """Compare the bound of a denoiser of yours with sources of known entropy; exit 1 if it is below one.

    MODULE defines denoiser(source), which returns a toolkit.diffusion.Denoiser; docs/evaluation.md has an example.
    """
    from rich.text import Text

    from toolkit.verify.audit import audits

    with console(stderr=as_json).status("measuring"):
        results = list(audits(model))
    rows = [
        (
            one.source,
            f"{one.bits:.3f}",
            f"{one.truth:.3f}",
            f"{one.entropy:.3f}",
            f"{one.excess:+.3f} +- {one.error:.3f}",
            Text("a bound", "green") if one.holds else Text("BROKEN", "bold red"),
            "" if one.same else "says something else of the same x_t when asked again",
        )
        for one in results
    ]
    audited = [{**one._asdict(), "excess": one.excess, "holds": one.holds} for one in results]
    print_result(as_json, {"sources": audited}, rows, ("source", "bound", "these rows", "entropy", "above", "", ""))
    broken = [one.source for one in results if not one.holds]
    if broken and not as_json:
        print(f"\nno bound for {', '.join(broken)}: what this denoiser says depends on more than x_t")
    elif not as_json:
        print("\nnowhere below the entropy; bits a symbol, of items with their lengths, +- one standard error")
    if broken:
        raise typer.Exit(1)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
