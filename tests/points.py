"""A modality in one file: points in the plane. `toolkit train --modality tests/points.py` trains it in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import PIL.Image
import torch
from PIL import ImageDraw
from torch import Tensor, nn
from torch.nn.functional import silu

from toolkit.diffusion.randomness import generator
from toolkit.modality import Dataset, Examples, Facts, Modality, Options
from toolkit.nn import LabelEmbedding, NoiseEmbedding, zero


class PointsData(Options):
    source: Literal["moons", "spiral"] = "moons"
    count: int = 4000
    noise: float = 0.05
    seed: int = 0


class PointsModel(Options):
    channels: int = 96


class Points(Modality):
    name = "points"
    Data, Model = PointsData, PointsModel
    data: PointsData
    model: PointsModel
    default_recipe: ClassVar[Mapping[str, Any]] = {
        "name": "points",
        "train": {"steps": 600, "batch": 256, "lr": 3e-3, "warmup": 50, "previews": 2},
        "sample": {"sampler": "heun", "steps": 20, "clip": False},
    }

    def read_data(self, cache: Path, notify: Callable[[str], None]) -> Facts:
        raw = self.dataset("train").take(torch.arange(self.data.count)).raw
        labels, mean, std = ("upper", "lower"), float(raw.mean()), float(raw.std())
        return Facts(shape=(2,), labels=labels, mean=mean, std=std, count=len(raw))

    def dataset(self, split: str) -> Dataset:
        return Curves(self.data, split)

    def network(self) -> nn.Module:
        return Network(self.model.channels, len(self.labels))

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str]) -> list[Path]:
        paths = [folder / f"{stem}.csv" for stem in stems]
        for path, (x, y) in zip(paths, raw.tolist(), strict=True):
            path.write_text(f"x,y\n{x:.6f},{y:.6f}\n", encoding="utf-8")
        return paths

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        picture = PIL.Image.new("RGB", (480, 480), "white")
        draw = ImageDraw.Draw(picture)
        for i, (x, y) in enumerate(raw.tolist()):
            centre = (240 + 120 * (x - 0.5), 240 - 120 * (y - 0.25))
            draw.circle(centre, 3, "firebrick" if labels and labels[i] == "lower" else "steelblue")
        return picture


class Curves(Dataset):
    def __init__(self, data: PointsData, split: str) -> None:
        g = generator(data.seed, "points", split)
        along = math.pi * torch.rand(data.count, generator=g)
        self.labels = torch.arange(data.count) % 2
        sign = 1.0 - 2 * self.labels
        if data.source == "moons":
            x, y = 0.5 + sign * (along.cos() - 0.5), 0.25 + sign * (along.sin() - 0.25)
        else:
            x, y = 0.5 + sign * along / 3 * (2 * along).cos(), 0.25 + sign * along / 3 * (2 * along).sin()
        self.points = torch.stack([x, y], 1) + data.noise * torch.randn(data.count, 2, generator=g)

    def __len__(self) -> int:
        return len(self.points)

    def take(self, indices: Tensor) -> Examples:
        return Examples(self.points[indices], {"label": self.labels[indices]})


class Network(nn.Module):
    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.noise, self.label = NoiseEmbedding(channels), LabelEmbedding(labels, channels)
        self.first, self.last = nn.Linear(2, channels), zero(nn.Linear(channels, 2))
        self.films = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(3))
        self.blocks = nn.ModuleList(nn.Linear(channels, channels) for _ in range(3))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        emb, h = silu(self.noise(c_noise) + self.label(cond["label"])), self.first(x)
        for film, block in zip(self.films, self.blocks, strict=True):
            scale, shift = film(emb).chunk(2, 1)
            h = h + block(silu(h * (1 + scale) + shift))
        return self.last(h)
