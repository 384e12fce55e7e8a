"""A disk that is full: statistics, previews and pages cost nothing but themselves; a checkpoint says what it needs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_run import start
from tests.run.points_run import POINTS, finished, notes, plan, quiet
from toolkit.errors import Interrupted, StorageError
from toolkit.run import prepare
from toolkit.training.storage.checkpoint import CheckpointStore

ALWAYS = {"train__checkpoint_minutes": 1e-9}
PREVIEWS = {"train__previews": 3, "train__steps": 200}


class Disk:
    """A disk that has no room for files whose path holds one of the words in `full`."""

    def __init__(self) -> None:
        self.full: set[str] = set()
        self.refused: list[str] = []
        self._open = os.open
        self._write = os.write
        self._names: dict[int, str] = {}

    def open(self, path: str | Path, flags: int, *rest: int) -> int:
        fd = self._open(path, flags, *rest)
        self._names[fd] = str(path)
        return fd

    def write(self, fd: int, data: bytes) -> int:
        name = self._names.get(fd, "")
        if any(word in name for word in self.full):
            self.refused.append(name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "open", disk.open)
    monkeypatch.setattr(os, "write", disk.write)
    return disk


def trained(out: Path, changes: dict[str, object], at: Callable[[prepare.Event], None]) -> Iterator[prepare.Event]:
    for event in plan(out, **changes).run():
        at(event)
        yield event


def steps(out: Path) -> list[int]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "each" not in line]


def test_statistics_wait_and_training_is_the_same(tmp_path: Path, disk: Disk) -> None:
    def filled(event: prepare.Event) -> None:
        if isinstance(event, prepare.Progress):
            disk.full = {"metrics.jsonl"} if 5 <= event.step < 45 else set()

    events = list(trained(tmp_path / "r", {"train__steps": 60}, filled))
    said = [text for text in notes(events) if "metrics.jsonl" in text]
    assert len(said) == 2 and "bytes needed" in said[0] and "bytes free" in said[0] and "again" in said[1]
    assert steps(tmp_path / "r") == [10, 20, 30, 40, 50, 60] and isinstance(events[-1], prepare.Finished)
    assert len(disk.refused) >= 4


def test_previews_are_left_out_with_one_note_and_the_end_is_drawn(tmp_path: Path, disk: Disk) -> None:
    def filled(event: prepare.Event) -> None:
        disk.full = {"/previews/"} if getattr(event, "step", 0) < 150 else set()

    events = list(trained(tmp_path / "r", PREVIEWS, filled))
    said = [text for text in notes(events) if "/previews" in text]
    assert len(said) == 1 and "No space left" in said[0] and len(disk.refused) == 2
    assert isinstance(events[-1], prepare.Finished)
    assert {path.name for path in events[-1].pictures} == {"final.png", "noise-to-sample.png", "noise-to-sample.gif"}
    assert [name for name in os.listdir(tmp_path / "r" / "previews") if name.startswith(".")] == []


def test_a_checkpoint_that_does_not_fit_is_tried_again_and_training_goes_on(tmp_path: Path, disk: Disk) -> None:
    def filled(event: prepare.Event) -> None:
        if isinstance(event, prepare.Progress):
            disk.full = {"/checkpoints/"} if 5 <= event.step < 15 else set()

    finished(tmp_path / "whole")
    events = list(trained(tmp_path / "r", ALWAYS, filled))
    saved = [event.step for event in events if isinstance(event, prepare.Saved)]
    assert saved == [1, 2, 3, 4, *range(15, 21)]
    said = [text for text in notes(events) if "checkpoint of step" in text]
    assert len(said) == 1 and said[0].startswith("cannot write the checkpoint of step 5 in ")
    assert "bytes needed" in said[0] and "bytes free" in said[0] and "\n" not in said[0]
    whole, other = (CheckpointStore(tmp_path / n / "checkpoints").load(notify=quiet) for n in ("whole", "r"))
    assert whole is not None and other is not None
    assert all(
        bool((tensor == other.groups[name][key]).all())
        for name, group in whole.groups.items()
        for key, tensor in group.items()
    )


def test_when_the_last_checkpoint_does_not_fit_it_ends_with_74_and_the_ones_before_are_there(
    tmp_path: Path, disk: Disk
) -> None:
    def filled(event: prepare.Event) -> None:
        if isinstance(event, prepare.Progress) and event.step >= 18:
            disk.full = {"/checkpoints/"}

    with pytest.raises(StorageError, match=r"checkpoint of step 20 .* bytes needed, .* bytes free") as full:
        list(trained(tmp_path / "r", ALWAYS, filled))
    assert full.value.exit_code == 74
    disk.full = set()
    again = plan(tmp_path / "r", **ALWAYS)
    assert again.state.step == 17
    assert isinstance(list(again.run())[-1], prepare.Finished)


def test_a_stop_on_a_full_disk_does_not_claim_that_all_is_saved(tmp_path: Path, disk: Disk) -> None:
    import signal

    def filled(event: prepare.Event) -> None:
        if isinstance(event, prepare.Progress) and event.step == 7:
            disk.full = {"/checkpoints/"}
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StorageError, match=r"cannot write the checkpoint of step 7 "):
        list(trained(tmp_path / "r", {}, filled))
    disk.full = set()
    with pytest.raises(Interrupted):  # with room it is what it was
        list(trained(tmp_path / "s", {}, filled_never(signal.SIGTERM)))


def filled_never(number: int) -> Callable[[prepare.Event], None]:
    return lambda event: os.kill(os.getpid(), number) if getattr(event, "step", 0) == 7 else None


def test_what_is_missing_at_the_end_is_named_and_the_same_command_draws_it(tmp_path: Path, disk: Disk) -> None:
    disk.full = {"/previews/", "machine.json"}
    with pytest.raises(StorageError, match="training is finished, and saved") as full:
        finished(tmp_path / "r")
    line = str(full.value)
    assert "descriptions, final.png, noise-to-sample.gif" in line and "bytes needed" in line and "\n" not in line
    assert CheckpointStore(tmp_path / "r" / "checkpoints").steps() == [20]
    disk.full = set()
    events = finished(tmp_path / "r")
    assert isinstance(events[-1], prepare.Finished) and len(events[-1].pictures) == 3
    assert (tmp_path / "r" / "machine.json").is_file()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system in memory")
def test_a_small_disk_that_somebody_fills_while_it_trains(tmp_path: Path) -> None:
    """Exit 74 in one line with bytes, after all steps, as the disk is still full at the end."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "hold", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        arguments = ["train", "--modality", POINTS, "--steps", "3000", "--batch", "16", "--out", str(place / "r")]
        settings = ["train.previews=40", "train.checkpoint_minutes=0.001", "sample.steps=1", "train.threads=1"]
        running = start(tmp_path, *arguments, *(word for each in settings for word in ("--set", each)))
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("saved step"):
                break
        with (place / "filler").open("wb") as filler, pytest.raises(OSError, match="No space left"):
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        out, err = running.communicate(timeout=300)
        assert running.returncode == 74, err
        assert len(err.splitlines()) == 1 and "bytes needed" in err and "bytes free" in err and "Traceback" not in err
        assert "step 3,000/3,000" in out
        (place / "filler").unlink()
        assert CheckpointStore(place / "r" / "checkpoints").load(notify=pytest.fail) is not None
    finally:
        subprocess.run(["umount", str(place)], check=True)
        shutil.rmtree(place)
