"""One checkpoint folder: how its files are written, and how a stranger's are read without believing them.

    NAME.safetensors   the tensors of one group
    state.json         everything else, up to 1 MB
    recipe.toml, facts.json   copies of the run's own, which have no other protection (run/protected.py)
    manifest.json      step, versions, threads, and the size and sha256 of the files above and of itself

safetensors alone does not notice flipped data, so a file counts only when its hash does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from torch import Tensor

import toolkit
from toolkit.errors import ToolkitError, unknown
from toolkit.training.storage.files import create, sync_folder

MANIFEST, STATE, SUFFIX = "manifest.json", "state.json", ".safetensors"
COPIES = ("recipe.toml", "facts.json")
CAP = 1 << 20
"""Most bytes of manifest.json and of state.json."""
COPY_CAP = 4 << 20
"""Most bytes of a copy: a million characters of facts."""

NOT_FINITE = "holds NaN or infinity"
_GROUP = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = rf"^(state\.json|recipe\.toml|facts\.json|{_GROUP.pattern}\.safetensors)$"
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip

Groups = Mapping[str, Mapping[str, Tensor]]


class Span(NamedTuple):
    """The least and the most bytes that a file of weights can have."""

    least: int
    most: int


class Damaged(Exception):
    """A fault of one file of a checkpoint folder."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileFacts(_Strict):
    """Size and hash that a file must have to count."""

    size: int = Field(ge=0, lt=1 << 63)
    """In bytes."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Manifest(_Strict):
    """manifest.json. The patterns leave no room for paths."""

    version: Literal[1] = 1
    step: int = Field(ge=0, lt=10**18)
    torch: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+_-]{1,64}$")]
    threads: int = Field(ge=1, lt=1 << 20)
    toolkit: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+_-]{0,64}$")] = ""
    """The version that saved it; "" and no line for one that did not say."""
    files: dict[Annotated[str, StringConstraints(pattern=_FILE)], FileFacts]
    check: str = ""
    """sha256 of the manifest without this line: a flipped bit in the manifest itself is seen too."""

    @property
    def groups(self) -> list[str]:
        return [name.removesuffix(SUFFIX) for name in self.files if name.endswith(SUFFIX)]

    def encode(self) -> bytes:
        """The only bytes that say this."""
        body = self.model_dump(exclude={"check"} if self.toolkit else {"check", "toolkit"})
        return encode_json({**body, "check": hashlib.sha256(encode_json(body)).hexdigest()})


def encode_json(data: Any) -> bytes:
    """JSON in one fixed form. Raises ValueError, TypeError or RecursionError when `data` is no JSON (NaN is none)."""
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False).encode()


def problem(groups: Groups) -> str | None:
    """Return why `groups` must not be saved, or None: names that are no file names, tensors not plain or not finite."""
    for group, tensors in groups.items():
        if not _GROUP.fullmatch(group):
            return f"'{group}' cannot be a file name; use letters, digits, - and _"
        for name, tensor in tensors.items():
            plain = tensor.layout == torch.strided and not tensor.is_meta and tensor.dtype in _DTYPES
            if not plain or name == "__metadata__":
                return f"tensor '{name}' of {group} ({tensor.dtype}, {tensor.layout}) cannot be a safetensors entry"
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                return f"tensor '{name}' of {group} {NOT_FINITE}"
    return None


def weight_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Size in bytes of the file `tensors` make."""
    return len(_header(tensors)) + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _sort(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Widest numbers first, so that each tensor starts at a multiple of its own number's size."""
    return sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    table: dict[str, Any] = {}
    end = 0
    for name, tensor in _sort(tensors):
        start, end = end, end + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | np.ndarray[Any, Any]]:
    """The bytes of a safetensors file, one tensor in memory at a time; shared and strided ones become plain copies."""
    yield _header(tensors)
    for _, tensor in _sort(tensors):
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def write_folder(folder: Path, step: int, groups: Groups, state: bytes, copies: Mapping[str, bytes]) -> None:
    """Fill the empty `folder` and flush it to the disk, file by file, the manifest last. Raises OSError."""
    files = {}
    for name, tensors in groups.items():
        files[name + SUFFIX] = create(folder / (name + SUFFIX), _chunks(tensors))
    for name, data in {STATE: state, **copies}.items():
        files[name] = create(folder / name, [data])
    facts = {name: FileFacts(size=size, sha256=digest) for name, (size, digest) in files.items()}
    version, threads = str(torch.__version__), torch.get_num_threads()
    manifest = Manifest(step=step, torch=version, threads=threads, toolkit=toolkit.__version__, files=facts)
    create(folder / MANIFEST, [manifest.encode()])
    sync_folder(folder)


