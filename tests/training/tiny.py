"""A tiny checkpoint whose contents follow from its step, for the tests of what happens to checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from toolkit.training.storage.checkpoint import Checkpoint, CheckpointStore

FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def groups(step: int) -> dict[str, dict[str, Tensor]]:
    value = torch.arange(6.0) + step
    return {"model": {"w": value, "b": value[:2] / 3}, "ema": {"0.05/w": value * 2}, "optimizer": {"w/exp_avg": -value}}


def save(folder: Path, step: int, keep: int = 2) -> None:
    CheckpointStore(folder, keep).save(step, groups(step), {"step": step})


def load(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    said: list[str] = []
    return CheckpointStore(folder).load(notify=said.append), said


def assert_whole(found: Checkpoint | None, steps: tuple[int, ...]) -> int:
    assert found is not None and found.step in steps and found.state == {"step": found.step}
    expected = groups(found.step)
    assert found.groups.keys() == expected.keys()
    for name, tensors in expected.items():
        assert found.groups[name].keys() == tensors.keys()
        assert all(torch.equal(found.groups[name][key], tensor) for key, tensor in tensors.items())
    return found.step
