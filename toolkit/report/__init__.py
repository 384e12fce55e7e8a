"""One self-contained HTML page and one model card for a run folder, whoever's it is: nothing in it is run or believed.

facts.py (with run_files.py, figures.py)                        what the folder says
page.py (with sections.py, curves.py, media.py, embed.py, style.py)  the page
card.py                                                         README.md
text.py   the sentences and commands of both;  html.py   HTML that escapes;  mark.py   whether a file is ours
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path

from toolkit.report.card import card, check_license
from toolkit.report.facts import CARD, PAGE, gather
from toolkit.report.mark import mark, ours
from toolkit.report.page import GENERATOR, page
from toolkit.report.run_files import content, damaged_lines
from toolkit.run.layout import METRICS
from toolkit.training.storage.files import write_text_atomic
from toolkit.training.storage.metrics import damage_line


def report(run: str | Path, license: str = "unknown", notify: Callable[[str], None] = print) -> list[Path]:
    """Write run/report.html and run/README.md, and return their paths, the page first.

    A file of that name that somebody wrote or changed by hand stays. Then the page goes to report-2.html (or -3), the
    card to model-card.md (or -2), which `notify` is told.
    Raises UsageError when `run` is no run folder or `license` no identifier, StorageError when it cannot be written.
    """
    check_license(license)
    facts = gather(Path(run), notify)
    if damaged := damaged_lines(facts.run):
        notify(damage_line(damaged, facts.run / METRICS))
    pages = chain((PAGE,), (f"report-{i}.html" for i in count(2)))
    cards = chain((CARD, "model-card.md"), (f"model-card-{i}.md" for i in count(2)))
    texts = {_free(facts.run, pages): mark(page(facts)), _free(facts.run, cards): card(facts, license)}
    for (path, text), name, what in zip(texts.items(), (PAGE, CARD), ("page", "card"), strict=True):
        if path.name != name:
            notify(f"{facts.run / name} is not as this command wrote it and stays; the {what} is in {path.name}")
        write_text_atomic(path, text)
    return list(texts)


def _free(run: Path, names: Iterable[str]) -> Path:
    """Return a path that may be written: the first name that no file has yet, or one of ours, unchanged."""
    return next(path for path in map(run.joinpath, names) if not os.path.lexists(path) or _ours(run, path))


def _ours(run: Path, path: Path) -> bool:
    text = (content(run, path) or b"").decode("utf-8", "replace")
    return ours(text) or (GENERATOR in text and "<!-- toolkit report " not in text)  # pages had no mark at first