def _regular_size(path: Path) -> int:
    try:
        info = os.lstat(path)
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(info.st_mode):
        raise Damaged(f"{path.name} is a link or a device, not a file")
    return info.st_size


def content(path: Path, most: int) -> bytes:
    """Return a regular file of at most `most` bytes. Raises Damaged, and ToolkitError when memory does not hold it."""
    size = _regular_size(path)
    if size > most:
        raise Damaged(f"{path.name} has {size:,} bytes, more than {most:,}")
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise ToolkitError(f"{path} has {size:,} bytes, more than fit in memory; free some") from error


def read_manifest(folder: Path, step: int) -> Manifest:
    """The manifest of `folder` when it is well formed, unaltered, of `step`, and its files have the sizes it says.

    Raises Damaged. The files are not read: that is `read_folder`.
    """
    data = content(folder / MANIFEST, CAP)
    try:
        manifest = Manifest.model_validate_json(data)
        unaltered = manifest.encode() == data
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} is damaged, or of another version of this toolkit") from error
    if not unaltered or manifest.step != step or STATE not in manifest.files:
        raise Damaged(f"{MANIFEST} is damaged: its lines do not fit together")
    for name, facts in manifest.files.items():
        size = _regular_size(folder / name)
        if name in COPIES and size > COPY_CAP:
            raise Damaged(f"{name} has {size:,} bytes, more than {COPY_CAP:,}")
        if size != facts.size:
            raise Damaged(f"{name} has {size:,} bytes instead of {facts.size:,}")
    return manifest


def read_folder(
    folder: Path, step: int, groups: Sequence[str] | None, spans: Mapping[str, Span] | None = None
) -> tuple[Manifest, dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Manifest, the tensors of `groups` (None: all; on the CPU, in memory of their own) and the state, all verified.

    `spans`: sizes that groups may have; None as `groups` then means those of them that there are.
    Raises Damaged, and UsageError for a group that the checkpoint does not have.
    """
    manifest = read_manifest(folder, step)
    for name in groups or ():
        if name not in manifest.groups:
            raise unknown(f"part of {folder.name}", name, manifest.groups)
    if groups is None:
        groups = [name for name in manifest.groups if spans is None or name in spans]
    for name in groups:
        size = manifest.files[name + SUFFIX].size
        if spans is not None and name in spans and not spans[name].least <= size <= spans[name].most:
            raise Damaged(f"{name}{SUFFIX} has {size:,} bytes, which does not fit the recipe beside it")
    if manifest.files[STATE].size > CAP:
        raise Damaged(f"{STATE} has more than {CAP:,} bytes")
    try:
        state = json.loads(verify(folder, STATE, manifest))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{STATE} is no JSON") from error
    if not isinstance(state, dict):
        raise Damaged(f"{STATE} is no JSON object")
    loaded = {}
    for name in groups:
        data = verify(folder, name + SUFFIX, manifest)
        try:
            loaded[name] = safetensors.torch.load(data)
        except Exception as error:  # a stranger's file can make the parser raise nearly anything
            raise Damaged(f"{name}{SUFFIX} is no safetensors file ({type(error).__name__})") from error
    return manifest, loaded, state


def verify(folder: Path, name: str, manifest: Manifest) -> bytes:
    """Return the content of a file that the manifest names. Raises Damaged unless it is as it was written."""
    facts = manifest.files[name]
    data = content(folder / name, facts.size)
    if len(data) != facts.size or hashlib.sha256(data).hexdigest() != facts.sha256:
        raise Damaged(f"{name} is damaged: its sha256 is not the one in {MANIFEST}")
    return data
