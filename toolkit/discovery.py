"""Modalities by name: ours are the packages below `modalities`; a user's is a module or a .py file."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.data import tree
from toolkit.data.splits import METADATA
from toolkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from toolkit.modality import Modality

BESIDE = 0.5
"""Share of the commonest kind of file up to which another kind is taken for what lies beside the data."""
LARGER = 4
"""Factor in bytes by which one kind of file is the data where there are about as many of another."""
_MARK = "diffusion-toolkit"


def built_in() -> tuple[str, ...]:
    """Return the names of our modalities. Raises UsageError when a foreign package called `modalities` hides them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(_ours().__path__) if module.ispkg))


def find(name: str) -> type[Modality]:
    """Return the modality called `name`: "image" (ours), "./video.py" (a file) or "my_package.video" (a module).

    Raises UsageError when there is none, or when a foreign package called `modalities` is in the way.
    """
    from toolkit.modality import Modality

    module = importlib.import_module(f"modalities.{name}") if name in built_in() else load(name)
    local = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Modality) and c is not Modality]
    defined = [c for c in local if c.__module__ == module.__name__] or local
    if len(defined) != 1:
        raise UsageError(f"'{name}' must define one Modality class, and defines {len(defined)}")
    return defined[0]


def by_files(path: Path, ignore: Collection[str] = ()) -> str:
    """Return the modality that a file, or most files of a folder at any depth, belong to by their endings.

    `ignore`: names of files that do not count, nor do metadata files. The commonest kind wins where it has twice the
    files of any other, and else the largest where it has four times the bytes, such as pictures with a text beside
    each. Raises DataError, UsageError.
    """
    counts, sizes = kinds(path, ignore)
    likely = {name: count for name, count in counts.most_common() if count > BESIDE * max(counts.values())}
    if len(likely) > 1:
        first, second, *_ = sorted(likely, key=lambda name: sizes[name], reverse=True)
        if sizes[first] >= LARGER * sizes[second] > 0:  # a text beside each picture tells of it, and is not the data
            return first
        raise UsageError(
            f"{path} holds files of several kinds ({spelt(likely)}); say which: --modality {'|'.join(likely)}"
        )
    return next(iter(likely))


def kinds(path: Path, ignore: Collection[str] = ()) -> tuple[Counter[str], Counter[str]]:
    """Return how many files at `path` belong to each modality by their endings, and their bytes.

    Raises DataError when none does.
    """
    if not os.path.exists(path):
        raise DataError(f"no such folder or file: {path}")
    endings = {name: find(name).extensions for name in built_in()}
    counts, sizes = Counter[str](), Counter[str]()
    folder = os.path.isdir(path)
    files = [(item.path, item.info) for item in tree.walk(path)] if folder else [(path, os.stat(path))]
    for file, info in files:
        beside = file.name in ignore or (folder and file.name.lower() in METADATA)
        if info is not None and not beside and not file.name.startswith("."):
            for name in (name for name, known in endings.items() if file.suffix.lower() in known):
                counts[name] += 1
                sizes[name] += info.st_size
    if not counts:
        known = "; ".join(f"{name}: {' '.join(sorted(each))}" for name, each in endings.items())
        raise DataError(f"no file of a known kind in {path} ({known})")
    return counts, sizes


def spelt(counts: Mapping[str, int]) -> str:
    """Return "200 of audio, 12 of text"."""
    return ", ".join(f"{count:,} of {name}" for name, count in counts.items())


def load(name: str, what: str = "modality") -> Any:
    """Run and return the user's module called `name`, a .py file or one that can be imported. Raises UsageError."""
    is_path = name.endswith(".py") or "/" in name
    return _from_file(Path(name).expanduser(), what) if is_path else _from_module(name, what)


def _from_file(path: Path, what: str) -> Any:
    if not path.is_file():
        raise UsageError(f"no such {what} file: {path}")
    spec = importlib.util.spec_from_file_location(f"toolkit_modality_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_module(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        near = get_close_matches(name, built_in(), n=1) if what == "modality" else []
        if near:
            raise UsageError(f"no modality '{name}'; did you mean '{near[0]}'?") from None
        known = f"known: {', '.join(built_in())}, or" if what == "modality" else "give one that is installed, or"
        raise UsageError(f"no {what} '{name}' ({error}); {known} a path to a .py file") from None


def _ours() -> Any:
    package = importlib.import_module("modalities")
    if getattr(package, "PROJECT", None) != _MARK:
        where = getattr(package, "__file__", None) or next(iter(getattr(package, "__path__", ["?"])))
        raise UsageError(f"a foreign package 'modalities' ({where}) hides ours; uninstall it or use a fresh venv")
    return package
