"""A modality in one file: points in the plane. `toolkit train --modality tests/points.py` trains it in seconds."""

import torch
from PIL import Image, ImageDraw

from toolkit.diffusion import seeded_generator
from toolkit.modality import InMemory, Modality, Splits
from toolkit.nn import MLP


def moons(split, n=4000):
    draw = seeded_generator(0, "points", split)
    angle, label = torch.pi * torch.rand(n, generator=draw), torch.arange(n) % 2
    x, y = 0.5 + (1 - 2 * label) * (angle.cos() - 0.5), 0.25 + (1 - 2 * label) * (angle.sin() - 0.25)
    return InMemory(torch.stack([x, y], 1) + 0.05 * torch.randn(n, 2, generator=draw), {"label": label})


class Points(Modality):
    name = "points"
    default_recipe = {
        "name": "points",
        "train": {"steps": 600, "batch": 256, "lr": 3e-3, "warmup": 50, "previews": 2},
        "sample": {"sampler": "heun", "grid": "uniform", "steps": 20},
    }

    def load(self, cache, notify):
        return Splits.in_memory("moons", moons("train"), moons("test"), ("upper", "lower"))

    def network(self):
        return MLP(2, len(self.labels))

    def write(self, raw, folder, stems, options=None):
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
