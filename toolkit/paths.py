"""Places of shipped files, the user's data and the cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit.errors import DataError, StorageError

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(kind: str) -> Path:
    """The folder `recipes` or `assets`: inside the installed wheel first, then beside the checkout."""
    for folder in (_PACKAGE / kind, _PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    raise DataError(f"the installation has no '{kind}' folder (looked beside {_PACKAGE}); reinstall diffusion-toolkit")


def cache() -> Path:
    """The only folder outside a run that is ever written: TOOLKIT_CACHE, or the system's cache folder."""
    if os.environ.get("TOOLKIT_CACHE"):
        return Path(os.environ["TOOLKIT_CACHE"]).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "diffusion-toolkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "diffusion-toolkit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffusion-toolkit"


def data_root() -> Path:
    """Return the folder of named data sets and downloads: TOOLKIT_DATA, or a folder in the cache."""
    if os.environ.get("TOOLKIT_DATA"):
        return Path(os.environ["TOOLKIT_DATA"]).expanduser()
    return cache() / "data"


def check_writable(folder: Path) -> None:
    """Raise StorageError where no file can be made in `folder`, which need not exist yet. Nothing is written."""
    whole = folder.absolute()
    there = next(path for path in (whole, *whole.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise StorageError(f"cannot write to {folder}: {there} is no folder; choose another --out")
    longest = os.pathconf(there, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if any(len(os.fsencode(part)) > longest for part in whole.parts):
        raise StorageError(
            f"cannot write to {str(folder)[:80]}...: a name has at most {longest} bytes; choose another --out"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write to {folder}: {there} may not be written; choose another --out")
