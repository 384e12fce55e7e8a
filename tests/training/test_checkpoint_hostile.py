"""Checkpoints made by strangers: hashes right, contents hostile. Only errors of ours, and nothing outside is read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.tiny import FILES, assert_whole, load, save
from toolkit.errors import ToolkitError
from toolkit.training.storage.checkpoint import CheckpointStore

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pipes and devices as on Linux")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a real disk."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def forge(folder: Path, change: Callable[[dict[str, Any]], None], files: dict[str, bytes] | None = None) -> None:
    """Rewrite files and manifest of `folder` as a stranger could: with all hashes right."""
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
    original = folder / "original.json"
    manifest = json.loads((original if original.exists() else folder / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        data = (folder / name).read_bytes()
        facts.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    change(manifest)
    manifest.pop("check", None)
    body = json.dumps(manifest, sort_keys=True, indent=1).encode()
    manifest["check"] = hashlib.sha256(body).hexdigest()
    (folder / "manifest.json").write_bytes(json.dumps(manifest, sort_keys=True, indent=1).encode())


def test_a_forged_checkpoint_with_right_hashes_is_read(tmp_path: Path) -> None:
    """Otherwise the tests below would only test the hashes."""
    save(tmp_path, 1)
    forge(tmp_path / "step-00000001", lambda m: m.update(threads=3), {"state.json": b'{"step": 1}'})
    found, _ = load(tmp_path)
    assert assert_whole(found, (1,)) == 1 and found is not None and found.threads == 3


def entry(**changes: Any) -> dict[str, Any]:
    return {"size": 1, "sha256": "0" * 64, **changes}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["files"].update({"../step-00000001/model.safetensors": entry()}),
        lambda m: m["files"].update({"/etc/passwd": entry()}),
        lambda m: m["files"].update({"..\\x.safetensors": entry()}),
        lambda m: m["files"].update({"model.safetensors\n": entry()}),
        lambda m: m["files"].update({".safetensors": entry()}),
        lambda m: m["files"].update({"weights.pkl": entry()}),
        lambda m: m["files"]["model.safetensors"].update(size=10**15),
        lambda m: m["files"]["model.safetensors"].update(size=10**400),
        lambda m: m["files"]["model.safetensors"].update(size=-1),
        lambda m: m["files"]["model.safetensors"].update(size=True),
        lambda m: m["files"]["model.safetensors"].update(size="8"),
        lambda m: m["files"]["model.safetensors"].update(sha256=None),
        lambda m: m["files"]["model.safetensors"].update(mode=0),
        lambda m: m["files"].pop("state.json"),
        lambda m: m.update(files=[]),
        lambda m: m.update(step=7),
        lambda m: m.update(step=2.0),
        lambda m: m.update(version=2),
        lambda m: m.update(torch="2.0\x1b[31m"),
        lambda m: m.update(threads=0),
        lambda m: m.update(run="rm"),
    ],
)
def test_forged_manifests(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    forge(tmp_path / "step-00000002", change)
    found, said = load(tmp_path)
    assert assert_whole(found, (1,)) == 1 and len(said) == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("state.json", b"[]"),
        ("state.json", b"[" * 200_000),
        ("state.json", b'{"a": ' + b"9" * 10_000 + b"}"),
        ("state.json", b"\xff\xfe"),
        ("state.json", b" " * (1 << 20) + b"{}"),
        ("manifest.json", b"[" * 200_000),
        ("manifest.json", b" " * (2 << 20)),
        ("manifest.json", b"\xff"),
        ("model.safetensors", b""),
        ("model.safetensors", struct.pack("<Q", 2**63)),
        ("model.safetensors", struct.pack("<Q", 10**8) + b"{}"),
    ],
)
def test_hostile_contents(tmp_path: Path, name: str, data: bytes) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    if name == "manifest.json":
        (tmp_path / "step-00000002" / name).write_bytes(data)
    else:
        forge(tmp_path / "step-00000002", lambda m: None, {name: data})
    found, said = load(tmp_path)
    assert assert_whole(found, (1,)) == 1 and len(said) == 1 and name in said[0]


@linux
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
def test_only_plain_files_are_opened(tmp_path: Path, name: str, kind: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    file = tmp_path / "step-00000002" / name
    copy = shutil.copyfile(file, tmp_path / "copy")
    file.unlink()
    if kind == "link":
        file.symlink_to(copy)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    found, said = load(tmp_path)
    assert assert_whole(found, (1,)) == 1 and f"{name} is a link or a device" in said[0]
    linked = tmp_path / "step-00000003"
    linked.symlink_to(tmp_path / "step-00000001")
    assert_whole(load(tmp_path)[0], (1,))


leaves = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=6)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fuzz = settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    save(tmp_path, 1)
    manifest = (tmp_path / "step-00000001" / "manifest.json").read_bytes()
    (tmp_path / "step-00000001" / "original.json").write_bytes(manifest)
    return tmp_path


def survive(folder: Path) -> None:
    """Loading works or raises an error of ours; an accepted checkpoint holds plain tensors and a dict."""
    try:
        found = CheckpointStore(folder).load(notify=lambda line: None)
    except ToolkitError as error:
        assert "\n" not in str(error)
        return
    assert found is not None and found.step == 1 and isinstance(found.state, dict)


@fuzz
@given(data=st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_fuzzed_manifest_bytes(target: Path, data: bytes) -> None:
    (target / "step-00000001" / "manifest.json").write_bytes(data)
    survive(target)


PATHS = [("step",), ("version",), ("torch",), ("threads",), ("files",), ("extra",), ("files", "x")]
PATHS += [("files", "state.json"), ("files", "model.safetensors", "size"), ("files", "model.safetensors", "sha256")]


@fuzz
@given(path=st.sampled_from(PATHS), value=anything)
def test_fuzzed_manifest_values_with_a_right_check(target: Path, path: tuple[str, ...], value: Any) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = value

    forge(target / "step-00000001", change)
    survive(target)


@fuzz
@given(
    dtype=st.sampled_from(["F32", "BF16", "BOOL", "F4", "C64", "U64", "x"]) | leaves,
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**62, 2**64, -1]), max_size=4) | anything,
    offsets=st.lists(st.sampled_from([0, 4, 8, 12, 2**40, 2**64, -4]), max_size=3) | anything,
    body=st.binary(max_size=16),
)
def test_fuzzed_tensors_with_right_hashes(target: Path, dtype: Any, shape: Any, offsets: Any, body: bytes) -> None:
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    forge(
        target / "step-00000001", lambda m: None, {"model.safetensors": struct.pack("<Q", len(header)) + header + body}
    )
    survive(target)
