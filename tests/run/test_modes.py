"""Files have the mode that the umask asks for."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tests.run.points_run import POINTS, finished, quiet
from toolkit.report import report
from toolkit.run.generator import load
from toolkit.training.storage.files import Growing, write_json_atomic, write_stream_atomic, write_text_atomic


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def mode(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_every_writer_follows_the_umask(tmp_path: Path, mode: int) -> None:
    write_text_atomic(tmp_path / "text", "a")
    write_json_atomic(tmp_path / "json", {})
    write_stream_atomic(tmp_path / "stream", lambda stream: stream.write(b"a"))
    growing = Growing(tmp_path / "growing")
    growing.add(b"a")
    growing.close()
    assert modes(tmp_path) == {mode} and len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_every_file_of_a_run_follows_the_umask(tmp_path: Path, mode: int) -> None:
    finished(tmp_path / "run", train__steps=2)
    load(tmp_path / "run", modality=POINTS, notify=quiet).sample(2, steps=1).save(tmp_path / "run" / "samples")
    report(tmp_path / "run", notify=quiet)
    assert modes(tmp_path) == {mode}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) > 15
