"""Checkpoints: what one holds, how it is laid out, which ones stay, and what is refused."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from toolkit.errors import StorageError, ToolkitError, UsageError
from toolkit.training.storage import files as storage
from toolkit.training.storage.checkpoint import CheckpointStore

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")


def groups(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 3, 3, generator=g)
    return {
        "model": {"conv.weight": weight, "conv.bias": torch.randn(4, generator=g)},
        "ema": {"0.05/conv.weight": weight * 0.5},
        "optimizer": {"conv.weight/exp_avg": weight * 2, "conv.weight/step": torch.tensor(7.0)},
    }


def same(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].keys() == b[n].keys() and all(torch.equal(a[n][k], b[n][k]) for k in a[n]) for n in a
    )


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "a" / "checkpoints")
    assert store.load() is None and store.steps() == []
    state = {"step": 12, "lr_factor": 0.1 + 0.2, "name": "über", "nested": {"list": [1, None, True]}}
    folder = store.save(12, groups(), state)
    assert folder.name == "step-00000012"
    assert sorted(p.name for p in folder.iterdir()) == [
        "ema.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    loaded = store.load(notify=pytest.fail)
    assert loaded is not None and loaded.step == 12 and loaded.folder == folder
    assert loaded.state == state and same(loaded.groups, groups())
    assert (loaded.threads, loaded.torch, loaded.drift) == (torch.get_num_threads(), torch.__version__, None)


def test_every_dtype_shape_and_layout_comes_back_bit_for_bit(tmp_path: Path) -> None:
    base = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    tensors = {
        "transposed": base.t(),
        "slice": base[::2, 1:3],
        "expanded": torch.tensor([1.5]).expand(3, 5),
        "shared": base,
        "shared again": base.view(4, 6),
        "channels_last": base.reshape(1, 4, 3, 2).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(base.clone()),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "empty": torch.empty(0, 3),
        "flag": torch.tensor([True, False, True]),
        "denormal and minus zero": torch.tensor([1e-45, -0.0]),
    }
    tensors |= {str(d): base.to(d) for d in (torch.float64, torch.float16, torch.bfloat16)}
    tensors |= {str(d): (base * 9).to(d) for d in (torch.int32, torch.int16, torch.int8)}
    tensors["uint8"] = (base * 9).abs().to(torch.uint8)
    folder = CheckpointStore(tmp_path).save(1, {"all": tensors}, {})
    loaded = CheckpointStore(tmp_path).load()
    assert loaded is not None
    for name, tensor in tensors.items():
        back = loaded.groups["all"][name]
        assert back.dtype == tensor.dtype and back.shape == tensor.shape
        assert back.contiguous().view(-1).view(torch.uint8).tolist() == (
            tensor.detach().contiguous().view(-1).view(torch.uint8).tolist()
        )
    # The same files through the library's own readers, by copy and by memory map.
    with safetensors.safe_open(folder / "all.safetensors", framework="pt") as file:
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    folder = store.save(1, groups(), {})
    loaded = store.load()
    assert loaded is not None
    for file in folder.iterdir():
        file.write_bytes(b"\0" * file.stat().st_size)
    assert same(loaded.groups, groups())
    loaded.groups["model"]["conv.bias"].zero_()
    assert torch.equal(loaded.groups["model"]["conv.weight"], groups()["model"]["conv.weight"])


def test_only_the_groups_asked_for_are_read(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    folder = store.save(3, groups(), {})
    broken = folder / "optimizer.safetensors"
    broken.write_bytes(b"x" * broken.stat().st_size)
    loaded = store.load(["ema"], notify=pytest.fail)
    assert loaded is not None and list(loaded.groups) == ["ema"]
    with pytest.raises(UsageError, match="unknown part of step-00000003 'emma'; did you mean 'ema'"):
        store.load(["emma"])


@pytest.mark.parametrize(("keep", "left"), [(1, [40]), (2, [30, 40]), (3, [20, 30, 40])])
def test_retention(tmp_path: Path, keep: int, left: list[int]) -> None:
    store = CheckpointStore(tmp_path, keep)
    for step in (10, 20, 30, 40):
        store.save(step, groups(step), {})
    assert store.steps() == left
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-{step:08d}" for step in left]
    with pytest.raises(UsageError, match="keep must be at least 1, not 0"):
        CheckpointStore(tmp_path, 0)


def test_a_given_step(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, groups(1), {})
    newest = store.save(20, groups(2), {})
    loaded = store.load(step=10)
    assert loaded is not None and same(loaded.groups, groups(1))
    with pytest.raises(UsageError, match=r"no checkpoint of step 15 .* there are: \[10, 20\]"):
        store.load(step=15)
    os.truncate(newest / "state.json", 1)
    with pytest.raises(ToolkitError, match=r"the checkpoint of step 20 is damaged .*state\.json has 1 bytes"):
        store.load(step=20, notify=lambda line: None)


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    for seed in range(3):
        store.save(10, groups(seed), {"seed": seed})
    loaded = store.load()
    assert loaded is not None and loaded.state == {"seed": 2} and same(loaded.groups, groups(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010.2"] and store.steps() == [10]


def test_the_best_stays_besides_the_newest_until_another_is_better(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    left = []
    for step, best in ((10, None), (20, 10), (30, 10), (40, 10), (50, 30), (60, 40), (70, 70), (80, None)):
        store.save(step, groups(), {}, best)
        left.append(store.steps())
    assert left == [[10], [10, 20], [10, 20, 30], [10, 30, 40], [30, 40, 50], [40, 50, 60], [60, 70], [70, 80]]
    store.save(15, groups(), {}, 70)  # after going back, what is later goes, however good
    assert store.steps() == [15]


def test_a_damaged_best_does_not_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    folder = store.save(10, groups(), {})
    (folder / "model.safetensors").write_bytes(b"")
    store.save(20, groups(), {}, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000020"]


@pytest.mark.parametrize("keep", [1, 2])
def test_after_going_back_the_abandoned_later_steps_go(tmp_path: Path, keep: int) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    store.save(100, groups(1), {})
    damaged = store.save(200, groups(2), {})
    os.truncate(damaged / "model.safetensors", 5)
    CheckpointStore(tmp_path, keep).save(150, groups(3), {})
    loaded = store.load(notify=pytest.fail)
    assert loaded is not None and loaded.step == 150
    assert store.steps() == [100, 150][-keep:] and not damaged.exists()


def test_later_steps_go_before_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a process that is killed between them would be resumed from the course that was left."""
    for step in (10, 20, 30, 40):
        CheckpointStore(tmp_path, keep=9).save(step, groups(step), {})
    gone, clean = [], os.rename

    def told(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        gone.extend([Path(source).name] if Path(target).name.startswith(".del-") else [])
        clean(source, target)

    monkeypatch.setattr(os, "rename", told)
    CheckpointStore(tmp_path, keep=1).save(25, groups(0), {})
    assert gone == [f"step-{step:08d}" for step in (30, 40, 10, 20)]


def test_a_damaged_checkpoint_does_not_count_as_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    store.save(10, groups(1), {})
    os.truncate(store.save(20, groups(2), {}) / "ema.safetensors", 5)
    store.save(30, groups(3), {})
    assert store.steps() == [10, 30]


def test_leftovers_of_dead_saves_are_cleaned_and_nothing_else(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, groups(), {})
    for name in (".tmp-7-" + "0" * 32, ".del-7-" + "a" * 32, ".tmp-mine", "notes"):
        shutil.copytree(tmp_path / "step-00000001", tmp_path / name)
    assert store.steps() == [1]
    store.save(2, groups(), {})
    assert {p.name for p in tmp_path.iterdir()} == {"step-00000001", "step-00000002", ".tmp-mine", "notes"}


@pytest.mark.parametrize("group", ["model", "ema", "optimizer"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_nothing_that_is_not_finite_is_written(tmp_path: Path, group: str, value: float, dtype: torch.dtype) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, groups(), {})
    bad = groups()
    bad[group]["conv.bias"] = torch.zeros(5, dtype=dtype)
    bad[group]["conv.bias"][3] = value
    with pytest.raises(ToolkitError, match=rf"step 2: tensor 'conv.bias' of {group} holds NaN or infinity"):
        store.save(2, bad, {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    ("step", "bad", "state", "message"),
    [
        (2, {}, {"loss": float("nan")}, "state is no JSON"),
        (2, {}, {"loss": {1, 2}}, "state is no JSON"),
        (2, {}, {"log": "x" * (1 << 20)}, "the limit is 1,048,576"),
        (2, {"../model": {}}, {}, "cannot be a file name"),
        (2, {"model": {"z": torch.zeros(2, dtype=torch.complex64)}}, {}, "complex64"),
        (2, {"model": {"z": torch.eye(2).to_sparse()}}, {}, "sparse"),
        (2, {"model": {"__metadata__": torch.zeros(2)}}, {}, "__metadata__"),
        (-1, {}, {}, "whole number"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(
    tmp_path: Path, step: int, bad: dict[str, dict[str, Tensor]], state: dict[str, object], message: str
) -> None:
    with pytest.raises(ToolkitError, match=message):
        CheckpointStore(tmp_path).save(step, bad, state)
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_modes_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder = CheckpointStore(tmp_path / "checkpoints").save(1, groups(), {})
        storage.write_text_atomic(tmp_path / "recipe.toml", "a = 1\n")
    finally:
        os.umask(before)
    files = [*folder.iterdir(), tmp_path / "recipe.toml"]
    assert len(files) == 6 and {stat.S_IMODE(f.stat().st_mode) for f in files} == {mode}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


def test_preflight_counts_what_is_still_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path / "run" / "checkpoints", keep=2)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2999))
    with pytest.raises(StorageError, match="need 3,000 bytes and 2,999 bytes are free") as caught:
        store.preflight(1000)
    assert caught.value.exit_code == 74 and not (tmp_path / "run").exists()
    store.save(1, groups(), {})
    store.preflight(1000)
    with pytest.raises(StorageError, match="need 3,000 bytes"):
        store.preflight(1000, best=True)


def test_drift_names_both_machines(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, groups(), {})
    threads = torch.get_num_threads()
    loaded = store.load()
    torch.set_num_threads(threads + 1)
    try:
        assert loaded is not None and loaded.drift is not None
        assert f"saved with {threads} threads" in loaded.drift and f"going on with {threads + 1} of" in loaded.drift
    finally:
        torch.set_num_threads(threads)


def test_loading_while_a_training_moves_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our listing and our reading, the listed checkpoints were replaced by newer ones."""
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, groups(1), {})
    listing = store._all

    def late() -> object:
        found = listing()
        if found[-1].step < 3:
            monkeypatch.setattr(store, "_all", listing)
            store.save(found[-1].step + 1, groups(found[-1].step + 1), {})
            monkeypatch.setattr(store, "_all", late)
        return found

    monkeypatch.setattr(store, "_all", late)
    loaded = store.load(notify=pytest.fail)
    assert loaded is not None and loaded.step == 3 and same(loaded.groups, groups(3))
