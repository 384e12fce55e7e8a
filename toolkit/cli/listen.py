"""`toolkit listen`: hear, see or read two runs side by side with what is real, and judge them blind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli import complete
from toolkit.cli.compare import Steps, Widths, name_of, pair, width_of
from toolkit.cli.sample import step_of
from toolkit.console import notify
from toolkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from toolkit.run.generator import Generator

FOLDER = "listening"
"""Folder in the first run that has the pages."""


def listen(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="A [B]", help="One or two runs, e.g. runs/drums.", autocompletion=complete.runs),
    ],
    n: Annotated[int, typer.Option("-n", min=1, max=500, help="Rows: samples of each run.")] = 24,
    label: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Only these labels, in turn; otherwise all of them.")
    ] = None,
    real: Annotated[bool, typer.Option("--real/--no-real", help="Put real examples beside them.")] = True,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler, of both.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Of both; otherwise as each recipe says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise, and of which real ones.")] = 0,
    ema: Widths = None,
    step: Steps = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help=f"Default: A/{FOLDER}/B.html, or real.html.")
    ] = None,
    modality: Annotated[str | None, typer.Option(metavar="FILE.py", help="For runs of your own modality.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", autocompletion=complete.devices)] = None,
) -> None:
    """One page: the same label and noise side by side, with real examples, and blind tests that count the answers.

    Sounds change over without a gap. A blind test says how many answers were right, with its 95 % interval: half of
    them would be by guessing. Pictures and texts stand side by side in the same way. The page needs no network.
    """
    if len(runs) > 2:
        raise UsageError(f"one or two runs, not {len(runs)}")
    if len(runs) == 1 and not real:
        raise UsageError("one run and nothing real: there is nothing to compare; name a second run")
    paths = [run.expanduser() for run in runs]
    place = (out or paths[0] / FOLDER / f"{paths[1].resolve().name if len(paths) > 1 else 'real'}.html").expanduser()
    if place.is_dir() or place.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {place}: name a file that ends in .html")

    import toolkit
    from toolkit.report import beside
    from toolkit.run.layout import refuse_links
    from toolkit.training.storage.files import make_folder, write_text_atomic

    refuse_links(paths[0], place.parent)
    widths, at = pair(ema, "--ema"), pair(step, "--step")
    generators = [
        toolkit.load(run, device, width_of(width), step_of(which), notify, modality)
        for run, width, which in zip(paths, widths, at, strict=False)
    ]
    names = [name_of(run, width, which) for run, width, which in zip(paths, widths, at, strict=False)]
    if real:
        generators = [_with_data(generator, name) for generator, name in zip(generators, names, strict=True)]
    sides = [beside.Side(side, name) for side, name in zip("AB", names, strict=False)]
    if splits := generators[0].modality.splits:
        sides.append(beside.Side(beside.REAL, f"{splits.source}, held-out examples first"))
    if len(sides) == 1:
        raise UsageError("without real examples there is nothing to compare; name a second run")
    how: dict[str, Any] = {"steps": steps, "guidance": guidance}
    rows = beside.rows_of(generators, n, seed, label, how, notify)
    make_folder(place.parent)
    write_text_atomic(place, beside.page(" and ".join(names), sides, rows, seed))
    notify(f"page: {place}")


def _with_data(generator: Generator, name: str) -> Generator:
    """Return a run with its data open, or as it is, with a line, where that cannot be read or does not fit it."""
    from toolkit import paths
    from toolkit.run.data_block import changes

    opened = generator.fresh_modality()
    try:
        opened.open(paths.cache(), notify)
        if changed := changes(generator.modality.facts, opened.facts):
            notify(f"the data changed since {name} was made ({', '.join(changed)}); real ones are of what there is now")
        return generator.on(opened)
    except DataError as error:
        notify(f"without real examples of {name}: {error}")
        return generator
