"""Files that are there whole or not at all, whatever kills the process, the disk or the power.

Everything that is written below a run comes through here (tests/test_writers.py), so that nothing is written through
a link that somebody else has put there. Every write goes through `os.open`, `os.write`, `os.fsync` and `os.rename` in
plain sight, so the tests can stop it after any of them. Nothing here knows what a file means.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from toolkit.errors import StorageError, ToolkitError

_PIECE = 4 << 20
"""Bytes hashed and written at a time."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_STAGED = re.compile(r"\..+\.[0-9a-f]+\.tmp")
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_FOLDER_SYNC = {errno.EINVAL, getattr(errno, "ENOTSUP", errno.EINVAL)}


def create(path: Path, chunks: Iterable[Any], durable: bool = True) -> tuple[int, str]:
    """Write the new file `path` from byte-like `chunks` and, if it is to be `durable`, flush it to the disk.

    Returns its size in bytes and its sha256 in hex. The mode is 0666 & ~umask. Raises OSError, also when `path` exists.
    """
    digest, size = hashlib.sha256(), 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        for chunk in chunks:
            whole = memoryview(chunk)
            for start in range(0, len(whole), _PIECE):
                piece = whole[start : start + _PIECE]
                digest.update(piece)
                size += len(piece)
                _write(fd, piece)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    return size, digest.hexdigest()


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; where the system has no such call (Windows), do nothing."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def free_bytes(folder: Path) -> int:
    """Bytes a file in `folder` (or where it will be) may take. Raises OSError."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def writing(what: str, folder: Path, needed: int) -> Iterator[None]:
    """Turn any OSError inside into a StorageError that says what was being written (`needed` bytes) and where."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        line = f"cannot write {what} in {folder}: {reason}"
        if error.errno in _FULL:
            with suppress(OSError):
                line += f"; {needed:,} bytes needed, {free_bytes(folder):,} bytes free; make room and run again"
        raise StorageError(f"{line}; everything written before is intact") from error


def write_bytes_atomic(path: Path, data: bytes, durable: bool = True) -> None:
    """Put `data` at `path`, replacing what is there in one step; a link is replaced, and what it names stays.

    `durable`: it outlives a loss of power too, for some 7 ms a file; samples, which can be made again, need not.
    Raises StorageError, and then nothing has changed.
    """
    staged = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    with writing(path.name, path.parent, len(data)):
        try:
            create(staged, [data], durable)
            os.replace(staged, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged)
            raise
        if durable:
            sync_folder(path.parent)


def write_stream_atomic(path: Path, fill: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """`write_bytes_atomic` of what `fill` writes into the stream that it is given, e.g. a picture."""
    memory = io.BytesIO()
    fill(memory)
    write_bytes_atomic(path, memory.getvalue(), durable)


def write_text_atomic(path: Path, text: str, durable: bool = True) -> None:
    r"""`write_bytes_atomic` of UTF-8. What is not Unicode (undecodable file names) is written as a \u escape."""
    write_bytes_atomic(path, _encode(text), durable)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def write_json_atomic(path: Path, data: Any) -> None:
    """`write_bytes_atomic` of JSON that people can read. Raises ToolkitError when `data` is no JSON (NaN is none)."""
    write_bytes_atomic(path, json_bytes(path.name, data))


def json_bytes(name: str, data: Any) -> bytes:
    """Return what `write_json_atomic` writes. Raises ToolkitError, about `name`."""
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolkitError(f"cannot write {name}: {error}") from error
    return _encode(text + "\n")


def read_capped(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; raises OSError, also for any other, unread."""
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):  # a pipe would be waited for
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if info.st_size > most:
        raise OSError(errno.EFBIG, f"it has {info.st_size:,} bytes, and {most:,} are the most", str(path))
    with open(path, "rb") as file:
        return file.read(most)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there. Raises StorageError."""
    with writing(f"the folder {folder.name}", folder.parent, 4096):
        folder.mkdir(parents=True, exist_ok=True)


def is_leftover(name: str) -> bool:
    """Return True for the name of a file that a killed process was writing."""
    return _STAGED.fullmatch(name) is not None


class Growing:
    """A file that grows by whole pieces. A piece that the disk does not take leaves nothing of it behind."""

    def __init__(self, path: Path) -> None:
        """Raise StorageError when the file cannot be opened, or is a link."""
        self.path = path
        with writing(path.name, path.parent, 0):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | _NO_LINK, 0o666)

    def add(self, data: bytes) -> None:
        """Put `data` at the end. Raises StorageError, and then the file is as it was."""
        with writing(self.path.name, self.path.parent, len(data)):
            end = os.lseek(self._fd, 0, os.SEEK_END)
            try:
                _write(self._fd, memoryview(data))
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise

    def close(self) -> None:
        os.close(self._fd)
