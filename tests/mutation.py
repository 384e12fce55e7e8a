"""Would the tests see it? Makes one-token mistakes at marked places, one at a time, and runs the tests about them.

    python tests/mutation.py                 # all; about an hour on two cores
    python tests/mutation.py loop bound      # those whose file or name contains one of these
    python tests/mutation.py --list

The places are in tests/mutations.toml. A copy of the checkout is changed, never the checkout itself. A mistake that
makes no test fail survives and is listed; the exit code is 1 when fewer than --least percent are killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PLACES = ROOT / "tests" / "mutations.toml"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".*_cache", "pictures")


@dataclass(frozen=True)
class Mutation:
    """One mistake: `old` becomes `new` in `file`, and one of `tests` is to fail."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""
    """Reason that no test can see it, where that is so."""

    def __str__(self) -> str:
        return f"{self.file}: {self.old.strip()}  ->  {self.new.strip() or '(nothing)'}"


def mutations() -> Iterator[Mutation]:
    """All places, in the order of the file. Raises ValueError when one does not occur exactly once."""
    for group in tomllib.loads(PLACES.read_text(encoding="utf-8"))["files"]:
        text = (ROOT / group["file"]).read_text(encoding="utf-8")
        for place in group["places"]:
            if text.count(place["old"]) != 1:
                raise ValueError(f"{group['file']} has {text.count(place['old'])} times: {place['old']}")
            tests = tuple(place.get("tests", group["tests"]))
            yield Mutation(group["file"], place["old"], place["new"], tests, place.get("equivalent", ""))


def survives(mutation: Mutation, copy: Path, limit: float) -> bool:
    """Run the tests of one mistake in a copy of the checkout, and mend it again."""
    path = copy / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(mutation.old, mutation.new), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *mutation.tests]
    try:
        ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return False  # a loop that never ends is seen
    finally:
        path.write_text(before, encoding="utf-8")
    if ran.returncode not in (0, 1, 2):
        raise RuntimeError(f"pytest could not run {mutation.tests}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.returncode == 0


def main() -> int:
    """Print a line for each mistake and the share that was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds for the tests of one mistake")
    parser.add_argument("--least", type=float, default=95.0, help="percent to be killed")
    asked = parser.parse_args()
    chosen = [m for m in mutations() if not asked.only or any(word in str(m) for word in asked.only)]
    if asked.list:
        print(*chosen, sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for i in range(asked.jobs):
            copies.put(shutil.copytree(ROOT, Path(folder) / str(i), ignore=LEFT_OUT))

        def judge(mutation: Mutation) -> bool:
            copy = copies.get()
            began = time.monotonic()
            try:
                alive = survives(mutation, copy, asked.limit)
            finally:
                copies.put(copy)
            word = "killed  " if not alive else "equal   " if mutation.equivalent else "SURVIVES"
            print(f"{word} {time.monotonic() - began:4.0f} s  {mutation}", flush=True)
            return alive

        with ThreadPoolExecutor(asked.jobs) as pool:
            alive = list(pool.map(judge, chosen))
    counted = [a for a, m in zip(alive, chosen, strict=True) if not m.equivalent]
    killed = len(counted) - sum(counted)
    share = 100 * killed / max(1, len(counted))
    print(f"{killed} of {len(counted)} killed: {share:.0f} % ({len(chosen) - len(counted)} equivalent left out)")
    return int(share < asked.least)


if __name__ == "__main__":
    sys.exit(main())
