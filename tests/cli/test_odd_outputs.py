"""An --out that cannot be, names of 300 letters, a closed or full standard output: one line, before data is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.cli.test_run import start
from tests.conftest import CHILD_PATH, ROOT
from tests.run.points_run import POINTS
from toolkit import paths
from toolkit.cli import main
from toolkit.errors import StorageError, ToolkitError
from toolkit.training.storage.checkpoint import CheckpointStore

NEVER = """
from toolkit.modality import Modality
import tests.points


class Never(tests.points.Points):
    name = "never"

    def load(self, cache, notify):
        raise AssertionError("the data was read")
"""


def ended(folder: Path, *arguments: str, **options: object) -> tuple[int, str]:
    running = start(folder, *arguments, **options)
    _, err = running.communicate(timeout=120)
    return running.returncode, err


@pytest.mark.parametrize("kind", ["below a file", "a long name", "a long name above"])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_out_that_cannot_be_is_refused_before_the_data_is_read(
    tmp_path: Path, kind: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from toolkit.cli import main

    (tmp_path / "file").write_text("mine")
    (tmp_path / "never.py").write_text(NEVER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    out = {"below a file": "file/x/y", "a long name": "n" * 300, "a long name above": f"{'ü' * 200}/x"}[kind]
    typed = {
        "train": ["train", "--modality", "never.py", "--steps", "1", "--out", out],
        "evaluate": ["evaluate", "no-run", "--out", out],
    }
    with pytest.raises(SystemExit) as ended:
        main(typed[command])
    err = capsys.readouterr().err
    assert ended.value.code == 74 and len(err.splitlines()) == 1 and err.startswith("error: cannot write to ")
    assert ("file is no folder" in err) == (kind == "below a file")
    assert ("a name has at most 255 bytes" in err) == (kind != "below a file")
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_names_that_fit_are_taken(tmp_path: Path) -> None:
    paths.check_writable(tmp_path / ("n" * 255))
    paths.check_writable(tmp_path / ("ü" * 127))
    with pytest.raises(StorageError, match="a name has at most 255 bytes"):
        paths.check_writable(tmp_path / ("ü" * 128))
    assert issubclass(StorageError, ToolkitError)


@pytest.mark.skipif(sys.platform == "win32", reason="shells there close no streams")
@pytest.mark.parametrize("command", ["recipes list", f"train --modality {POINTS} --steps 1"])
def test_a_closed_output_is_one_line_before_anything_is_done(tmp_path: Path, command: str) -> None:
    shell = f"{sys.executable} -m toolkit.cli {command} >&-"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, env={"PYTHONPATH": CHILD_PATH}, capture_output=True, text=True
    )
    assert done.returncode == 74
    assert done.stderr == "error: standard output is closed; send it to a file, or to /dev/null\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_is_full_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "toolkit.cli", "recipes", "list"], cwd=tmp_path, env={"PYTHONPATH": CHILD_PATH},
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 74 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: cannot write to standard output: No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_training_whose_log_is_full_is_trained_to_its_end(tmp_path: Path) -> None:
    arguments = ["train", "--modality", POINTS, "--steps", "3", "--batch", "8", "--out", "run", "--threads", "1"]
    # the tables at the start are printed before anything is trained, and end it: they are left out here
    script = f"from toolkit import cli; cli.train.print_table = lambda *rows: None; cli.main({arguments!r})"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            env={"PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1", "TOOLKIT_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
    assert done.returncode == 74 and done.stderr.startswith("error: cannot write to standard output")
    assert CheckpointStore(tmp_path / "run" / "checkpoints").steps() == [3]
    assert (tmp_path / "run" / "previews" / "final.png").is_file()


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
])  # fmt: skip
def test_too_little_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, *_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("toolkit.report.report", fail)
    with pytest.raises(SystemExit) as end:
        main(["report", "run"])
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.count("\n") == 1 and said.startswith("error: there is not enough memory")
