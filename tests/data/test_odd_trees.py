"""Folders that may be listed and not searched, a link to /proc, 1,100 levels: one line or none, for every modality."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHILD_PATH
from tests.modalities.audio.corpus import encoded, sine
from tests.modalities.image.corpus import noise
from toolkit.data import listing, remembered, tree
from toolkit.discovery import kinds
from toolkit.report.run_files import files

LEVELS = 1_100
"""More than Python's stack has room for."""
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="rights and /proc as on Linux")


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file at its top and one 1,100 levels below; removed here, since shutil cannot."""
    top = tmp_path / "data"
    folders = [top]
    for _ in range(LEVELS):
        folders.append(folders[-1] / "a")
    for folder in folders:
        folder.mkdir()
    yield top
    for folder in reversed(folders):
        for name in os.listdir(folder):
            if name != "a" or not (folder / name).is_dir():
                os.unlink(folder / name)
        os.rmdir(folder)


def down(top: Path) -> Path:
    return top / "/".join(["a"] * LEVELS)


def test_a_tree_is_read_to_its_end(deep: Path) -> None:
    (deep / "x.txt").write_text("top")
    (down(deep) / "y.txt").write_text("bottom")
    found = listing.walk(deep, {".txt"})
    assert [entry.size for entry in found.entries] == [6, 3] and found.rejected == []
    assert kinds(deep)[0]["text"] == 2 and kinds(deep)[1]["text"] == 9
    before = remembered.key(deep, [])
    (down(deep) / "y.txt").write_text("bottom!")
    assert before is not None and remembered.key(deep, []) not in (None, before)
    assert [size for _, size in files(deep)] == [3, 7]


@linux
def test_a_folder_of_the_system_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "proc").symlink_to("/proc")
    (tmp_path / "sub").symlink_to("/proc/self/task")
    found = listing.walk(tmp_path, {".txt"})
    assert [entry.name for entry in found.entries] == ["x.txt"]
    assert sorted(found.rejected) == [f"proc: {tree.SYSTEM}", f"sub: {tree.SYSTEM}"]
    assert kinds(tmp_path)[0] == {"text": 1}


def test_links_are_followed_once_and_broken_ones_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "c.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "d").symlink_to(tmp_path / "d")
    said = {found.name: found.problem for found in tree.walk(tmp_path)}
    assert said["a/x.txt"] == "" and said["b"] == tree.AGAIN and said["c.txt"] == tree.BROKEN
    assert len(said) == 4 and said["d"] not in ("", tree.AGAIN, tree.BROKEN)
    assert kinds(tmp_path)[0] == {"text": 1}


def without_rights() -> None:
    """Make this process one that rights hold for: root may search what nobody may, by two capabilities."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: from the next exec on; else it does nothing


def as_a_user(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": CHILD_PATH, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        preexec_fn=without_rights,
    )  # fmt: skip


COMMANDS = """
import os, sys
assert not os.access("data/locked", os.X_OK), "this process may search everything"
from toolkit.cli import main
def run(*words):
    print(">", *words, flush=True)
    try:
        main(words)
    except SystemExit as end:
        print("rc", end.code, flush=True)
run("data", "inspect", "data", "--no-estimate")
run("train", "--data", "data", "--modality", KIND, "--steps", "1", "--out", "run", "--set", "train.threads=1",
    "--set", "train.layout=channels-first", "--set", "train.previews=0", "--set", "train.batch=2", *MORE)
os.makedirs("run/more/locked")
open("run/more/locked/x", "w").close()
os.chmod("run/more/locked", 0o444)
run("report", "run")
os.chmod("run/more/locked", 0o755)
"""
SMALL = {
    "image": ["--size", "8", "--preset", "tiny", "--width", "8"],
    "audio": ["--rate", "2000", "--seconds", "0.1", "--preset", "tiny", "--width", "8"],
    "text": ["--preset", "smoke", "--length", "16"],
}


@linux
@pytest.mark.parametrize("kind", ["image", "audio", "text"])
def test_every_command_takes_a_tree_with_odd_folders(kind: str, deep: Path, tmp_path: Path) -> None:
    for place in (deep / "x", deep / "y", down(deep) / "z", deep / "locked" / "w"):
        place.parent.mkdir(exist_ok=True)
        if kind == "image":
            noise(12, 12, len(place.name)).save(place.with_suffix(".png"))
        elif kind == "audio":
            place.with_suffix(".wav").write_bytes(encoded(sine(200.0 + len(str(place)), 0.2), 2000, "WAV", "PCM_16"))
        else:
            place.with_suffix(".txt").write_text(f"to be or not to be {place.name} " * 40)
    (deep / "locked").chmod(0o444)
    (deep / "proc").symlink_to("/proc")
    try:
        done = as_a_user(tmp_path, f"KIND, MORE = {kind!r}, {SMALL[kind]!r}\n{COMMANDS}")
    finally:
        (deep / "locked").chmod(0o755)
        for path in (deep / "locked").iterdir():
            path.unlink()
        (deep / "locked").rmdir()
    said = done.stdout + done.stderr
    assert done.returncode == 0 and done.stdout.count("\nrc 0") == 3, said
    assert "Traceback" not in said and "Error" not in said, said
    left = " ".join(done.stdout.split())  # a table folds long rows
    assert "left out 2: locked: Permission denied" in left and f"proc: {tree.SYSTEM}" in left


@linux
@pytest.mark.parametrize("command", [["data", "inspect"], ["train", "--data"], ["train"]])
def test_a_folder_that_may_not_be_reached_is_one_line(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "locked" / "in").mkdir(parents=True)
    (tmp_path / "locked" / "in" / "x.txt").write_text("x")
    (tmp_path / "locked").chmod(0o444)
    try:
        code = f"from toolkit.cli import main\nmain({[*command, 'locked/in']!r})"
        done = as_a_user(tmp_path, code)
        whole = as_a_user(tmp_path, code.replace("locked/in", "locked"))
    finally:
        (tmp_path / "locked").chmod(0o755)
    for each, expected in ((done, {66, 2}), (whole, {66})):
        assert each.returncode in expected and each.stderr.count("\n") == 1, each.stdout + each.stderr
        assert each.stderr.startswith("error: ") and "TOOLKIT_DEBUG" not in each.stderr


def test_what_holds_nothing(tmp_path: Path) -> None:
    assert list(tree.walk(tmp_path)) == []
    missing = list(tree.walk(tmp_path / "gone"))
    assert [(found.name, found.info) for found in missing] == [(".", None)] and missing[0].problem
    assert files(tmp_path / "gone") == []
