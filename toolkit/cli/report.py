"""`toolkit report`: a run as one page to look at and a model card to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import complete
from toolkit.console import notify


def report(
    run: Annotated[Path, typer.Argument(help="The run's folder, e.g. runs/digits.", autocompletion=complete.runs)],
    license: Annotated[
        str, typer.Option(metavar="NAME", help="Of the model, for the card: mit, cc-by-4.0, ...")
    ] = "unknown",
) -> None:
    """Write RUN/report.html, which opens offline in any browser, and RUN/README.md, a model card.

    Works while the run is still training. A README.md of your own stays as it is.
    """
    from toolkit.report import report as write

    for what, path in zip(("page", "card"), write(run, license, notify), strict=True):
        notify(f"{what}: {path}")
