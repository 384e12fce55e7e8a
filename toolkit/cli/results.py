"""`toolkit results`: what was measured of the shipped recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import DataError


def results(
    write: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Rewrite the tables between their markers.")
    ] = None,
    section: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Print an evaluated run as the [expected] section of a recipe.")
    ] = None,
) -> None:
    """Print, as a Markdown table, what every recipe came to when it was measured; `toolkit reproduce` does it again."""
    from toolkit.evaluation import results as measured

    if section is not None:
        print(measured.section(section.expanduser()), end="")
        return
    if write is None:
        print(measured.markdown(measured.shipped()) or "no recipe says yet what was measured")
        return
    from toolkit.training.storage.files import write_text_atomic

    path = write.expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    new = measured.rewritten(text, measured.shipped(), str(path))
    if new != text:
        write_text_atomic(path, new)
    print(f"{path}: {'rewritten' if new != text else 'up to date'}")
