"""Files that are whole or as they were."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.training.test_checkpoint import groups
from toolkit.errors import StorageError, ToolkitError
from toolkit.training.storage import files as storage
from toolkit.training.storage.checkpoint import CheckpointStore


@pytest.mark.skipif(sys.platform == "win32", reason="no odd names there")
def test_atomic_text_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ein Ordner ü 🎲" / "facts.json"
    path.parent.mkdir()
    data = {"name": "ü", "rejected": [os.fsdecode(b"\xff.png")], "std": 0.3}
    storage.write_json_atomic(path, data)
    assert json.loads(path.read_text(encoding="utf-8")) == data
    with pytest.raises(ToolkitError, match=r"cannot write facts\.json"):
        storage.write_json_atomic(path, {"std": float("nan")})

    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(
        StorageError, match=r"facts.json .* No space left on device; 2 bytes needed, [0-9,]+ bytes free"
    ):
        storage.write_text_atomic(path, "{}")
    assert json.loads(path.read_text(encoding="utf-8")) == data and os.listdir(path.parent) == ["facts.json"]


def test_size_is_what_a_save_takes(tmp_path: Path) -> None:
    state = {"step": 3, "note": "x" * 1000}
    folder = CheckpointStore(tmp_path).save(3, groups(), state)
    real = sum(f.stat().st_size for f in folder.iterdir())
    assert abs(CheckpointStore.size(groups(), state) - real) < 400
