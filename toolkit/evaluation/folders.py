"""Anyone's samples: a folder of finished files, read as the reference is."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from toolkit import paths
from toolkit.errors import DataError, UsageError
from toolkit.modality import Dataset, Examples, Facts, Modality, find
from toolkit.recipe.check import checked

KINDS = {
    "image": {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"},
    "audio": {".wav", ".flac", ".ogg", ".mp3"},
    "text": {".txt"},
}
"""Modality: endings of files by which it is guessed."""
OVERVIEWS = {"grid.png", "index.html"}
"""What `toolkit sample` writes beside single files: no samples."""
MAX_FILES = 20_000
"""Samples of a folder that are judged, spread evenly."""


def guess(folder: Path) -> str:
    """The modality that the files of a folder belong to, at any depth. Raises DataError, UsageError."""
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.name not in OVERVIEWS and not path.name.startswith("."):
            found.update(kind for kind, endings in KINDS.items() if path.suffix.lower() in endings)
    if not found:
        raise DataError(f"no picture, sound or text in {folder}")
    if len(found) > 1:
        counts = ", ".join(f"{count:,} of {kind}" for kind, count in found.most_common())
        raise UsageError(f"{folder} holds files of several kinds ({counts}); say which: --modality {'|'.join(found)}")
    return next(iter(found))


def reference(name: str, source: str, options: Mapping[str, Any], notify: Callable[[str], None]) -> Modality:
    """The real examples, opened: a folder or a data set with a name. Raises DataError, UsageError."""
    kind = find(name)
    if "source" not in kind.Data.model_fields:
        raise UsageError(f"modality '{name}' reads no folders")
    opened = kind(checked(kind.Data, {**options, "source": source}, "", "--"), kind.Model())
    opened.open(paths.cache(), notify)
    return opened


def collect(like: Modality, folder: Path, notify: Callable[[str], None]) -> Examples:
    """All examples of a folder, read with the options of `like`; labels are numbered as its own, the others null.

    Nothing is kept in the cache. Raises DataError, also when they differ from `like` in size or sample rate.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    with tempfile.TemporaryDirectory() as nowhere:
        source = _without_overviews(folder, Path(nowhere) / folder.name)
        opened = type(like)(like.data.model_copy(update={"source": str(source)}), like.model)
        facts = opened.open(Path(nowhere) / "cache", notify)
        _alike(facts, like.facts, folder)
        sets = [_all(opened.dataset(split)) for split in ("train", "test")]
    parts = [part for part in sets if len(part.raw)]
    raw = torch.cat([part.raw for part in parts])
    cond = {name: torch.cat([part.cond[name] for part in parts]) for name in parts[0].cond}
    if "label" in cond:
        known = {name: i for i, name in enumerate(like.labels)}
        numbers = torch.tensor([known.get(name, len(known)) for name in facts.labels])
        cond["label"] = numbers[cond["label"]]
    return Examples(raw, cond)


def _all(data: Dataset) -> Examples:
    n = min(MAX_FILES, len(data))
    return data.take(torch.arange(n) * len(data) // max(n, 1))


def _without_overviews(folder: Path, place: Path) -> Path:
    """The folder, or links to its files when some of them are no samples."""
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


def _alike(mine: Facts, theirs: Facts, folder: Path) -> None:
    """Raise DataError when examples cannot be compared as they are."""
    if "rate" in theirs.extra:
        rates = mine.extra["rate"], theirs.extra["rate"]
        if rates[0] != rates[1]:
            raise DataError(
                f"{folder} has {rates[0]:,} samples a second and the reference {rates[1]:,}; resample both: --rate RATE"
            )
    elif mine.shape != theirs.shape:
        sizes = [" x ".join(map(str, facts.shape)) for facts in (mine, theirs)]
        raise DataError(f"{folder} is {sizes[0]} and the reference {sizes[1]}; bring both to one: --size SIDE")
