"""`toolkit data`: look at a folder before training on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli import complete
from toolkit.cli.console import AsJson, notifier, print_result
from toolkit.cli.modality_options import declared_options, value_of, with_help
from toolkit.console import duration
from toolkit.data import remembered
from toolkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from toolkit.modality import Options
    from toolkit.recipe import Recipe

app = typer.Typer(help="Look at your own data before training on it.", no_args_is_help=True)
MORE = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.callback()
def _group() -> None:
    pass


def _further(typed: Sequence[str]) -> Iterator[tuple[str, type[Options]]]:
    """The data options of the modality that a command line names, for its help."""
    from toolkit.discovery import find

    if (name := value_of("--modality", typed)) is not None:
        yield f"{name}: which data", find(name).Data


@app.command(cls=with_help(_further), context_settings=MORE)
def inspect(
    context: typer.Context,
    folder: Annotated[
        str, typer.Argument(help="A folder of files to learn from, a file of text, or the name of a data set.")
    ],
    modality: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.py", help="What the files are; default: as their endings say.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="The recipe to train by; default: folder of the modality.", autocompletion=complete.recipes),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe; repeatable.")
    ] = None,
    estimate: Annotated[bool, typer.Option(help="Time a few training steps to say how long it will take.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show what training would understand of a folder, what it would leave out, and the command that trains on it.

    It reads as `toolkit train` does and takes the same options of the data, such as --size 64 or --labels none.
    The second time nothing is read again, unless a file or an option has changed.
    """
    from toolkit.data.understood import Understood, table

    say = notifier(as_json)
    path = Path(folder).expanduser()
    asked = [folder, str(modality), str(recipe), str(settings), str(estimate), *context.args]
    code = [Path(name).expanduser() for name in (modality, recipe) if name and os.path.isfile(os.path.expanduser(name))]
    key = remembered.key(path, asked, code) if os.path.exists(path) else None
    content = remembered.load(key) if key else None
    if content is None:
        content = _inspection(folder, modality, recipe, settings or [], context, estimate, say)
        if key:
            remembered.save(key, content)
    print_result(as_json, content, table(Understood(rows=content["rows"])))


def _inspection(
    folder: str,
    modality: str | None,
    name: str | None,
    settings: list[str],
    context: typer.Context,
    estimate: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return what is printed: the block, the proposals and the command. Raises UsageError, DataError."""
    from toolkit import paths
    from toolkit import recipe as recipes
    from toolkit.cli.train import choose, pairs
    from toolkit.evaluation.folders import guess
    from toolkit.recipe import guess as guesses
    from toolkit.recipe import trust
    from toolkit.recipe.choose import change

    path = Path(folder).expanduser()
    if modality is None:
        if not os.path.exists(path) and not any(full.endswith(f"/{folder}") for full in recipes.list_recipes()):
            raise DataError(f"no such folder or file: {folder}")
        modality = guess(path) if os.path.exists(path) else guesses.modality_of(folder)[0]
    values = pairs(settings)
    chosen = choose(modality, name, folder, {}, values, context.args, declared_options(context))
    kind = trust.modality_of(chosen)
    if "source" not in kind.Data.model_fields:
        raise UsageError(f"modality '{modality}' reads no folders: its data has no option 'source'")
    opened = kind(*recipes.validate_for(chosen, kind))
    opened.open(paths.cache(), say)
    assert opened.splits is not None
    understood = opened.splits.understood
    options = (argument[2:].partition("=")[0] for argument in context.args if argument.startswith("--"))
    typed = {option.replace("-", "_") for option in options}
    proposals = {
        key: value
        for key, value in understood.proposals.items()
        if key not in values and key.split(".")[1] not in typed
    }
    rows = [row.model_dump(mode="json") for row in understood.rows]
    if estimate:
        rows.append(_row("time", _estimate(change(chosen, proposals), say)))
    command = _command(folder, modality, name, context.args, settings, proposals)
    rows.append(_row("to train", command))
    return {
        "path": folder,
        "modality": modality,
        "rows": rows,
        "changes": proposals,
        "command": command,
    }


def _row(name: str, value: str) -> dict[str, Any]:
    from toolkit.data.understood import Row

    return Row(name=name, value=value).model_dump(mode="json")


def _command(
    folder: str, modality: str, recipe: str | None, args: Sequence[str], settings: list[str], proposals: dict[str, Any]
) -> str:
    """Return the command line that trains as proposed, and as was asked for."""
    import shlex

    data = folder
    path = Path(folder)
    if os.path.exists(path) and not path.is_absolute() and not folder.startswith((".", "~")):
        data = f"./{folder}"  # "drums" alone would be the data set of that name
    parts = ["toolkit", "train", "--modality", modality, "--data", data, *(["--recipe", recipe] if recipe else [])]
    for key, value in proposals.items():
        section, _, name = key.partition(".")
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts += [f"--{name}", text] if section in ("data", "model") else ["--set", f"{key}={text}"]
    for setting in settings:
        parts += ["--set", setting]
    return shlex.join([*parts, *args])


def _estimate(recipe: Recipe, say: Callable[[str], None]) -> str:
    """Estimate the training from a few real steps on the proposed recipe."""
    import tempfile

    from toolkit.run import prepare

    with tempfile.TemporaryDirectory() as nowhere:
        plan = prepare.prepare(recipe, Path(nowhere) / "run", None, say)
    a_second = plan.probe.steps_per_second * plan.recipe.train.batch
    count = plan.modality.facts.count
    passes = plan.course.steps * plan.recipe.train.batch / max(1, count)
    minutes = plan.recipe.train.minutes
    length = f"the {minutes:g} minutes" if minutes else f"the {plan.course.steps:,} steps"
    warning = next((row.value for row in plan.understood().rows if row.name == "passes" and row.warning), "")
    return (
        f"{a_second:.0f} examples/s on this machine: one pass over {count:,} takes {duration(count / a_second)}; "
        f"{length} of recipe '{recipe.name}' make {passes:.0f} passes"
        + (f": {warning.partition('; ')[2]}" if warning else "")
    )
