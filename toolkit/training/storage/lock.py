"""One process at a time in a run folder.

The operating system's lock on `run/lock` decides, so a process that was killed blocks nobody. The text in the file
(pid, host and a mark of this boot of the machine) is for the message, and for disks shared between machines, where
one machine's lock may not be visible on another.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from toolkit.errors import BusyError, StorageError

if sys.platform == "win32":
    import msvcrt

    _BYTE = 1 << 30
    """The byte that is locked. Windows lets nobody read locked bytes, and the text must stay readable."""

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True


_HELD: weakref.WeakSet[RunLock] = weakref.WeakSet()


class RunLock:
    """`with RunLock(run_folder):` raises BusyError (exit 75) when another process holds it, without waiting.

    Raises StorageError when the lock file cannot be written or the file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._fd: int | None = None

    def __enter__(self) -> RunLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = self._acquire()
        except OSError as error:
            raise StorageError(f"cannot lock {self.path}: {error.strerror}; choose another folder") from error
        _HELD.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is None:
            return
        # Elsewhere the name goes first, while the lock is held; Windows only removes a file that is closed,
        # and not when another process has opened it in between, which then owns it.
        if sys.platform != "win32":
            with suppress(OSError):
                os.unlink(self.path)
        self._forget()
        if sys.platform == "win32":
            with suppress(OSError):
                os.unlink(self.path)

    def _acquire(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            try:
                if not _try_lock(fd):
                    raise self._busy(_read(fd), held=True)
                if self._still_there(fd):
                    holder = _read(fd)
                    if holder and _elsewhere(holder):
                        raise self._busy(holder, held=False)
                    os.ftruncate(fd, 0)
                    os.lseek(fd, 0, os.SEEK_SET)
                    os.write(fd, "\n".join((str(os.getpid()), *_here(), "")).encode())
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # the holder removed the file between our open and our lock: look again

    def _still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _busy(self, holder: tuple[str, str, str] | None, held: bool) -> BusyError:
        folder = self.path.parent
        if holder is None:
            return BusyError(f"{folder} is in use by another process; wait until it ends or choose another folder")
        pid, host, _ = holder
        if held:
            advice = f"wait until it ends, stop it (kill {pid}) or choose another folder"
        else:
            advice = f"if it no longer runs there, delete {self.path} and try again"
        return BusyError(f"{folder} is in use by process {pid} on {host}; {advice}")

    def _forget(self) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)
        self._fd = None
        _HELD.discard(self)


def _here() -> tuple[str, str]:
    """Host name, and what identifies this boot of this machine ("-" where the system does not say).

    Containers on one machine have different host names but one kernel, whose locks hold between them.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = "-"
    return socket.gethostname() or "-", boot


def _elsewhere(holder: tuple[str, str, str]) -> bool:
    """Return True where the holder was on another machine: our getting the lock does not prove that it ended."""
    host, boot = _here()
    return holder[1] != host and (holder[2] != boot or boot == "-")


def _read(fd: int) -> tuple[str, str, str] | None:
    """(pid, host, boot) from the lock file, or None when that is not what it holds."""
    os.lseek(fd, 0, os.SEEK_SET)
    lines = os.read(fd, 1024).decode("ascii", "replace").split("\n")
    if len(lines) != 4 or not lines[0].isdecimal() or not all(line.isprintable() and line for line in lines[:3]):
        return None
    return lines[0], lines[1], lines[2]


def _child_forgets() -> None:
    """A forked worker inherits the open file, and would hold the lock after its parent was killed."""
    for lock in list(_HELD):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_child_forgets)
