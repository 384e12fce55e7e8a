"""Count the files, functions and lines of the project that are entered on the way to the first network call.

`python benchmarks/reading_paths.py` trains tests/points.py for a few steps, then runs each path in a process of its own
under `sys.settrace` and notes every function of toolkit/ and modalities/ that is called before the event. What an
import runs does not count. A file's lines are those of its functions. Paths:

    library sample   `toolkit.diffusion.sample` with DDIM, to the network
    library train    `toolkit.training.loop.start` and `fit`, to the network
    sample           `toolkit sample RUN`, to the network
    train            `toolkit train`, to the first loss, which measures the speed
    train, batch 1   `toolkit train`, to the loss of the first batch of the run itself, after the plan was printed

`--list PATH` shows the files and functions of one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
POINTS = ROOT / "tests" / "points.py"
TRAIN = ["train", "--modality", str(POINTS), "--steps", "4", "--set", "train.previews=0"]
SAMPLE = ["sample", "runs/points", "-n", "2", "--modality", str(POINTS)]
NETWORK = ("mlp.py", "forward")
LOSS = ("loop.py", "batch_loss")
PATHS: dict[str, tuple[list[str], tuple[str, str], str | None]] = {
    "library sample": ([], NETWORK, None),
    "library train": (["fit"], NETWORK, None),
    "sample": (SAMPLE, NETWORK, None),
    "train": ([*TRAIN, "--out", "new"], LOSS, None),
    "train, batch 1": ([*TRAIN, "--out", "new"], LOSS, "_train"),
}
"""Command line, (file, function) where the path ends, and the function that must have been entered before."""


class Arrived(BaseException):
    """The event has come: leave."""


def follow(arguments: list[str], end: tuple[str, str], after: str | None) -> dict[str, Any]:
    """Run a path in this process and return the functions that were entered: {file: {function: [first, last line]}}."""
    entered: dict[CodeType, None] = {}
    stack: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        here = Path(code.co_filename)
        arrived = (here.name, code.co_name) == end and (after is None or any(c.co_name == after for c in entered))
        if arrived:
            sys.settrace(None)
            above: FrameType | None = frame.f_back
            while above is not None:
                if _ours(above.f_code):
                    stack.append(Path(above.f_code.co_filename).relative_to(ROOT).as_posix())
                above = above.f_back
            raise Arrived
        if _ours(code) and code not in entered and not _importing(frame):
            entered[code] = None

    run = _library(arguments) if not arguments or arguments == ["fit"] else _command(arguments)
    sys.settrace(trace)
    try:
        run()
    except Arrived:
        pass
    finally:
        sys.settrace(None)
    files: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for code in entered:
        lines = [line for *_, line in code.co_lines() if line is not None]
        name = getattr(code, "co_qualname", code.co_name)
        files[Path(code.co_filename).relative_to(ROOT).as_posix()][name] = [code.co_firstlineno, max(lines)]
    return {"entered": files, "stack": sorted(set(stack))}


def _ours(code: CodeType) -> bool:
    """Return True for a function of the project that is neither a module nor the body of a class."""
    inside = code.co_filename.startswith((f"{ROOT}/toolkit/", f"{ROOT}/modalities/"))
    return inside and code.co_name != "<module>" and bool(code.co_flags & 1)


def _importing(frame: FrameType | None) -> bool:
    """Return True while a module of the project is being imported above a frame."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename.startswith((f"{ROOT}/toolkit/", f"{ROOT}/modalities/")):
            return True
        frame = frame.f_back
    return False


def _command(arguments: list[str]) -> Any:
    from toolkit.cli import main

    return lambda: main(arguments)


def _library(arguments: list[str]) -> Any:
    import torch

    from toolkit.diffusion import DDIM, GRIDS, RectifiedFlow, RegressionDenoiser, conditional, sample
    from toolkit.nn import MLP
    from toolkit.training.loop import Config, fit, start

    schedule = RectifiedFlow()
    denoiser = RegressionDenoiser(MLP(2, 2), schedule)
    if arguments:
        config = Config(steps=1, batch=2)
        batch = (torch.zeros(2, 2), {"label": torch.zeros(2, dtype=torch.int64)})
        return lambda: next(fit(lambda step, positions: batch, config, start(denoiser, config)))
    times = GRIDS["log-snr"](schedule, 2)
    denoise = conditional(denoiser, {"label": torch.zeros(2, dtype=torch.int64)})
    return lambda: sample(denoise, schedule, DDIM(), torch.zeros(2, 2), times)


def measure(folder: Path, path: str) -> dict[str, Any]:
    """`follow` in a process of its own, in `folder`."""
    done = subprocess.run(
        [sys.executable, __file__, "--follow", path], cwd=folder, env=environment(), capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def environment() -> dict[str, str]:
    """This checkout first, one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def lines_of(functions: dict[str, list[int]]) -> int:
    """Lines of a file that its functions span, each counted once."""
    return len({line for first, last in functions.values() for line in range(first, last + 1)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", choices=PATHS, metavar="PATH", help="show the files and functions of one path")
    parser.add_argument("--follow", choices=PATHS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.follow:
        print(json.dumps(follow(*PATHS[chosen.follow])))
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = [sys.executable, "-m", "toolkit.cli", *TRAIN]
        subprocess.run(whole, cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)
        for path in [chosen.list] if chosen.list else PATHS:
            found = measure(Path(folder), path)
            entered = found["entered"]
            functions = sum(len(of) for of in entered.values())
            total = sum(lines_of(of) for of in entered.values())
            print(
                f"{path:15} {len(entered):3} files entered, {functions:4} functions, {total:5} lines; "
                f"{len(found['stack'])} files on the stack"
            )
            if chosen.list:
                for file, of in sorted(entered.items()):
                    print(f"  {file}: {lines_of(of)} lines")
                    print(f"      {', '.join(of)}")


if __name__ == "__main__":
    main()
