"""Run folders as training leaves them, made in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from toolkit import recipe as recipes
from toolkit.training.storage.checkpoint import CheckpointStore


def make_run(
    folder: Path,
    steps: int = 100,
    done: int = 100,
    modality: str = "image",
    facts: Mapping[str, Any] | None = None,
    whole: bool = True,
    **sections: Any,
) -> Path:
    """A run of `done` of `steps` steps; `whole`: with metrics, a checkpoint of 6 parameters, and pictures."""
    (folder / "previews").mkdir(parents=True)
    sections["train"] = {"steps": steps, "batch": 4, "ema": [0.05, 0.1], **sections.get("train", {})}
    recipe = recipes.from_mapping({"name": "tiny", "modality": modality, "data": {"source": "digits"}, **sections})
    (folder / "recipe.toml").write_text(recipes.dump(recipe), encoding="utf-8")
    known = {"shape": [1, 2, 3], "labels": ["cat", "dog"], "count": 50, **(facts or {})}
    (folder / "facts.json").write_text(json.dumps(known), encoding="utf-8")
    if whole:
        lines = [
            {"step": step, "loss": 1 / step, "lr": 1e-3, "grad_norm": 2.0, "seconds": 0.5}
            for step in range(10, done + 1, 10)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        weight = torch.zeros(2, 3)
        groups = {"model": {"w": weight, "buffer": weight}, "ema": {"0.05/w": weight, "0.1/w": weight}}
        CheckpointStore(folder / "checkpoints").save(done, groups, {"step": done})
        for name in ["step-00000010", *(["final", "noise-to-sample"] if done >= steps else [])]:
            picture(folder / "previews" / f"{name}.png")
        if done >= steps:
            frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
            frames[0].save(folder / "previews" / "noise-to-sample.gif", save_all=True, append_images=frames[1:])
    return folder


def picture(path: Path, width: int = 40, height: int = 30, colour: str = "teal") -> Path:
    """A picture file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


class Seen(HTMLParser):
    """Content of a page as a browser has it: elements with attributes, and the text outside of styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element called `tag`."""
        return [attributes for name, attributes in self.elements if name == tag]

    def dangers(self) -> list[object]:
        """Whatever could run or be fetched."""
        found: list[object] = [
            name for name, _ in self.elements if name in ("script", "iframe", "object", "link", "base")
        ]
        for name, attributes in self.elements:
            for key, value in attributes.items():
                fetched = key in ("src", "srcset") and not str(value).startswith("data:")
                if key.startswith("on") or key == "style" or fetched or (key == "href" and str(value)[:1] != "#"):
                    found.append((name, key, value))
        return found
