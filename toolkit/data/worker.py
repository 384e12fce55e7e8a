"""A process that answers requests until its input ends; `toolkit.data.workers` starts it and asks.

    standard input     one line of JSON for each request
    standard output    an answer in parts: HEADER (bytes of JSON, bytes of content), JSON, content

JSON comes with the last part of an answer alone; the parts before it are content, or empty as a sign of life. What
libraries print goes to /dev/null, however they print it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct("<II")
MEMORY = 2 << 30
"""Most bytes that a process may allocate, where the system can bound them; files that are mapped do not count."""

_BUFFER = 1 << 16
_BEAT_SECONDS = 1.0

Part = Callable[["bytes | memoryview"], None]
"""Takes the next part of an answer's content; an empty one is a sign of life."""
Answer = Callable[[dict[str, Any], Part], dict[str, Any]]
"""Returns the answer to a request, both such that JSON has room for them."""


def main(module: str) -> None:
    """Answer requests by the function `answer` of a module, and end the process at the end of standard input."""
    try:
        _serve(module)
    finally:
        os._exit(1)


def _serve(module: str) -> None:
    out = os.fdopen(os.dup(1), "wb", _BUFFER)
    os.dup2(2, 1)  # which is /dev/null
    _bound()
    sent = time.monotonic()

    def part(content: bytes | memoryview, text: bytes = b"") -> None:
        nonlocal sent
        late = time.monotonic() - sent > _BEAT_SECONDS
        size = memoryview(content).nbytes
        if size or text or late:
            out.write(HEADER.pack(len(text), size) + text)
            out.write(content)
        if text or late:  # what is sent wakes the other side, which for every small part would take most of the time
            out.flush()
            sent = time.monotonic()

    enter(module)
    answer: Answer = importlib.import_module(module).answer
    part(b"", b"{}")  # ready
    threading.Thread(target=_watch, daemon=True).start()
    with open(0, "rb", closefd=False) as requests:
        for line in requests:
            part(b"", json.dumps(answer(json.loads(line), part)).encode())


def _watch() -> None:
    """End the process with its parent, whatever it is at: nobody else can close the other end of standard input."""
    ends = select.poll()
    ends.register(0, 0)  # no requests, but that there will be none
    ends.poll()
    os._exit(0)


def enter(module: str) -> None:
    """Let a module be imported without what the packages around it import, such as torch."""
    packages = module.split(".")[:-1]
    for name in (".".join(packages[: i + 1]) for i in range(len(packages))):
        if name not in sys.modules and (spec := importlib.util.find_spec(name)) is not None:
            sys.modules[name] = importlib.util.module_from_spec(spec)


def _bound() -> None:
    """Bound the memory of this process, and let it leave no core file."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every system has such bounds
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = MEMORY if soft == resource.RLIM_INFINITY else min(soft, MEMORY)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
