"""A modality in one file: points in the plane. `toolkit train --modality tests/points.py` trains it in seconds."""

import torch
from PIL import Image, ImageDraw
from torch import nn

from toolkit.diffusion import seeded_generator
from toolkit.modality import Facts, InMemory, Modality
from toolkit.nn import Conditioned

COUNT = 4000


class Points(Modality):
    name = "points"
    default_recipe = {
        "name": "points",
        "train": {"steps": 600, "batch": 256, "lr": 3e-3, "warmup": 50, "previews": 2},
        "sample": {"sampler": "heun", "grid": "uniform", "steps": 20},
    }

    def read_data(self, cache, notify):
        raw = self.dataset("train").raw
        return Facts(shape=(2,), labels=("upper", "lower"), mean=raw.mean().item(), std=raw.std().item(), count=COUNT)

    def dataset(self, split):
        draw = seeded_generator(0, "points", split)
        angle, label = torch.pi * torch.rand(COUNT, generator=draw), torch.arange(COUNT) % 2
        x, y = 0.5 + (1 - 2 * label) * (angle.cos() - 0.5), 0.25 + (1 - 2 * label) * (angle.sin() - 0.25)
        return InMemory(torch.stack([x, y], 1) + 0.05 * torch.randn(COUNT, 2, generator=draw), {"label": label})

    def network(self):
        return Network(embedding=96, labels=len(self.labels), divisor=1)

    def write(self, raw, folder, stems, ask=None):
        paths = [folder / f"{stem}.csv" for stem in stems]
        for path, (x, y) in zip(paths, raw.tolist(), strict=True):
            path.write_text(f"x,y\n{x:.6f},{y:.6f}\n", encoding="utf-8")
        return paths

    def preview(self, raw, labels=()):
        picture = Image.new("RGB", (480, 480), "white")
        for i, (x, y) in enumerate(raw.tolist()):
            colour = "firebrick" if labels and labels[i] == "lower" else "steelblue"
            ImageDraw.Draw(picture).circle((240 + 120 * (x - 0.5), 240 - 120 * (y - 0.25)), 3, colour)
        return picture


class Network(Conditioned):
    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.last = nn.Linear(2, 96), nn.Linear(96, 2)
        self.films = nn.ModuleList(nn.Linear(96, 192) for _ in range(3))
        self.blocks = nn.ModuleList(nn.Linear(96, 96) for _ in range(3))

    def forward(self, x, c_noise, cond):
        emb, h = self.embed(c_noise, cond), self.first(x)
        for film, block in zip(self.films, self.blocks, strict=True):
            scale, shift = film(emb).chunk(2, 1)
            h = h + block(nn.functional.silu(h * (1 + scale) + shift))
        return self.last(h)
