"""The file of a trained judge in the cache, which knows what it holds: damage is seen, and it is trained again."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from toolkit.training.storage.files import make_folder, read_capped, write_bytes_atomic

MAX_BYTES = 256 << 20
_MEASURED, _CHECK = "right of tested", "check"


class JudgeFile(NamedTuple):
    """The content of a judge's file."""

    weights: dict[str, Tensor]
    right: int
    """Test examples that were recognised."""
    tested: int
    """Number of test examples; 0: not known."""


def digest(weights: Mapping[str, Tensor]) -> str:
    """Return the hash that a judge is called by: of its weights, in one order."""
    return hashlib.sha256(serialise(dict(weights))).hexdigest()


def keep(path: Path, weights: Mapping[str, Tensor], right: int = 0, tested: int = 0) -> None:
    """Write a judge's weights, and what was measured. Raises StorageError."""
    score = f"{right} {tested}"
    make_folder(path.parent)
    write_bytes_atomic(path, serialise(dict(weights), {_MEASURED: score, _CHECK: _check(weights, score)}))


def load(path: Path, own: Mapping[str, Tensor]) -> JudgeFile | None:
    """Return what a file holds for a network with the weights `own`; None where it is not there, or is damaged.

    Files of before there was a hash in them count as not measured: that is done again, and with it they get one.
    """
    try:
        data = read_capped(path, MAX_BYTES)
        weights = parse(data)
        (size,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
        right, tested = map(int, metadata.get(_MEASURED, "0 0").split(" "))
    except Exception:  # a damaged file can make the parser raise nearly anything
        return None
    shapes = {name: (value.shape, value.dtype) for name, value in weights.items()}
    if shapes != {name: (value.shape, value.dtype) for name, value in own.items()}:
        return None
    if _CHECK not in metadata:
        finite = all(bool(value.isfinite().all()) for value in weights.values())
        return JudgeFile(weights, 0, 0) if finite else None
    if metadata[_CHECK] != _check(weights, metadata[_MEASURED]) or not 0 <= right <= tested:
        return None
    return JudgeFile(weights, right, tested)


def _check(weights: Mapping[str, Tensor], score: str) -> str:
    return hashlib.sha256(f"{digest(weights)} {score}".encode()).hexdigest()
