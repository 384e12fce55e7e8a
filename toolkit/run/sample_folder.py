"""Folders of samples, so that nothing is overwritten.

A folder of samples keeps a hidden record of what was asked, of which weights. The same request gives the same samples
and may write them again; any other goes to a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import toolkit
from toolkit import paths
from toolkit.errors import UsageError
from toolkit.training.storage.files import make_folder, read_capped, write_json_atomic

if TYPE_CHECKING:
    from toolkit.run.generator import Generator

RECORD = ".samples.json"
"""Hidden, so that a folder of samples stays a folder of pictures, sounds or texts to whoever reads it."""
FORMAT = 1
MAX_BYTES = 1 << 20


def request(generator: Generator, n: int, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the samples follow from: the weights, the recipe's [sample] section, and all that was asked.

    Of an option that names a file, its size and time are part of it.
    """
    weights = hashlib.blake2b(digest_size=16)
    for name, value in sorted(generator.denoiser.state_dict().items()):
        weights.update(name.encode())
        weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    content = {
        "format": FORMAT,
        "toolkit": toolkit.__version__,
        "recipe": generator.recipe.name,
        "weights": weights.hexdigest(),
        "sample": generator.recipe.sample.model_dump(),
        "n": n,
        "seed": seed,
        "options": {key: [str(value), *_file(value)] for key, value in sorted(options.items())},
    }
    return dict(json.loads(json.dumps(content, default=str)))


def place(folder: Path, content: Mapping[str, Any], exact: bool) -> Path:
    """Return where to write the samples of a request: `folder` when it is new, empty, or has them already.

    When it holds anything else: folder-2, folder-3, ..., or, if `exact`, UsageError. Raises StorageError when nothing
    can be written there. Nothing is written here.
    """
    paths.check_writable(folder)
    if exact:
        if not _may_hold(folder, content):
            raise UsageError(f"{folder} holds other files, which stay; choose another --out, or leave it out")
        return folder
    numbered = (folder.with_name(f"{folder.name}-{i}") for i in count(2))
    return folder if _may_hold(folder, content) else next(one for one in numbered if _may_hold(one, content))


def record(folder: Path, content: Mapping[str, Any]) -> None:
    """Say in `folder`, which is made, what its samples are of. Raises StorageError."""
    make_folder(folder)
    write_json_atomic(folder / RECORD, dict(content))


def _may_hold(folder: Path, content: Mapping[str, Any]) -> bool:
    """Return True where `folder` is new or empty, or says that it is of this request and holds no link.

    A link is nothing that this command wrote, whatever the record beside it says.
    """
    if not folder.is_dir():
        return not os.path.lexists(folder)
    there = list(folder.iterdir())
    if not there:
        return True
    if any(path.is_symlink() for path in there):
        return False
    try:
        record = json.loads(read_capped(folder / RECORD, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return bool(record == content)


def _file(value: object) -> list[float]:
    """Size and time of the file that an option names, if it names one."""
    if not isinstance(value, str) or not value:
        return []
    try:
        info = Path(value).expanduser().stat()
    except (OSError, ValueError):
        return []
    return [info.st_size, info.st_mtime]
