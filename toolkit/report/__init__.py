"""One self-contained HTML page and one model card for a run folder, whoever's it is: nothing in it is run or believed.

facts.py (with reading.py, figures.py)  what the folder says
page.py (with pieces.py, curves.py, media.py, inlay.py, style.py)  the page
card.py  README.md
words.py  the sentences and commands of both; tags.py  HTML that escapes
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path

from toolkit.report.card import card, ours
from toolkit.report.facts import CARD, PAGE, gather
from toolkit.report.page import page
from toolkit.report.run_files import content
from toolkit.training.storage.files import write_text_atomic


def report(run: str | Path, license: str = "unknown", notify: Callable[[str], None] = print) -> list[Path]:
    """Write run/report.html and run/README.md, and return their paths, the page first.

    A README.md that somebody wrote or changed by hand stays; then the card goes to model-card.md (or -2.md ...),
    which `notify` is told.
    Raises UsageError when `run` is no run folder or `license` no identifier, StorageError when it cannot be written.
    """
    facts = gather(Path(run))
    text = card(facts, license)
    target = _free(facts.run)
    if target.name != CARD:
        notify(f"{facts.run / CARD} is not as this command wrote it and stays; the card is in {target.name}")
    paths = [facts.run / PAGE, target]
    write_text_atomic(paths[0], page(facts))
    write_text_atomic(paths[1], text)
    return paths


def _free(run: Path) -> Path:
    """Where a card may be written: no file yet, or one that is a card of ours and unchanged."""
    names = chain((CARD, "model-card.md"), (f"model-card-{i}.md" for i in count(2)))
    return next(path for path in map(run.joinpath, names) if not os.path.lexists(path) or _ours(run, path))


def _ours(run: Path, path: Path) -> bool:
    return ours((content(run, path) or b"").decode("utf-8", "replace"))
