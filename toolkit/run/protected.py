"""recipe.toml and facts.json, protected: each checkpoint holds copies of both, under the hashes of its manifest.

A file that no checkpoint knows is damaged, and the newest whole copy takes its place. A run from before there were
copies is read as it is. Nothing is written for somebody who only reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from toolkit.data.dataset import Facts
from toolkit.recipe.schema import Recipe
from toolkit.run import layout
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.storage.files import write_bytes_atomic
from toolkit.training.storage.manifest import COPIES, COPY_CAP, Damaged, Manifest, content, verify


class _Copy(NamedTuple):
    path: Path
    data: bytes


def read_run(run: Path, notify: Callable[[str], None] = print) -> tuple[Recipe, Facts]:
    """Return the recipe and the facts of a run folder, from a checkpoint where the run's own are damaged.

    `notify` is told. Raises UsageError when the folder is no run, ToolkitError when neither can be read.
    """
    good = _copies(run)
    for name, copy in good.items():
        where = copy.path.relative_to(run).parent
        notify(f"{run / name} is damaged or was changed by hand: it is read from its copy in {where}, which is whole")
    return layout.read_run(run, {name: copy.path for name, copy in good.items()})


def write(run: Path, copies: Mapping[str, bytes]) -> None:
    """Write the files of a run that has no checkpoint yet. Raises StorageError."""
    for name, data in copies.items():
        write_bytes_atomic(run / name, data)


def restore(run: Path) -> bool:
    """Make the files of a run as its newest checkpoint has them; False where none has any. Raises StorageError."""
    whole = CheckpointStore(run / layout.CHECKPOINTS).whole()
    newest = [copy for name in COPIES if (copy := _newest(name, whole))]
    for copy in newest:
        if _digest(run / copy.path.name) != hashlib.sha256(copy.data).hexdigest():
            write_bytes_atomic(run / copy.path.name, copy.data)
    return bool(newest)


def _copies(run: Path) -> dict[str, _Copy]:
    """Return the newest whole copy of each file that is not as any of the checkpoints knows it."""
    copies = {}
    whole = CheckpointStore(run / layout.CHECKPOINTS).whole()
    for name in COPIES:
        # any of them: the newest may have been saved a moment ago, before the file followed it
        known = {manifest.files[name].sha256 for _, manifest in whole if name in manifest.files}
        if known and _digest(run / name) not in known and (copy := _newest(name, whole)):
            copies[name] = copy
    return copies


def _newest(name: str, whole: Sequence[tuple[Path, Manifest]]) -> _Copy | None:
    for folder, manifest in whole:
        if name in manifest.files:
            with suppress(Damaged):
                return _Copy(folder / name, verify(folder, name, manifest))
    return None


def _digest(path: Path) -> str:
    """Return the sha256 of a file, "" where it is missing, a link, or too large."""
    try:
        return hashlib.sha256(content(path, COPY_CAP)).hexdigest()
    except Damaged:
        return ""
