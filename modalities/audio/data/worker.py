"""Answers of a process that reads sounds for `reader`: headers, files for the cache, whole sounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from modalities.audio.data import decode
from modalities.audio.data.prepare import prepare
from modalities.audio.data.treatment import Treatment
from toolkit.data.worker import Part
from toolkit.errors import DataError, StorageError


def answer(request: dict[str, Any], part: Part) -> dict[str, Any]:
    """Return the answer to a request, which says what to `do`; samples go to `part`.

    header: the header, as a list, or None where there is none. prepare: what was measured, or why the file is rejected.
    read: the samples, float32, or an error.
    """
    path = path_from(request["path"])
    if request["do"] == "header":
        return {"header": _header(path)}
    if request["do"] == "prepare":
        return _prepare(path, request, part)
    try:
        for block in decode.readable(path, request["rate"], request["channels"]):
            part(np.ascontiguousarray(block).data)
    except DataError as error:
        return {"error": str(error)}
    return {}


def path_to(path: Path) -> str:
    """Return a path such that JSON has room for it, whatever bytes it has."""
    return os.fsencode(path).decode("latin-1")


def path_from(text: str) -> Path:
    """Return the path that `path_to` had."""
    return Path(os.fsdecode(text.encode("latin-1")))


def _header(path: Path) -> list[Any] | None:
    try:
        return list(decode.about(path))
    except Exception:  # damaged files make decoders raise nearly everything
        return None


def _prepare(path: Path, request: dict[str, Any], part: Part) -> dict[str, Any]:
    treatment, scratch = Treatment(*request["treatment"]), path_from(request["scratch"])
    try:
        sound = prepare(path, request["name"], treatment, scratch, lambda: part(b""))
    except StorageError as error:
        return {"storage": str(error)}
    if isinstance(sound, str):
        return {"rejected": sound}
    if sound.array is not None:
        for block in sound.samples():
            part(block.data)
    assert sound.measured is not None
    frames = sound.stop - sound.start
    return {"frames": frames, "held": sound.array is not None, "measured": vars(sound.measured)}
