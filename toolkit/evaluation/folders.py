"""Samples of any origin: a folder of files, read as the reference is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from toolkit import paths
from toolkit.data.dataset import Examples, evenly
from toolkit.discovery import by_files, find
from toolkit.errors import DataError, UsageError
from toolkit.evaluation.evaluate import evaluator_of
from toolkit.modality import Modality
from toolkit.recipe.check import validate

OVERVIEWS = {"grid.png", "index.html"}
"""Files of `toolkit sample` that hold no single sample."""
MAX_FILES = 20_000
"""Samples of a folder that are judged, spread evenly."""


def guess(path: Path) -> str:
    """Return the modality of a file or folder, overviews of `toolkit sample` aside. Raises DataError, UsageError."""
    return by_files(path, OVERVIEWS)


def reference(name: str, source: str, options: Mapping[str, Any], notify: Callable[[str], None]) -> Modality:
    """Return the opened modality of the real examples: a folder or a named data set. Raises DataError, UsageError."""
    kind = find(name)
    if "source" not in kind.Data.model_fields:
        raise UsageError(f"modality '{name}' reads no folders")
    modality = kind(validate(kind.Data, {**options, "source": source}, "", "--"), kind.Model())
    modality.open(paths.cache(), notify)
    return modality


def collect(like: Modality, folder: Path, notify: Callable[[str], None]) -> Examples:
    """Return all examples of a folder, read with the options of `like`; labels that it lacks become the null label.

    Nothing is kept in the cache. Raises DataError, also when they differ from `like` in size or sample rate.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    with tempfile.TemporaryDirectory() as nowhere:
        source = _without_overviews(folder, Path(nowhere) / folder.name)
        update = {"source": str(source)}
        named = type(like.data).model_fields.get("labels")
        if (
            named is not None and named.default == "auto"
        ):  # the reference's own file names and columns mean nothing here
            update["labels"] = "auto"
        modality = type(like)(like.data.model_copy(update=update), like.model)
        facts = modality.open(Path(nowhere) / "cache", notify)
        assert modality.splits is not None and like.splits is not None
        evaluator_of(like).check_alike(modality.splits, like.splits, str(folder))
        sets = [evenly(split, MAX_FILES) for split in (modality.splits.train, modality.splits.test)]
    parts = [part for part in sets if len(part.raw)]
    raw = torch.cat([part.raw for part in parts])
    cond = {name: torch.cat([part.cond[name] for part in parts]) for name in parts[0].cond}
    if "label" in cond:
        places = {name: i for i, name in enumerate(like.labels)}
        numbers = torch.tensor([places.get(name, len(places)) for name in facts.labels])
        cond["label"] = numbers[cond["label"]]
    return Examples(raw, cond)


def _without_overviews(folder: Path, place: Path) -> Path:
    """Return the folder, or `place` with links to its files when some of them are no samples."""
    if not any((folder / name).is_file() for name in OVERVIEWS):
        return folder.absolute()
    place.mkdir()
    for path in folder.iterdir():
        if path.name not in OVERVIEWS:
            try:
                (place / path.name).symlink_to(path.absolute(), target_is_directory=path.is_dir())
            except OSError:  # a system without links
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, place / path.name)
    return place
