"""`toolkit data`: look at a folder before training on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.cli.console import AsJson, notifier, print_result, print_table
from toolkit.console import duration
from toolkit.errors import DataError, UsageError

app = typer.Typer(help="Look at your own data before training on it.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="A folder of files to learn from, or a file of text.")],
    modality: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.py", help="What the files are; default: as their endings say.")
    ] = None,
    estimate: Annotated[bool, typer.Option(help="Time a few training steps to say how long it will take.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show what is in a folder, what is wrong with it, and which command trains on it."""
    from toolkit.discovery import find
    from toolkit.evaluation.folders import guess

    folder = folder.expanduser()
    if not folder.exists():
        raise DataError(f"no such folder or file: {folder}")
    modality = modality or guess(folder)
    kind = find(modality)
    inspect_folder = kind.inspector()
    if inspect_folder is None:
        raise UsageError(f"modality '{modality}' cannot inspect folders")
    say = notifier(as_json)
    inspection = inspect_folder(folder, say)
    if not as_json:
        print_table(inspection.rows)
    times = [("time", _estimate(modality, folder, inspection.changes, say))] if estimate else []
    rows = [{"name": name, "value": value} for name, value in (*inspection.rows, *times)]
    content = {"path": str(folder), "modality": modality, "rows": rows, "changes": inspection.changes}
    print_result(as_json, content, times)


def _estimate(modality: str, folder: Path, changes: dict[str, Any], say: Callable[[str], None]) -> str:
    """From a few real training steps on the proposed recipe."""
    import tempfile

    from toolkit.cli.train import choose
    from toolkit.run import prepare

    recipe = choose(modality, None, str(folder), changes, {})
    with tempfile.TemporaryDirectory() as nowhere:
        plan = prepare.prepare(recipe, Path(nowhere) / "run", None, say)
    a_second = plan.probe.steps_per_second * plan.recipe.train.batch
    count = plan.modality.facts.count
    minutes = plan.recipe.train.minutes or 0
    passes = a_second * 60 * minutes / max(1, count)
    return (
        f"{a_second:.0f} examples/s on this machine: one pass over {count:,} takes {duration(count / a_second)}; "
        f"the {minutes:g} minutes of recipe '{recipe.name}' make {passes:.0f} passes"
    )
