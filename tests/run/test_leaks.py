"""A run keeps its memory and its open files constant, saves and previews included."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.run.points_run import quiet, recipe
from toolkit import recipe as recipes
from toolkit.evaluation.reproduce import target_of
from toolkit.run import prepare

STEPS = 2000
LONG = {"train.steps": STEPS, "train.checkpoint_minutes": 1e-3, "train.previews": 5}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["points", "image/digits", "audio/drums", "text/names"])
def test_memory_and_open_files_are_constant_over_two_thousand_steps(tmp_path: Path, name: str) -> None:
    small = recipe() if name == "points" else target_of(recipes.load(name), smoke=True)[0]
    seen: dict[int, tuple[int, int]] = {}
    for event in prepare.prepare(recipes.replace(small, LONG), tmp_path / "run", "cpu", quiet).run():
        if isinstance(event, prepare.Progress) and event.step % 100 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen[event.step] = (pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")))
    print(name, {step: (f"{rss / 1e6:.1f} MB", files) for step, (rss, files) in seen.items()})
    assert seen[STEPS][0] <= 1.02 * seen[200][0]
    assert {files for _, files in seen.values()} == {seen[100][1]}
