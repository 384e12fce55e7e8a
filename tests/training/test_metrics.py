"""metrics.jsonl: whatever has happened to it, a run goes on; a disk that takes no more costs lines their time only."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import pytest

from tests.run.points_run import finished, notes, plan
from toolkit.errors import StorageError
from toolkit.report import report, run_files
from toolkit.training.loop import StepResult
from toolkit.training.storage.files import Growing
from toolkit.training.storage.metrics import Metrics, entries

LINES = b"".join(b'{"step": %d, "loss": 0.5, "lr": 0.1, "grad_norm": 1.0, "seconds": 0.1}\n' % n for n in (10, 20, 30))
DAMAGE = {
    "no UTF-8": b"\xff\n", "nested": b"[" * 100_000 + b"\n", "cut": b'{"step": 4', "NUL": b"\0" * 9 + b"\n",
    "number": b"7\n", "null": b"null\n", "no step": b'{"loss": 1}\n', "a step of text": b'{"step": "x"}\n',
    "one byte": LINES[70:].replace(b"loss", b"l\x80ss", 1),
}  # fmt: skip


def done(step: int) -> StepResult:
    return StepResult(step, 0.25, 0.1, 1.0, 0.1, True)


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_lines_are_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES + DAMAGE[kind])
    with Metrics(path, 20) as metrics:
        assert (
            metrics.take_notes() == [f"lines of {path} that cannot be read and are left out: 1"]
            and metrics.take_notes() == []
        )
        metrics.write(done(40), [0.25])
    assert steps(path) == [10, 20, 40]


def test_no_damage_ends_a_run_or_a_report(tmp_path: Path) -> None:
    """200 bytes changed and 200 cuts: each is left out or is a line with a step."""
    path, chance, left = tmp_path / "metrics.jsonl", random.Random(0), 0
    for i in range(400):
        place = chance.randrange(len(LINES))
        path.write_bytes(
            LINES[:place] if i % 2 else LINES[:place] + bytes([chance.randrange(256)]) + LINES[place + 1 :]
        )
        with Metrics(path, 20) as metrics:
            left += len(metrics.take_notes())
            metrics.write(done(40), [0.25])
        assert steps(path)[-1] == 40
        assert [line.step for line in run_files.metrics(tmp_path)][-1] == 40
    assert left > 200


def test_a_run_with_damaged_statistics_is_resumed_and_reported(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for event in (running := plan(out).run()):
        if getattr(event, "step", 0) == 15:
            break
    running.close()
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(DAMAGE["no UTF-8"] + DAMAGE["nested"])
    said: list[str] = []
    report(out, notify=said.append)
    assert said == [f"lines of {out / 'metrics.jsonl'} that cannot be read and are left out: 2"]
    events = finished(out)
    assert notes(events)[0].endswith("left out: 2")
    good, damaged = entries((out / "metrics.jsonl").read_bytes())
    assert damaged == 0 and [line["step"] for _, line in good if "each" not in line] == [10, 20]
    said.clear()
    report(out, notify=said.append)
    assert said == []


def test_lines_wait_for_a_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES)
    write, full = os.write, [False]

    def short(fd: int, data: memoryview) -> int:
        if full[0] and len(data) > 20:
            return write(fd, data[:20])  # as a disk does that has room for so much
        if full[0]:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", short)
    with Metrics(path, 20) as metrics:
        full[0] = True
        for step in (30, 40, 50):
            metrics.write(done(step), [0.25])
        said = metrics.take_notes()
        assert (
            len(said) == 1 and "bytes needed" in said[0] and "bytes free" in said[0] and "Training goes on" in said[0]
        )
        assert steps(path) == [10, 20] and metrics.failed is not None
        full[0] = False
        metrics.write(done(60), [0.25])
        assert steps(path) == [10, 20, 30, 40, 50, 60] and metrics.failed is None
        assert metrics.take_notes() == [f"{path} is written again, with all its lines"]


def test_a_file_that_cannot_be_made_anew_stays_as_it_is_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES + DAMAGE["cut"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with Metrics(path, 10) as metrics:
            metrics.write(done(20), [0.25])
        assert path.read_bytes() == LINES + DAMAGE["cut"] and metrics.failed is not None
        assert os.listdir(tmp_path) == ["metrics.jsonl"]
    with Metrics(path, 10) as metrics:
        pass
    assert steps(path) == [10]


@pytest.mark.skipif(sys.platform == "win32", reason="no links there for everybody")
def test_statistics_are_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(LINES)
    (tmp_path / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(StorageError, match=r"cannot write metrics\.jsonl"):
        Growing(tmp_path / "metrics.jsonl")
    with Metrics(tmp_path / "metrics.jsonl", 20) as metrics:
        metrics.write(done(30), [0.25])
    assert victim.read_bytes() == LINES and steps(tmp_path / "metrics.jsonl") == [10, 20, 30]
