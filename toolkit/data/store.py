"""Decoded data on disk, in a folder that is whole or not there.

    CACHE/<modality>/<key>/*.npy  about.json

The key is a hash of the source's listing, the options that change the data, and a version. A folder is staged under
another name, synced and renamed, and holds the sizes and hashes of its files. Deleting any of it is always safe.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from toolkit.errors import StorageError

try:
    import fcntl
except ImportError:  # Windows, where a folder that is in use cannot be renamed anyway
    fcntl = None  # type: ignore[assignment]

HASHES = "hashes.json"
HASHED = 128 << 20
"""Bytes of a folder that are hashed when it is opened, the smallest files first, which takes up to 0.3 s on a slow
core; of the files beyond it only the sizes are compared."""
_STALE_SECONDS = 86_400
_WORKERS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def key(version: int, signature: Sequence[str], **options: object) -> str:
    """Return the name under which data with this listing and these options is kept."""
    text = "\n".join([f"version {version}", json.dumps(options, sort_keys=True), *signature])
    return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()


def build(
    folder: Path,
    needed: int,
    fill: Callable[[Path], bool],
    noun: str,
    fix: str = "set TOOLKIT_CACHE",
    good: Callable[[Path], bool] = lambda there: False,
) -> bool:
    """Let `fill` write into a new folder and move that to `folder`; False when `fill` returns False, with no data.

    needed: estimate of the bytes that must be free. noun, fix: what is kept and what to do, for the message.
    good: looks whether another process was faster, so that its folder stays; else what lies there is replaced.
    Raises StorageError when the disk does not take it; then, as after any error, nothing is left behind.
    """
    staging = folder.parent / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        _make_room(folder, needed)
        staging.mkdir()
        if not fill(staging):
            return False
        _put(staging, folder, good)
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"cannot keep {noun} in {folder.parent}: {why}; {fix}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def build_and_load(
    folder: Path, load: Callable[[Path], Result | None], needed: int, fill: Callable[[Path], bool], noun: str
) -> Result | None:
    """Return the content that `load` reads from a folder just filled by `build`; None when there was no data.

    The folder may be that of another process that was faster. Raises StorageError.
    """

    def fill_and_seal(staging: Path) -> bool:
        filled = fill(staging)
        if filled:
            seal(staging)
        return filled

    if not build(folder, needed, fill_and_seal, noun, good=lambda there: load(there) is not None):
        return None
    if (content := load(folder)) is None:
        raise StorageError(f"the {noun} just written to {folder} cannot be read back; set TOOLKIT_CACHE")
    return content


def _put(staging: Path, folder: Path, good: Callable[[Path], bool]) -> None:
    """Rename a folder to its place, in place of what is there unless that is good. Raises OSError.

    What is there is looked at and moved away while no other process does so, and it is renamed before it is removed:
    whoever has found a good folder can count on it.
    """
    with _one_at_a_time(folder.parent):
        if os.path.lexists(folder):
            if good(folder):
                return
            old = folder.parent / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
            with contextlib.suppress(FileNotFoundError):  # where there are no locks
                folder.rename(old)
                shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()
        try:
            staging.rename(folder)
        except OSError as error:  # another process was faster, where there are no locks
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.EACCES):
                raise


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """While entered, other processes wait here, where the system has such locks; they last for two renames."""
    if fcntl is None:
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def seal(folder: Path) -> None:
    """Write the size and the hash of each file of a folder into it. Raises OSError."""
    files = {path.name: [path.stat().st_size, _hash(path)] for path in sorted(folder.iterdir()) if path.name != HASHES}
    save_json(folder / HASHES, files)


def whole(folder: Path) -> bool:
    """Return True where the files of a folder are as they were when it was sealed, as far as `HASHED` goes."""
    try:
        files = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        if sorted(files) != sorted(name for name in os.listdir(folder) if name != HASHES):
            return False
        left = HASHED
        for name, (size, digest) in sorted(files.items(), key=lambda item: int(item[1][0])):
            path = folder / os.path.basename(name)
            if path.stat().st_size != size:
                return False
            left -= size
            if left >= 0 and _hash(path) != digest:
                return False
    except (OSError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return False
    return True


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _make_room(folder: Path, needed: int) -> None:
    """Create the parent of `folder`, delete what killed processes left there a day ago, check the space."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(".tmp-*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(old)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed // 2**20:,} MB needed, {free // 2**20:,} MB free")


def in_order(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    chunk: int = 1,
    most: int = _WORKERS,
    stop: Callable[[], object] = lambda: None,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with the result of `work`, in order; a few threads work ahead, `chunk` items at a time.

    It pays where `work` releases Python's lock, as decoders do. At most 8 chunks are held. Close it to stop early:
    then no thread is at work any more. most: number of threads. stop: ends what is at work, before it is waited for.
    """
    workers = min(most, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[tuple[Sequence[Item], Future[list[Result]]]] = deque()
    starts = iter(range(0, len(items), chunk))
    try:
        while True:
            while len(waiting) < 2 * workers and (start := next(starts, None)) is not None:
                part = items[start : start + chunk]
                waiting.append((part, pool.submit(lambda p: [work(item) for item in p], part)))
            if not waiting:
                return
            part, future = waiting.popleft()
            yield from zip(part, future.result(), strict=True)
    except BaseException:  # closed, interrupted, an error: what is at work is for nobody
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def header(file: BinaryIO, shape: tuple[int, ...], dtype: str) -> None:
    """Write the header of a .npy file; numpy leaves space to write it again with the final shape."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        sync(file)


def save_json(path: Path, about: object) -> None:
    with path.open("wb") as file:
        file.write(json.dumps(about, ensure_ascii=False, indent=1).encode())
        sync(file)


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
