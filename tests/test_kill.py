"""kill -9 at random moments of a real training, again and again: the end is that of a training left alone."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHILD_PATH, ROOT

KILLS = 50
ARGUMENTS = [
    "train", "--modality", str(ROOT / "tests" / "points.py"), "--steps", "3000", "--set", "train.previews=0",
    "--set", "train.checkpoint_minutes=1e-9", "--set", "train.batch=16", "--set", "sample.steps=1",
]  # fmt: skip


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit.cli", *ARGUMENTS], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def final(folder: Path) -> dict[str, str]:
    newest = folder / "runs" / "points" / "checkpoints" / "step-00003000"
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in newest.glob("*.safetensors")}


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = start(tmp_path / "whole")
    output, _ = whole.communicate(timeout=600)
    assert whole.returncode == 0, output
    draw, staged, furthest = random.Random(0), 0, []
    for kill in range(KILLS):
        running = start(tmp_path / "killed")
        assert running.stdout is not None
        lines, wanted, said = 0, draw.randrange(1, 20), []
        for line in running.stdout:  # training has begun when the first checkpoint is reported
            said.append(line)
            lines += line.startswith("saved step")
            if lines >= wanted:
                break
        else:
            raise AssertionError(f"it ended by itself, with {running.wait()}: {''.join(said)[-2000:]}")
        checkpoints = tmp_path / "killed" / "runs" / "points" / "checkpoints"
        while kill % 2 and running.poll() is None:  # every other time in the middle of a save
            if any(name.startswith(".tmp-") for name in os.listdir(checkpoints)):
                break
        running.send_signal(signal.SIGKILL)
        running.stdout.read()
        assert running.wait() == -signal.SIGKILL
        folders = os.listdir(checkpoints)
        staged += any(name.startswith((".tmp-", ".del-")) for name in folders)
        furthest.append(max(int(name[5:13]) for name in folders if name.startswith("step-")))
    assert furthest == sorted(set(furthest)) and len(furthest) == KILLS
    assert staged >= 10  # or the kills missed the saves
    last = start(tmp_path / "killed")
    output, _ = last.communicate(timeout=600)
    assert last.returncode == 0, output
    assert final(tmp_path / "killed") == final(tmp_path / "whole") != {}
