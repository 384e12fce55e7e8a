"""`toolkit recipes`: list, show and copy what is shipped."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import complete
from toolkit.cli.console import AsJson, print_result, print_text
from toolkit.console import notify, visible
from toolkit.errors import StorageError, UsageError

app = typer.Typer(help="List, show and copy recipes.", invoke_without_command=True)
Name = Annotated[
    str,
    typer.Argument(
        help="As listed: image/mnist, or mnist where only one modality has it.", autocompletion=complete.recipes
    ),
]


@app.callback()
def _bare(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_(as_json)
    elif as_json:
        raise UsageError(f"toolkit recipes --json lists; --json is no option before '{context.invoked_subcommand}'")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every recipe, with the minutes it is made for."""
    from toolkit import recipe

    loaded = {name: recipe.load(name) for name in recipe.list_recipes()}
    content = [
        {
            "name": name,
            "modality": one.modality,
            "description": one.description,
            "minutes": one.train.minutes,
            "steps": one.train.steps,
        }
        for name, one in loaded.items()
    ]
    minutes = {name: f"{one.train.minutes:g}" if one.train.minutes else "" for name, one in loaded.items()}
    rows = [(name, one.description, minutes[name]) for name, one in loaded.items()]
    print_result(as_json, {"recipes": content}, rows, ("recipe", "what it trains", "minutes"))
    if not as_json:
        print("\nTrain one: toolkit train --recipe NAME     read one: toolkit recipes show NAME")


@app.command()
def show(name: Name) -> None:
    """Print a recipe as it is on disk, with its comments; control characters, which TOML forbids, are written out."""
    from toolkit import recipe

    print_text(visible(_read(recipe.locate(name))))


@app.command()
def copy(name: Name, destination: Annotated[Path, typer.Argument(help="A new file, or a folder.")]) -> None:
    """Copy a recipe to edit; then `toolkit train --recipe FILE`."""
    from toolkit import recipe

    source = recipe.locate(name)
    target = destination.expanduser()
    if target.is_dir():
        target = target / source.name
    if target.suffix != ".toml":
        raise UsageError(f"{target}: a recipe's file ends in .toml; and a folder must exist already")
    text = _read(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} exists already; choose another name or remove it") from None
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from None
    notify(str(target))
    notify(f"Train it: toolkit train --recipe {shlex.quote(str(target))}")


def _read(path: Path) -> str:
    """Return the text of a recipe's file, which may be anybody's. Raises UsageError."""
    from toolkit.recipe import MAX_BYTES
    from toolkit.training.storage.files import read_capped

    try:
        return read_capped(path, MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read recipe {path}: {getattr(error, 'strerror', None) or error}") from None
