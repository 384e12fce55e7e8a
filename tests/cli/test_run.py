"""`toolkit train` and `toolkit sample` as a user types them, in real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import CHILD_PATH, ROOT, Command

POINTS = str(ROOT / "tests" / "points.py")
TINY = ["--set", "model.preset=tiny", "--set", "model.width=16", "--set", "train.previews=0", "--set", "sample.steps=2"]


def start(folder: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """A running `toolkit` whose lines can be read as they come."""
    environment = {**os.environ, "PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit.cli", *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # type: ignore[call-overload,no-any-return]  # fmt: skip


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"'{text}' was never printed; stderr: {process.stderr.read() if process.stderr else ''}")


def test_a_modality_from_a_file(toolkit_command: Command, tmp_path: Path) -> None:
    done = toolkit_command("train", "--modality", POINTS, "--steps", "20")
    assert done.returncode == 0, done.stderr
    assert "runs/points/previews/final.png" in done.stdout and "\x1b" not in done.stdout
    with Image.open(tmp_path / "runs" / "points" / "previews" / "final.png") as picture:
        assert picture.size == (480, 480) and len(picture.getcolors() or []) > 2
    refused = toolkit_command("sample", "runs/points", "-n", "5")
    assert refused.returncode == 2 and "--modality" in refused.stderr and len(refused.stderr.splitlines()) == 1
    sampled = toolkit_command("sample", "runs/points", "-n", "5", "--modality", POINTS, "--out", "mine")
    assert sampled.returncode == 0, sampled.stderr
    assert sorted(f.name for f in (tmp_path / "mine").iterdir()) == [
        ".samples.json", "0-upper.csv", "1-lower.csv", "2-upper.csv", "3-lower.csv", "4-upper.csv", "grid.png",
    ]  # fmt: skip
    x, y = map(float, (tmp_path / "mine" / "0-upper.csv").read_text().splitlines()[1].split(","))
    assert abs(x) < 10 and abs(y) < 10


def test_control_c_saves_and_the_same_command_goes_on(tmp_path: Path, toolkit_command: Command) -> None:
    arguments = ["train", "--modality", POINTS, "--steps", "20000", "--set", "train.previews=0"]
    running = start(tmp_path, *arguments)
    wait_for(running, "step ")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "same command" in err and "Traceback" not in err and "saved step" in out
    step = int(out.split("saved step ")[1].split(":")[0].replace(",", ""))
    again = start(tmp_path, *arguments)
    wait_for(again, f"goes on from step {step:,}")
    wait_for(again, "step ")
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 143


def test_a_folder_in_use(tmp_path: Path, toolkit_command: Command) -> None:
    arguments = ["train", "--modality", POINTS, "--steps", "20000", "--set", "train.previews=0"]
    running = start(tmp_path, *arguments)
    wait_for(running, "step ")
    second = toolkit_command(*arguments)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert second.returncode == 75 and str(running.pid) in second.stderr and len(second.stderr.splitlines()) == 1


def pictures(folder: Path, n: int) -> Path:
    folder.mkdir()
    for i in range(n):
        Image.new("L", (32, 32), 8 * i).save(folder / f"{i}.png")
    return folder


def test_one_corrupt_picture_among_good_ones(tmp_path: Path, toolkit_command: Command) -> None:
    folder = pictures(tmp_path / "my pictures", 20)
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    done = toolkit_command("train", "--modality", "image", "--data", str(folder), "--steps", "2", "--batch", "4", *TINY)
    assert done.returncode == 0, done.stderr
    assert "3.png" in done.stdout
    assert "3.png" in (tmp_path / "runs" / "my-pictures" / "facts.json").read_text()


def test_no_readable_picture(tmp_path: Path, toolkit_command: Command) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    done = toolkit_command("train", "--modality", "image", "--data", "empty", "--steps", "2")
    assert done.returncode == 66 and len(done.stderr.splitlines()) == 1 and "empty" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    running = start(folder, "train", "--modality", POINTS, "--steps", "30", "--set", "train.checkpoint_minutes=1e-9")
    _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    return folder / "runs" / "points"


def test_a_checkpoint_cut_in_half(trained: Path, toolkit_command: Command) -> None:
    newest, before = sorted((trained / "checkpoints").glob("step-*"), reverse=True)[:2]
    victim = newest / "ema.safetensors"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    try:
        done = toolkit_command("sample", str(trained), "-n", "2", "--modality", POINTS, "--out", "cut")
        assert done.returncode == 0 and f"skipped damaged checkpoint {newest.name}" in done.stdout
        for folder in (newest, before):
            (folder / "ema.safetensors").write_bytes(b"")
        lost = toolkit_command("sample", str(trained), "-n", "2", "--modality", POINTS)
        assert lost.returncode == 1 and "damaged" in lost.stderr and len(lost.stderr.splitlines()) == 1
    finally:
        victim.write_bytes(whole)


def test_a_full_disk(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    running = start(tmp_path, "train", "--modality", POINTS, "--steps", "5", preexec_fn=small_files)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 74, err
    assert len(err.splitlines()) == 1 and "bytes" in err and "Traceback" not in err
    assert not list((tmp_path / "runs" / "points" / "checkpoints").glob("*"))
