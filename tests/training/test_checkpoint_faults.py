"""Kills, power loss, full disks, damaged files and hostile ones: the store never loses the last good checkpoint."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny import FILES, assert_whole, groups, load, save
from toolkit.errors import StorageError, ToolkitError
from toolkit.training.storage.checkpoint import CheckpointStore

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork, inode numbers and limits as on Linux")
OPERATIONS = ("open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count and watch the calls that flush, but do not wait for a real disk: no real power is lost here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@contextmanager
def watched(
    after: Callable[[str, tuple[Any, ...], Any], None], before: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Call `before(name)` and `after(name, arguments, result)` around each file operation."""
    originals = {name: getattr(os, name) for name in OPERATIONS}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if before:
                before(name)
            result = originals[name](*args, **options)
            after(name, args, result)
            return result

        return call

    try:
        for name in OPERATIONS:
            setattr(os, name, wrap(name))
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def in_child(work: Callable[[], int]) -> int:
    """Exit code of a forked child doing `work`; negative when a signal ended it."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("torn", [False, True], ids=["after", "within writes"])
@pytest.mark.parametrize("keep", [1, 2])
def test_killed_after_every_file_operation(tmp_path: Path, keep: int, torn: bool) -> None:
    before = tmp_path / "before"
    for step in range(1, keep + 1):
        save(before, step, keep)
    write = os.write
    ends: Counter[int] = Counter()
    outcomes: Counter[int] = Counter()
    staged = 0
    for k in range(1, 1000):
        folder = tmp_path / str(k)
        shutil.copytree(before, folder)
        (folder / (".tmp-9-" + "f" * 32)).mkdir()  # something for the cleaning to do, and to be killed at

        def work(folder: Path = folder, k: int = k) -> int:
            count = 0

            def half(fd: int, data: Any) -> int:
                return write(fd, data[: len(data) // 2] if torn and count == k - 1 else data)

            def after(name: str, args: tuple[Any, ...], result: Any) -> None:
                nonlocal count
                count += not torn or name == "write"
                if count == k:
                    os.kill(os.getpid(), signal.SIGKILL)

            os.write = half  # type: ignore[assignment]
            with watched(after):
                save(folder, 5, keep)
            return 0

        code = in_child(work)
        ends[code] += 1
        staged += any(p.name.startswith(".tmp-5-") for p in folder.iterdir())
        found, said = load(folder)
        outcomes[assert_whole(found, (keep, 5))] += 1
        assert said == []
        assert len(CheckpointStore(folder).steps()) >= 1
        save(folder, 6, keep)
        assert_whole(load(folder)[0], (6,))
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
        shutil.rmtree(folder)
        if code != -signal.SIGKILL:
            break
    # Every kill was one, and the first child that was not killed finished: k went through all operations.
    assert ends == {-9: k - 1, 0: 1}
    assert staged >= 8 and outcomes[keep] >= 8 and (torn or (staged >= 10 and outcomes[5] >= 5))


@linux
@pytest.mark.parametrize("names_survive", [False, True], ids=["names lost", "names kept"])
@pytest.mark.parametrize("keep", [1, 2])
def test_power_lost_after_every_file_operation(tmp_path: Path, keep: int, names_survive: bool) -> None:
    """Unflushed file contents are always lost; unflushed folder entries are lost in one case, kept in the other."""
    run = tmp_path / "run"
    for step in range(1, keep + 1):
        save(run, step, keep)
    names: dict[int, dict[str, int]] = {}  # folder inode -> entries
    content: dict[int, bytes] = {}  # file inode -> bytes

    def look(folder: Path) -> None:
        names[folder.stat().st_ino] = {p.name: p.stat().st_ino for p in folder.iterdir()}
        for path in folder.iterdir():
            if path.is_dir():
                look(path)
            else:
                content[path.stat().st_ino] = path.read_bytes()

    look(run)
    root = run.stat().st_ino
    safe_names, safe_content = dict(names), dict(content)
    crashes: list[tuple[dict[int, dict[str, int]], dict[int, dict[str, int]], dict[int, bytes]]] = []

    def after(name: str, args: tuple[Any, ...], result: Any) -> None:
        look(run)
        if name == "fsync":
            inode = os.fstat(args[0]).st_ino
            if inode in names:
                safe_names[inode] = dict(names[inode])
            else:
                safe_content[inode] = content[inode]
        crashes.append((dict(names), dict(safe_names), dict(safe_content)))

    with watched(after):
        save(run, 5, keep)

    def rebuild(
        folder: Path,
        inode: int,
        every: dict[int, dict[str, int]],
        entries: dict[int, dict[str, int]],
        files: dict[int, bytes],
    ) -> None:
        folder.mkdir()
        for name, child in entries.get(inode, {}).items():
            if child in every:
                rebuild(folder / name, child, every, entries, files)
            else:
                (folder / name).write_bytes(files.get(child, b""))

    outcomes: Counter[int] = Counter()
    for k, (seen, kept, files) in enumerate(crashes):
        rebuild(tmp_path / str(k), root, seen, seen if names_survive else kept, files)
        found, said = load(tmp_path / str(k))
        outcomes[assert_whole(found, (keep, 5))] += 1
        # A newer folder may never be visible before it is whole.
        assert said == [] and (k < len(crashes) - 1 or (found is not None and found.step == 5))
    assert len(crashes) > 30 and outcomes[keep] >= 10 and outcomes[5] >= 3


def test_every_file_operation_failing(tmp_path: Path) -> None:
    save(tmp_path, 1)
    codes = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS)
    failed = 0
    for k in range(1, 1000):
        count = 0

        def before(name: str, k: int = k) -> None:
            nonlocal count
            count += 1
            # Once the disk is full it stays full for whatever writes; deleting works.
            if count >= k and name in ("open", "write", "fsync", "mkdir", "rename"):
                raise OSError(codes[k % 5], os.strerror(codes[k % 5]))

        try:
            with watched(lambda *args: None, before):
                save(tmp_path, 5)
        except StorageError as error:
            failed += 1
            assert error.exit_code == 74 and "everything written before is intact" in str(error)
            assert ("bytes needed" in str(error)) == (codes[k % 5] in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT))
        left = [p for p in tmp_path.iterdir() if p.name.startswith(".tmp")]
        assert_whole(load(tmp_path)[0], (1, 5))
        for path in [*left, *tmp_path.glob("step-*5*"), *tmp_path.glob(".del*")]:
            shutil.rmtree(path)
        if not (tmp_path / "step-00000001").exists():
            save(tmp_path, 1)
        if count < k:
            break
    assert failed > 20


@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("limit", [10, 500, 100_000])
def test_a_full_disk_in_another_process(tmp_path: Path, limit: int) -> None:
    import resource

    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, groups(1), {"step": 1})
    # Small enough for one thread: a forked child must not wait for the pool of its parent.
    large = {**groups(2), "model": {"w": torch.zeros(30_000)}}
    read, write = os.pipe()

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            store.save(2, large, {"step": 2})
        except StorageError as error:
            os.write(write, str(error).encode())
            return error.exit_code
        return 0

    assert in_child(work) == 74
    os.close(write)
    with os.fdopen(read) as pipe:
        line = pipe.read()
    assert line.startswith("cannot write the checkpoint of step 2 in") and "\n" not in line
    needed, free = (int(part.split()[-1].replace(",", "")) for part in line.split(" bytes")[:2])
    assert needed == CheckpointStore.size(large, {"step": 2}) and needed > 120_000 and free > 0
    assert [p.name for p in store.folder.iterdir()] == ["step-00000001"]
    assert_whole(load(store.folder)[0], (1,))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_damage_is_seen_and_the_one_before_is_used(tmp_path: Path, name: str, kind: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    file = tmp_path / "step-00000002" / name
    good = file.read_bytes()
    chance = random.Random(name + kind)
    for _ in range(200):
        place = chance.randrange(len(good))
        flipped = bytes([good[place] ^ chance.randrange(1, 256)])
        file.write_bytes(good[:place] if kind == "cut" else good[:place] + flipped + good[place + 1 :])
        found, said = load(tmp_path)
        assert assert_whole(found, (1,)) == 1
        assert len(said) == 1 and said[0].startswith(f"skipped damaged checkpoint step-00000002: {name} ")
    file.write_bytes(good)
    assert assert_whole(load(tmp_path)[0], (2,)) == 2


@pytest.mark.parametrize("name", FILES)
def test_missing_and_exchanged_files(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    shutil.copyfile(tmp_path / "step-00000001" / name, tmp_path / "step-00000002" / name)
    found, said = load(tmp_path)
    assert assert_whole(found, (1,)) == 1 and len(said) == 1
    (tmp_path / "step-00000002" / name).unlink()
    found, said = load(tmp_path)
    assert assert_whole(found, (1,)) == 1 and f"{name} cannot be read" in said[0]
    (tmp_path / "step-00000001" / name).unlink()
    with pytest.raises(ToolkitError, match="all checkpoints are damaged in") as caught:
        load(tmp_path)
    assert str(caught.value).count(name) == 2 and "\n" not in str(caught.value)
