"""A run of one step of each modality, in a few seconds, for tests of what a stranger may write into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.modalities.audio.corpus import save as save_sound
from tests.modalities.audio.corpus import sine
from tests.modalities.image.corpus import noise
from tests.run.points_run import quiet
from toolkit import recipe as recipes
from toolkit.run import prepare

SMALL: dict[str, dict[str, Any]] = {
    "image": {"data.size": 8, "model.preset": "tiny", "model.width": 8},
    "audio": {"data.rate": 2000, "data.seconds": 0.2, "model.preset": "tiny", "model.width": 8},
    "text": {"data.length": 16, "data.items": "line", "model.preset": "smoke", "model.width": 16, "model.depth": 1},
}
TINY = {"train.steps": 1, "train.batch": 2, "train.previews": 0, "train.threads": 1, "train.layout": "channels-first"}
TINY |= {"sample.steps": 1, "sample.restarts": 0}


def fill(kind: str, folder: Path, count: int) -> None:
    """Make so many small files of a modality in a folder."""
    for i in range(count):
        if kind == "image":
            noise(8, 8, i).save(folder / f"{i}.png")
        elif kind == "audio":
            save_sound(folder / f"{i}.wav", sine(200.0 + 50 * i, 0.2), 2000)
        else:
            (folder / f"{i}.txt").write_text(f"line {i}\nanother {i}\n" * 9)


def made(top: Path) -> dict[str, Path]:
    """The run folders by modality; their data is beside them."""
    found = {}
    for kind, small in SMALL.items():
        data = top / kind
        data.mkdir()
        fill(kind, data, 3)
        base = recipes.load(f"{kind}/folder")
        recipe = recipes.replace(base, {**TINY, **small, "data.source": str(data), "name": kind, "train.minutes": None})
        list(prepare.prepare(recipe, top / "runs" / kind, "cpu", quiet).run())
        found[kind] = top / "runs" / kind
    return found
