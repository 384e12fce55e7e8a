"""A small classifier trained on real pictures: it says which label a sample shows, and gives features to compare.

Trained once for each data set with a fixed seed, kept in the cache, and identified by a hash, because a distance
means something only under one judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.nn import functional

from modalities.image.modality import Image
from toolkit import paths
from toolkit.diffusion.randomness import generator
from toolkit.errors import DataError
from toolkit.training.storage import write_bytes_atomic

VERSION = 1
FEATURES = 64
STEPS = 1500
BATCH = 128


class Net(nn.Module):
    """Two pairs of convolutions with pooling, 64 features, one linear layer on them."""

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32),
            nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(1024, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, labels)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(x))
        return output


@dataclass(frozen=True)
class Judge:
    """A trained classifier for raw pictures (B, C, H, W) uint8 of the size it was trained on."""

    net: Net
    name: str
    """Data set and hash of the weights, e.g. "mnist-3f2a1c"."""
    accuracy: float
    """On the real test split."""

    @torch.inference_mode()
    def features(self, raw: Tensor) -> Tensor:
        """The 64 features before the last layer: (B, 64)."""
        return torch.cat([self.net.body(part.float() / 127.5 - 1) for part in raw.split(500)])

    @torch.inference_mode()
    def labels(self, raw: Tensor) -> Tensor:
        """The most likely label of each picture: (B,) int64."""
        output: Tensor = self.net.head(self.features(raw)).argmax(1)
        return output


def judge(image: Image, notify: Callable[[str], None] = print) -> Judge:
    """The judge for an opened data set, from the cache or trained now (a minute or two).

    Raises DataError when the data has no labels or no test split.
    """
    if not image.labels or not len(image.dataset("test")):
        raise DataError(f"a judge needs labels and a test split, and data '{image.data.source}' lacks one of them")
    # what the judge depends on: the data (through its facts), this file's choices, and the library's arithmetic
    facts = image.facts.model_dump_json(exclude={"rejected"})
    key = hashlib.sha256(f"{VERSION} {STEPS} {BATCH} {image.data.source} {facts}".encode()).hexdigest()[:16]
    path = paths.cache() / "judges" / f"image-{key}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # only initialises modules and drives dropout; restored afterwards
        net = Net(image.shape[0], len(image.labels))
        if path.is_file():
            net.load_state_dict(parse(path.read_bytes()))
        else:
            notify(f"training the judge for '{image.data.source}' (once; kept in {path})")
            _train(net, image)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(path, serialise(net.state_dict()))
    net.eval()
    digest = hashlib.sha256(serialise(net.state_dict())).hexdigest()[:6]
    made = Judge(net, f"{Path(image.data.source).name}-{digest}", 0.0)
    test = image.dataset("test")
    examples = test.take(torch.arange(len(test)))
    right = float((made.labels(examples.raw) == examples.cond["label"]).double().mean())
    return Judge(net, made.name, right)


def _train(net: Net, image: Image) -> None:
    data = image.dataset("train")
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, STEPS)
    net.train()
    for step in range(STEPS):
        draw = generator(0, "judge", step)
        examples = data.take(torch.randint(len(data), (BATCH,), generator=draw))
        # shifts by up to two pixels: digits are centred, samples need not be
        dy, dx = torch.randint(-2, 3, (2,), generator=draw).tolist()
        x = examples.raw.float().roll((dy, dx), (2, 3)) / 127.5 - 1
        loss = functional.cross_entropy(net(x), examples.cond["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
