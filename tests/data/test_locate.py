"""The place of a source, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.data import locate
from toolkit.errors import DataError


def test_locating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "a.tar").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert locate.locate("mine", ()) == locate.locate("data/mine", ()) == tmp_path / "data" / "mine"
    assert locate.locate("a.tar", (), archives=(".tar",)) == tmp_path / "data" / "a.tar"
    with pytest.raises(DataError, match=r"a\.tar is a file; --data takes the folder it is in"):
        locate.locate("a.tar", ())
    with pytest.raises(DataError, match=r"no such folder: gone \(nor in .*data, nor a data set: x, y\)"):
        locate.locate("gone", ("x", "y"))
    for name in ("a\0b", "x" * 5000, "~nobody-of-that-name/x"):
        with pytest.raises(DataError, match="no such folder: ") as caught:
            locate.locate(name, ())
        assert "\0" not in str(caught.value) and len(str(caught.value)) < 6000


def test_rejects_are_summed_up() -> None:
    said: list[str] = []
    locate.report_rejected((), 5, said.append)
    assert said == []
    locate.report_rejected([f"{i}: bad" for i in range(7)], 5, said.append)
    assert said == [
        "7 of 12 files could not be read and are left out:",
        *(f"  {i}: bad" for i in range(5)),
        "  ... and 2 more; facts.json of the run lists them",
    ]


def test_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(locate.time, "monotonic", lambda: now[0])
    pace = locate.Pace()
    due = []
    for now[0] in (100.0, 102.9, 103.0, 104.0, 106.1, 106.2):
        due.append(pace.due())
    assert due == [False, False, True, False, True, False]
