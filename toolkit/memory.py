"""Memory that this machine has for one process, and the sentence where something would take more of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import UsageError

if TYPE_CHECKING:
    import torch

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNKNOWN = 1 << 62


def total(device: torch.device | None = None) -> int:
    """Bytes that a process can have at most: of a graphics processor, or else of the machine, its container, and the
    limit that a shell may have set. No more than a bound: other programs have theirs."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return min(_machine(), _container(), _limit())


def require(needed: int, what: str, fix: str, device: torch.device | None = None) -> None:
    """Raise UsageError, "WHAT would take at least 51.5 GB of memory ...; FIX", where `needed` bytes are too many.

    `needed` may be a low estimate, and is computed before anything of it is allocated.
    """
    there = total(device)
    if needed > there:
        raise UsageError(f"{what} would take at least {_gb(needed)} of memory, and there are {_gb(there)} here; {fix}")


def _gb(size: int) -> str:
    return f"{size // 10**9:,} GB" if size >= 10**11 else f"{size / 1e9:.1f} GB"


def _machine() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return _UNKNOWN


def _container() -> int:
    for path in _GROUPS:
        try:
            return int(Path(path).read_text(encoding="ascii")) or _UNKNOWN
        except (OSError, ValueError):  # "max": none is set
            continue
    return _UNKNOWN


def _limit() -> int:
    """Return the bytes that `ulimit -v` leaves beyond those already taken, by libraries for example."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most == resource.RLIM_INFINITY:
            return _UNKNOWN
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        return max(0, most - used)
    except (ImportError, OSError, ValueError):
        return _UNKNOWN
