"""Measure the memory that the default recipe of each modality takes.

    python benchmarks/memory.py [--steps 60] [-n 200] [--only image audio text]

Each of `toolkit train`, `toolkit sample` and `toolkit evaluate` runs in a process of its own, with the defaults but for
the number of steps and samples. Printed is the largest resident set of it, or of a process that it starts, in MB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODALITIES = ("image", "audio", "text")


def peak(arguments: list[str], log: Path) -> float:
    """Return the largest resident set of one command in MB. Raises SystemExit where it fails."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "toolkit", *arguments], stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"toolkit {' '.join(arguments)} failed:\n{log.read_text(errors='replace')[-2000:]}")
    return used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=MODALITIES, choices=MODALITIES)
    ask = parser.parse_args()
    print("modality | train | sample -n 64 | evaluate -n", ask.n)
    with tempfile.TemporaryDirectory() as folder:
        for name in ask.only:
            run, log = str(Path(folder) / name), Path(folder) / "log"
            commands = [
                ["train", "--modality", name, "--steps", str(ask.steps), "--out", run],
                ["sample", run, "-n", "64"],
                ["evaluate", run, "-n", str(ask.n)],
            ]
            print(name, *(f"{peak(command, log):,.0f}" for command in commands), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
