"""The worker of sounds, but that the name of a file says what its decoder does: crash, hang, print ...

It is imported by processes of `toolkit.data.workers` alone, which tests tell its name.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from typing import Any

import numpy as np

from toolkit.data.worker import Part, enter

enter("modalities.audio.data.worker")
worker = importlib.import_module("modalities.audio.data.worker")

if "FAULTY_FIFO" in os.environ:  # open as long as this process is there
    FIFO = os.open(os.environ["FAULTY_FIFO"], os.O_WRONLY)
poisoned = False


def answer(request: dict[str, Any], part: Part) -> dict[str, Any]:
    global poisoned
    name = worker.path_from(request["path"]).stem
    if poisoned:
        os.abort()
    if name.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, name))
    if name == "hang":
        if "FAULTY_FIFO" in os.environ:
            os.write(FIFO, b"hanging\n")
        while True:
            signal.pause()
    if name == "control c" and request["do"] == "prepare":  # as a terminal sends it
        os.killpg(os.getpgid(os.getppid()), signal.SIGINT)
    if name == "half":  # of an answer, then the end
        part(b"x" * (1 << 20))
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "nonsense":
        for fd in range(3, 8):
            with contextlib.suppress(OSError):
                os.write(fd, b"\xff" * 99)
    if name == "greedy":
        np.empty(8 << 30, np.uint8)
    if name == "loud":
        print("loud", flush=True)
        os.write(1, b"loud\n")
        os.write(2, b"loud\n")
    poisoned = name == "poison"
    return worker.answer(request, part)
