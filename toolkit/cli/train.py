"""`toolkit train`: from the command line to a recipe and a folder, then the run, shown as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli import complete
from toolkit.cli.console import print_table, print_text
from toolkit.cli.modality_options import (
    declared_options,
    modality_names,
    parse_modality_options,
    string_options,
    value_of,
    words_of,
)
from toolkit.console import notify
from toolkit.errors import ToolkitError, UsageError
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
    follow_data: Annotated[
        bool, typer.Option("--follow-data", help="Go on with a run whose data has changed since it began.")
    ] = False,
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
    parse_modality_options(words[1:], (), "toolkit train", declared_options(context))
    from toolkit.data.understood import table
    from toolkit.recipe import dump
    from toolkit.recipe.choose import length, name_of
    from toolkit.recipe.guess import guess

    modality, recipe, data, line = guess(words[0] if words else None, modality, recipe, data)
    if line:
        notify(line)
    changes: dict[str, Any] = {"train.batch": batch, "train.seed": seed}
    changes = {key: value for key, value in changes.items() if value is not None} | length(minutes, steps)
    chosen = choose(modality, recipe, data, changes, pairs(settings or ()), options, declared_options(context))
    folder = out.expanduser() if out else Path("runs") / name_of(chosen, data)

    from toolkit.run.prepare import prepare
    from toolkit.run.show import show

    plan = prepare(chosen, folder, device, notify, threads, follow_data=follow_data)
    if dry_run:
        print_text(f"{dump(plan.recipe)}\n")
    print_table(table(plan.understood()))
    print_table(plan.describe())
    if not dry_run:
        show(plan)


def further(typed: Sequence[str]) -> Iterator[tuple[str, type[Options]]]:
    """The options of the modality that a command line names, for its help. Raises UsageError."""
    from toolkit import recipe
    from toolkit.discovery import find
    from toolkit.recipe.guess import guess
    from toolkit.recipe.trust import may_run

    name, file = value_of("--modality", typed), value_of("--recipe", typed)
    words, _ = words_of(typed, {"dry_run", "help"})
    with suppress(ToolkitError):  # help is for those who do not know yet what to say
        name, file, *_ = guess(words[0] if words else None, name, file, value_of("--data", typed))
    if name is None and file is not None:
        named = recipe.load(file)
        name = named.modality if may_run(named) else None
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
    """Return the recipe that these options mean.

    `changes` are typed values at dotted keys, `settings` text from --set, `further` what is left of the command line:
    options called like a key of the modality's [data] or [model] section; `own`: the command's own options.
    """
    from toolkit.recipe import choose, trust, typed

    recipe = choose.start_from(name, modality, data)
    if further:
        kind = trust.modality_of(recipe)
        keys, texts = choose.keys_of(recipe), string_options(kind.Model) | string_options(kind.Data)
        values = parse_modality_options(further, keys, f"modality '{recipe.modality}'", own, texts)
        changes = changes | {keys[name]: value for name, value in values.items()}
    return choose.change(recipe, changes | {key: typed(value) for key, value in settings.items()})


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """["train.lr=3e-4"] -> {"train.lr": "3e-4"}."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set takes KEY=VALUE, e.g. --set train.lr=3e-4, not '{setting}'")
        values[key.strip()] = value.strip()
    return values
