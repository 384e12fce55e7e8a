"""`toolkit results`: what was measured of the shipped recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import complete
from toolkit.cli.console import AsJson, print_result, print_text
from toolkit.console import notify
from toolkit.errors import DataError, UsageError


def results(
    write: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Rewrite the tables between their markers.")
    ] = None,
    section: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Print an evaluated run as the [expected] section of a recipe.",
            autocompletion=complete.runs,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print, as a Markdown table, what every recipe came to when it was measured; `toolkit reproduce` does it again."""
    if section is not None and write is not None:
        raise UsageError("--section prints and --write rewrites a file; give one of them")
    if as_json and (section is not None or write is not None):
        raise UsageError("--json prints the table of all recipes; leave out --section and --write")
    from toolkit.evaluation import results as measured

    if as_json:
        known = [(name, recipe.expected) for name, recipe in measured.shipped_recipes() if recipe.expected.figures]
        content = [{"name": name, **expected.model_dump(mode="json")} for name, expected in known]
        print_result(True, {"recipes": content}, ())
        return

    if section is not None:
        print_text(measured.section(section.expanduser()))
        return
    if write is None:
        table = measured.markdown(measured.shipped_recipes())
        print_text(f"{table or 'no recipe says yet what was measured'}\n")
        return
    from toolkit.training.storage.files import write_text_atomic

    path = write.expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    new = measured.rewritten(text, measured.shipped_recipes(), str(path))
    if new != text:
        write_text_atomic(path, new)
    notify(f"{path}: {'rewritten' if new != text else 'up to date'}")
