"""`toolkit reproduce`: train a recipe as it is, and say whether the figures come out that it expects."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import complete
from toolkit.cli.console import print_table
from toolkit.cli.modality_options import declared_options, parse_modality_options
from toolkit.console import notify
from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.evaluation.reproduce import Reproduction
    from toolkit.recipe import Recipe
    from toolkit.run.train import TrainingRun

CHANGES = (
    *("--minutes", "--steps", "--set", "--batch", "--seed", "--data", "-n"),
    *("--guidance", "--sampler", "--restarts", "--ema"),
)
"""Options of other commands that would make it another recipe."""
HOME = Path("runs") / "reproduce"


def reproduce(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE.toml", help="See toolkit recipes.", autocompletion=complete.recipes),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A small network for a minute, with figures of its own to compare with.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --smoke: every recipe that has one.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Default: {HOME}/NAME-... An old one is resumed.")
    ] = None,
    modality: Annotated[str | None, typer.Option(metavar="FILE.py", help="For a recipe of your own modality.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", autocompletion=complete.devices)] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
) -> None:
    """Train a recipe as it is, evaluate it, and compare with the figures that were measured before.

    The last line says pass or falls short; the exit code is 0 or 1. A recipe that is made for so many minutes takes the
    steps of the measured run, which is longer on a slower machine. The same command again goes on where it stopped.
    """
    for word in context.args:
        if word.partition("=")[0] in CHANGES:
            raise UsageError(
                f"{word.partition('=')[0]} would make it another recipe, with no figures to compare with: toolkit train"
            )
    parse_modality_options(context.args, (), "toolkit reproduce", declared_options(context))
    if every and (not smoke or recipe is not None or out is not None):
        raise UsageError("--all goes with --smoke, without a recipe and without --out")
    if recipe is None and not every:
        raise UsageError("which recipe? toolkit reproduce image/digits (toolkit recipes lists them)")
    from toolkit.recipe.choose import start_from

    chosen = _with_a_smoke() if every else [start_from(str(recipe), modality)]

    import torch

    from toolkit.device import pick
    from toolkit.evaluation.reproduce import target_of

    pick(device)
    for one in chosen:  # all are looked at before the first is trained, which takes long
        target_of(one, smoke)
    if threads is not None:
        torch.set_num_threads(threads)
    results = [_one(one, out.expanduser() if out else folder(one, smoke), smoke, device, threads) for one in chosen]
    for result in results:
        notify(result.line)
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def folder(recipe: Recipe, smoke: bool) -> Path:
    """Return the run's folder: one for each version of a recipe, to be resumed; a new one for each smoke."""
    from toolkit.evaluation.reproduce import target_of
    from toolkit.recipe import MEASURED, dump, replace

    if smoke:
        return HOME / f"{recipe.name}-smoke-{datetime.now():%Y%m%d-%H%M%S}"
    trained = replace(target_of(recipe)[0], dict.fromkeys(MEASURED))
    return HOME / f"{recipe.name}-{hashlib.sha256(dump(trained).encode()).hexdigest()[:6]}"


def _one(recipe: Recipe, out: Path, smoke: bool, device: str | None, threads: int | None) -> Reproduction:
    from toolkit.evaluation.reproduce import FILE, reproduce
    from toolkit.run.show import show

    def train(plan: TrainingRun) -> None:
        print_table(plan.describe())
        show(plan)

    result = reproduce(recipe, out, smoke, device, notify, train, threads)
    rows = [(row.figure.name, row.band.text, row.value_text, row.verdict, row.note) for row in result.rows]
    print_table(rows, ("figure", "expected", "measured (95 % interval)", "", ""))
    notify(f"figures: {out / 'evaluation' / FILE}")
    return result


def _with_a_smoke() -> list[Recipe]:
    from toolkit import recipe

    return [one for one in map(recipe.load, recipe.list_recipes()) if one.smoke.figures]
