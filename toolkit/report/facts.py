"""All that a report says, gathered once from the run folder; the page and the card both speak from it."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from toolkit import imports
from toolkit.discovery import built_in, find
from toolkit.modality import Facts, Modality
from toolkit.recipe import Recipe
from toolkit.report import run_files
from toolkit.report.figures import Evaluation, evaluations
from toolkit.run.generator import read_run
from toolkit.training.precision import features

PAGE, CARD = "report.html", "README.md"
PACKAGES = ("diffusion-toolkit", "torchvision", "torchaudio", "numpy", "safetensors")

T = TypeVar("T")
Status = Literal["finished", "training", "stopped"]


@dataclass(frozen=True)
class RunFacts:
    """One run, as its folder shows it now."""

    run: Path
    """As the user wrote it: commands repeat it."""
    recipe: Recipe
    """Resolved."""
    data: Facts
    status: Status
    lines: tuple[run_files.Line, ...]
    step: int
    """The last one that metrics or a checkpoint know of."""
    steps: int
    """Steps that the run was to take; 0 when not known."""
    seconds: float | None
    """Time spent in optimiser steps."""
    parameters: int | None
    machine: Mapping[str, str]
    """Machine of the training, as far as the run says."""
    here: Mapping[str, str]
    """Machine of the report."""
    judged: tuple[Evaluation, ...]
    files: tuple[tuple[str, int], ...]
    """(name, bytes)"""
    made: str
    """The report, local time."""

    @property
    def title(self) -> str:
        """The run folder's name, or the recipe's where it has none."""
        return self.run.name or self.recipe.name

    @property
    def kind(self) -> str:
        """The modality, without the folder its file is in."""
        return self.recipe.modality if self.recipe.modality in built_in() else Path(self.recipe.modality).stem

    @property
    def source(self) -> str:
        """Name of the training data, without its folder; "" when the recipe names nothing."""
        value = self.recipe.data.get("source", "")
        return Path(value).name if isinstance(value, str) else ""


def gather(run: Path, notify: Callable[[str], None] = print) -> RunFacts:
    """Read a run folder. Raises UsageError when it is none, ToolkitError when its recipe or facts are damaged."""
    run = Path(run).expanduser()
    recipe, data = read_run(run, notify)
    lines = run_files.metrics(run)
    saved = run_files.newest_checkpoint(run)
    step = max(lines[-1].step if lines else 0, saved[1].step if saved else 0)
    steps = recipe.train.steps or 0
    whole = step >= steps > 0 and (run / "previews" / "final.png").is_file()
    said = run_files.json_of(run, run / "machine.json")
    machine = {str(key): _plain(value) for key, value in said.items()} if isinstance(said, dict) else {}
    if saved is not None:
        machine = {"torch": saved[1].torch, "threads": str(saved[1].threads), **machine}
    return RunFacts(
        run, recipe, data,
        "finished" if whole else "training" if run_files.in_use(run) else "stopped",
        tuple(lines), step, steps, run_files.training_seconds(lines),
        run_files.parameter_count(saved[0], recipe.train.ema[-1]) if saved else None,
        machine, _here(), tuple(evaluations(run, steps)),
        tuple(run_files.files(run, (PAGE, CARD, "lock"))),
        f"{datetime.now():%Y-%m-%d %H:%M}",
    )  # fmt: skip


def of_modality(facts: RunFacts, read: Callable[[Modality], T], otherwise: T) -> T:
    """Return what `read` says of the run's modality, if that is one of ours and the run's facts fit it.

    With any options: a report is also of a run whose own ones another version does not know.
    """
    if facts.recipe.modality not in built_in():
        return otherwise
    try:
        kind = find(facts.recipe.modality)
        return read(kind(kind.Data(), kind.Model(), facts.data))
    except Exception:  # a stranger's facts may lack anything
        return otherwise


def _here() -> dict[str, str]:
    values = features()
    absent = () if values["gpu"] else ("cuda", "gpu", "gpu_fast_bf16")
    facts = {key: _plain(value) for key, value in values.items() if key not in absent and value != ""}
    packages = {name: version for name, version in imports.versions(PACKAGES).items() if version}
    return {**facts, "system": platform.system(), "python": platform.python_version(), **packages}


def _plain(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def passes(facts: RunFacts) -> float | None:
    """Return the number of passes of the training over the data."""
    count = facts.step * facts.recipe.train.batch / facts.data.count if facts.data.count else None
    return count if count is not None and math.isfinite(count) else None
