"""`toolkit train`: from the command line to a recipe and a folder, then the run, shown as it goes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli import complete
from toolkit.cli.console import notify, print_table, print_text
from toolkit.cli.modality_options import (
    declared_options,
    modality_names,
    parse_modality_options,
    string_options,
    value_of,
    words_of,
)
from toolkit.discovery import built_in
from toolkit.errors import DataError, ToolkitError, UsageError
from toolkit.modality import Options

if TYPE_CHECKING:
    from toolkit.recipe import Recipe


def train(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODALITY|RECIPE|FOLDER",
            help="Short for one of these options.",
            autocompletion=complete.things_to_train,
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.py",
            help=f"{', '.join(modality_names())}, a module, or a .py file.",
            autocompletion=complete.modalities,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="See toolkit recipes.", autocompletion=complete.recipes),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="FOLDER|NAME", help="What to learn from.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time for the whole run; as many steps as fit.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser, in place of minutes.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples a step.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: runs/NAME. An old one is resumed.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of the recipe; repeatable.",
            autocompletion=complete.settings,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the recipe and the plan; write nothing.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", autocompletion=complete.devices)] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; default: what is faster.")] = None,
) -> None:
    """Train from scratch; the same command again goes on where it stopped.

    `toolkit train image`, `toolkit train digits` and `toolkit train --data photos` are enough: what is not said is
    guessed, and the guess is printed. Every key of the recipe's data and model sections is an option too, such as
    --size 64 or --rate 16000: `toolkit train text --help` shows those of texts.
    """
    words, options = words_of([*([] if what is None else [what]), *context.args])
    if not words and modality is None and recipe is None and data is None:
        parse_modality_options(options, (), "no modality", declared_options(context))
        raise UsageError("say what to train: a modality, a recipe, or --data FOLDER (toolkit recipes lists recipes)")
    parse_modality_options(words[1:], (), "toolkit train", declared_options(context))
    from toolkit.recipe.guess import guess

    modality, recipe, data, line = guess(words[0] if words else None, modality, recipe, data)
    if line:
        notify(line)
    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps both fix the length; give one of them")
    changes: dict[str, Any] = {"train.batch": batch, "train.seed": seed}
    changes = {key: value for key, value in changes.items() if value is not None}
    if minutes is not None or steps is not None:
        changes |= {"train.minutes": minutes, "train.steps": steps}
    chosen = choose(modality, recipe, data, changes, pairs(settings or ()), options, declared_options(context))
    folder = out.expanduser() if out else Path("runs") / name_of(chosen, data)

    from toolkit.cli.progress import show
    from toolkit.recipe import dump
    from toolkit.run import prepare

    plan = prepare.prepare(chosen, folder, device, notify, threads)
    if dry_run:
        print_text(f"{dump(plan.recipe)}\n")
    print_table(plan.describe())
    if not dry_run:
        show(plan.run())


def further(typed: Sequence[str]) -> Iterator[tuple[str, type[Options]]]:
    """The options of the modality that a command line names, for its help. Raises UsageError."""
    from toolkit import recipe
    from toolkit.discovery import find
    from toolkit.recipe.guess import guess

    name, file = value_of("--modality", typed), value_of("--recipe", typed)
    words, _ = words_of(typed, {"dry_run", "help"})
    with suppress(ToolkitError):  # help is for those who do not know yet what to say
        name, file, *_ = guess(words[0] if words else None, name, file, value_of("--data", typed))
    if name is None and file is not None:
        name = recipe.load(file).modality
        if name not in built_in():
            return  # a recipe may be a stranger's, and its modality is code
    if name is not None:
        kind = find(name)
        yield f"{name}: which data", kind.Data
        yield f"{name}: which network", kind.Model


def choose(
    modality: str | None,
    name: str | None,
    data: str | None,
    changes: dict[str, Any],
    settings: dict[str, str],
    further: Sequence[str] = (),
    own: Sequence[str] = (),
) -> Recipe:
    """The recipe that these options mean.

    `changes` are typed values at dotted keys, `settings` text from --set, `further` what is left of the command line:
    options called like a key of the modality's [data] or [model] section; `own`: the command's own options.
    """
    from toolkit import recipe
    from toolkit.discovery import find

    if modality is not None and (modality.endswith(".py") or "/" in modality):
        modality = str(Path(modality).expanduser().resolve())  # a run must find it again from any folder
    source = None if data is None else source_of(data, recipe.list_recipes())
    if name is None:
        assert modality is not None
        found = _default(modality, data, source)
    else:
        found = recipe.load(name, modality)
        if modality is None and found.modality not in built_in():
            # a recipe may be a stranger's, and its modality is code: the user must have named it
            raise UsageError(f"recipe '{name}' runs code from '{found.modality}'; if you trust it, add --modality")
    if source is not None:
        found = recipe.replace(found, {"data.source": source})
    if further:
        kind = find(found.modality)
        sections = {name: f"model.{name}" for name in kind.Model.model_fields}
        sections |= {name: f"data.{name}" for name in kind.Data.model_fields if name != "source"}
        texts = string_options(kind.Model) | string_options(kind.Data)
        typed = parse_modality_options(further, sections, f"modality '{found.modality}'", own, texts)
        changes |= {sections[name]: value for name, value in typed.items()}
    found = recipe.override(recipe.replace(found, changes), settings)
    if found.name == "folder" and "source" not in found.data:
        raise UsageError("recipe 'folder' needs your data: --data FOLDER")
    return found


def source_of(data: str, known: Sequence[str]) -> str:
    """What --data means: an absolute path for a folder or file, or a name for the modality to look up.

    The name of a recipe's data set wins over a folder of that name, which is written ./NAME.
    """
    path = Path(data).expanduser()
    if data in {name.split("/")[1] for name in known}:
        return data
    if path.exists():
        return str(path.resolve())
    if data.startswith(("~", ".")) or os.sep in data or "/" in data:
        raise DataError(f"no such folder or file: {path}")
    return data


def _default(modality: str, data: str | None, source: str | None) -> Recipe:
    """Without --recipe: the one named like the data, the modality's one for folders, or the modality's default."""
    from toolkit import recipe
    from toolkit.discovery import find
    from toolkit.recipe.inherit import adopt, family

    wanted = "folder" if source is not None and Path(source).is_absolute() else data
    for known in family(modality):
        if f"{known}/{wanted}" in recipe.list_recipes(known):
            return recipe.load(f"{known}/{wanted}", modality)
    kind = find(modality)
    if isinstance(kind.default_recipe, str):
        named = recipe.load(kind.default_recipe)
        return named if named.modality == modality else adopt(named, modality)  # the class that was named is trained
    return recipe.from_mapping({"name": kind.name, **kind.default_recipe}, modality, modality)


def name_of(chosen: Recipe, data: str | None) -> str:
    """The run's folder below runs/: called after the user's own data, else after the recipe."""
    if data is None:
        return chosen.name
    stem = Path(data).expanduser().resolve().name
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip(".") or chosen.name


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """["train.lr=3e-4"] -> {"train.lr": "3e-4"}."""
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set takes KEY=VALUE, e.g. --set train.lr=3e-4, not '{setting}'")
        found[key.strip()] = value.strip()
    return found
