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
EACH_STEP = ["--set", "train.checkpoint_minutes=1e-9", "--set", "train.previews=0", "--set", "sample.steps=1"]
SMALL = {
    "points": [str(ROOT / "tests" / "points.py"), "--set", "train.batch=16"],
    "image": ["image", "--recipe", "digits", "--preset", "tiny", "--width", "8", "--set", "train.batch=8"],
    "audio": ["audio", "--recipe", "drums", "--preset", "tiny", "--width", "8", "--rate", "4000", "--seconds", "0.25",
              "--set", "train.batch=4"],
    "text": ["text", "--recipe", "names", "--preset", "smoke", "--width", "32", "--depth", "2", "--length", "32",
             "--set", "train.batch=8"],
}  # fmt: skip
"""The options of a network so small that a save takes most of a step."""
STEPS = {"points": 3000, "image": 1200, "audio": 1200, "text": 1200}
SAVES = {"points": 20, "image": 16, "audio": 16, "text": 16}
"""Each kill comes after fewer saves than this."""


def start(modality: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1"}
    arguments = ["--modality", *SMALL[modality], "--steps", str(STEPS[modality]), "--out", "run", *EACH_STEP]
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit.cli", "train", *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def final(modality: str, folder: Path) -> dict[str, str]:
    newest = folder / "run" / "checkpoints" / f"step-{STEPS[modality]:08d}"
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in newest.glob("*.safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("modality", SMALL)
def test_fifty_kills(tmp_path: Path, modality: str) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = start(modality, tmp_path / "whole")
    output, _ = whole.communicate(timeout=600)
    assert whole.returncode == 0, output
    draw, staged, furthest = random.Random(0), 0, []
    for kill in range(KILLS):
        running = start(modality, tmp_path / "killed")
        assert running.stdout is not None
        lines, wanted, said = 0, draw.randrange(1, SAVES[modality]), []
        for line in running.stdout:  # training has begun when the first checkpoint is reported
            said.append(line)
            lines += line.startswith("saved step")
            if lines >= wanted:
                break
        else:
            raise AssertionError(f"it ended by itself, with {running.wait()}: {''.join(said)[-2000:]}")
        checkpoints = tmp_path / "killed" / "run" / "checkpoints"
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
    last = start(modality, tmp_path / "killed")
    output, _ = last.communicate(timeout=600)
    assert last.returncode == 0, output
    assert final(modality, tmp_path / "killed") == final(modality, tmp_path / "whole") != {}
