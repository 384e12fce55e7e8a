"""One process at a time, and a dead one blocks nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.errors import BusyError, StorageError
from toolkit.training.storage import lock
from toolkit.training.storage.lock import RunLock

posix = pytest.mark.skipif(os.name == "nt", reason="signals and fork")
PROJECT = Path(__file__).resolve().parents[2]

HOLD = """
import sys
from pathlib import Path
from toolkit.training.storage.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

FORK = """
import os, signal, sys
from pathlib import Path
from toolkit.training.storage.lock import RunLock
with RunLock(Path(sys.argv[1])):
    worker = os.fork()
    if worker == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
        os._exit(0)
    signal.pause()
"""

RACE = """
import os, sys
from pathlib import Path
from toolkit.errors import BusyError
from toolkit.training.storage.lock import RunLock
folder, won, busy = Path(sys.argv[1]), 0, 0
while won < 60:
    try:
        with RunLock(folder):
            # Fails when anybody else is inside.
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            assert (folder / "lock").read_text().startswith(f"{os.getpid()}\\n")
            os.unlink(folder / "inside")
            won += 1
    except BusyError:
        busy += 1
print(won, busy)
"""


def python(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_is_told_who_and_what_to_do(tmp_path: Path) -> None:
    with python(HOLD, tmp_path) as holder:
        assert said(holder) == "held"
        with pytest.raises(BusyError) as caught, RunLock(tmp_path):
            pass
        line = str(caught.value)
        assert f"in use by process {holder.pid} on {lock._here()[0]};" in line and f"kill {holder.pid}" in line
        assert caught.value.exit_code == 75 and str(tmp_path) in line and "\n" not in line
        holder.communicate("")
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text().split("\n")[0] == str(os.getpid())
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"), RunLock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_killed_process_does_not_block(tmp_path: Path) -> None:
    with python(HOLD, tmp_path) as holder:
        assert said(holder) == "held"
        holder.kill()
        assert holder.wait() == -signal.SIGKILL
        assert (tmp_path / "lock").read_text().startswith(f"{holder.pid}\n")
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()}\n")


@posix
def test_a_worker_that_outlives_its_killed_parent_does_not_block(tmp_path: Path) -> None:
    with python(FORK, tmp_path) as parent:
        worker = int(said(parent))
        with pytest.raises(BusyError, match=f"process {parent.pid}"), RunLock(tmp_path):
            pass
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        os.kill(worker, 0)  # it lives
        with RunLock(tmp_path):
            pass


@pytest.mark.parametrize("text", ["", "x", "123", "12\nhost", "-1\nhost\nboot\n", "12\nho\x1bst\nboot\n", "\0" * 5000])
def test_unreadable_text_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()}\n")


def test_same_host_or_same_boot_is_taken_over_and_another_machine_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    monkeypatch.setattr(lock, "_here", lambda: ("here", "boot-1"))
    for text in ("99999999\nhere\nboot-0\n", "1\ncontainer\nboot-1\n"):
        file.write_text(text)
        with RunLock(tmp_path):
            pass
    for other in ("4321\nthere\nboot-2\n", "4321\nthere\n-\n"):
        file.write_text(other)
        with (
            pytest.raises(BusyError, match=r"process 4321 on there; if it no longer runs there, delete .*lock"),
            RunLock(tmp_path),
        ):
            pass
        assert file.read_text() == other
    file.unlink()
    with RunLock(tmp_path):
        pass


def test_racing_processes_are_never_inside_together(tmp_path: Path) -> None:
    racers = [python(RACE, tmp_path) for _ in range(4)]
    ends = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0, 0], ends
    won, busy = zip(*(map(int, out.split()) for out, _ in ends))
    assert won == (60, 60, 60, 60) and sum(busy) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_and_the_lock_released_after_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with pytest.raises(ZeroDivisionError), RunLock(folder):
        assert (folder / "lock").exists()
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot lock"), RunLock(tmp_path / "file"):
        pass
