"""Results about a folder that are kept in the cache until any of its files changes; nothing is imported for them.

    CACHE/inspect/<key>.json

The key is a hash of the question, and the name, size and time of change of every file of the data and of our code.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import toolkit
from toolkit import paths
from toolkit.data import tree
from toolkit.errors import StorageError
from toolkit.training.storage.files import make_folder, write_json_atomic

MAX_BYTES = 16 * 2**20
_VERSION = 2


def key(path: Path, question: Sequence[str], code: Sequence[Path] = ()) -> str | None:
    """Return the key of a question about a file or folder; None where it cannot be listed as a whole.

    code: files that the answer depends on besides, such as the user's recipe.
    """
    digest = hashlib.blake2b(digest_size=16)
    parts = [_VERSION, toolkit.__version__, str(path.resolve()), os.cpu_count(), sys.version, *question]
    digest.update(json.dumps(parts).encode())
    try:
        for place in (path, *code, *_ours()):
            for line in _files(place):
                digest.update(os.fsencode(line))
    except OSError:
        return None
    return digest.hexdigest()


def load(name: str) -> dict[str, Any] | None:
    """Return the content kept under a key; None where there is none, or it is damaged."""
    path = paths.cache() / "inspect" / f"{name}.json"
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("rows"), list) else None


def save(name: str, content: dict[str, Any]) -> None:
    """Keep content under a key. A disk that takes nothing costs the memory of it, and no more."""
    folder = paths.cache() / "inspect"
    with contextlib.suppress(StorageError):
        make_folder(folder)
        write_json_atomic(folder / f"{name}.json", content)


def _ours() -> list[Path]:
    """Return the folders of our code: an answer of another version, or of one that was edited, is none."""
    spec = importlib.util.find_spec("modalities")
    return [Path(toolkit.__file__).parent, *map(Path, (spec.submodule_search_locations or ()) if spec else ())]


def _files(path: Path) -> Iterator[str]:
    if path.is_file():
        info = path.stat()
        yield f"\t{info.st_size}\t{info.st_mtime_ns}\n"
        return
    for item in tree.walk(path):
        if item.name.endswith(".pyc"):
            continue
        state = f"{item.info.st_size}\t{item.info.st_mtime_ns}" if item.info is not None else item.problem
        yield f"{item.name}\t{state}\n"
