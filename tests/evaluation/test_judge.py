"""The judge learns real digits, is trained only once, and its training is the published one, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from modalities.image import Image
from modalities.image.evaluate.judge import PictureJudge
from modalities.image.options import Data, Model
from toolkit.data.dataset import Facts, InMemory, Splits
from toolkit.diffusion.randomness import seeded_generator
from toolkit.errors import DataError
from toolkit.evaluation.judge import Classifier, Judge, TrainingSchedule, cross_validate, folds_of, obtain, recognises


def digits(cache: Path) -> Image:
    opened = Image(Data(), Model())
    opened.open(cache, lambda line: None)
    return opened


def judge_of(opened: Image, notify: Callable[[str], None]) -> PictureJudge:
    assert opened.splits is not None
    return obtain(PictureJudge, opened.splits, notify)


def test_it_learns_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(PictureJudge, "course", replace(PictureJudge.course, steps=50, batch=48))
    opened = digits(tmp_path)
    said: list[str] = []
    first = judge_of(opened, said.append)
    again = judge_of(opened, said.append)
    assert first.accuracy > 0.7  # by chance: 0.1
    assert first.tested == len(opened.dataset("test"))
    assert len(said) == 1 and again.name == first.name and again.accuracy == first.accuracy
    raw = opened.dataset("test").take(torch.arange(20)).raw
    assert torch.equal(first.features(raw), again.features(raw)) and first.features(raw).shape == (20, 64)
    probabilities = first.probabilities(raw)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(20))
    assert torch.equal(probabilities.argmax(1), first.labels(raw))


def test_training_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the name of a judge is a hash of its weights, so numbers in the README hold only while none of this changes
    assert PictureJudge.course == TrainingSchedule(steps=1500, batch=128, lr=2e-3, weight_decay=0.01, smoothing=0.0)
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(PictureJudge, "course", replace(PictureJudge.course, steps=3, batch=16))
    opened = digits(tmp_path)
    made = judge_of(opened, lambda line: None)

    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
        nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(1024, 64), nn.ReLU(),
    )  # fmt: skip
    net = nn.Sequential(body, nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, 3)
    data = opened.dataset("train")
    for step in range(3):
        draw = seeded_generator(0, "judge", step)
        examples = data.take(torch.randint(len(data), (16,), generator=draw))
        dy, dx = torch.randint(-2, 3, (2,), generator=draw).tolist()
        x = examples.raw.float().roll((dy, dx), (2, 3)) / 127.5 - 1
        functional.cross_entropy(net(x), examples.cond["label"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    wanted = {f"{['body', 'head'][int(name[0])]}{name[1:]}": value for name, value in net.state_dict().items()}
    mine = made.net.state_dict()
    assert list(mine) == list(wanted) and all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_it_needs_labels(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Pillow.new("L", (16, 16), 60 * i).save(tmp_path / "pictures" / f"{i}.png")
    plain = Image(Data(source=str(tmp_path / "pictures")), Model())
    plain.open(tmp_path / "cache", lambda line: None)
    with pytest.raises(DataError, match="labels"):
        judge_of(plain, print)


def blobs() -> Splits:
    """40 + 20 points around three corners; one of the third corner bears the first one's label."""

    def part(split: str, n: int) -> InMemory:
        draw, corner = seeded_generator(0, "blobs", split), torch.arange(n) % 3
        raw = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])[corner] + torch.randn(n, 2, generator=draw)
        label = corner.clone()
        if split == "test":
            label[2] = 0
        return InMemory(raw, {"label": label})

    return Splits("blobs", part("train", 40), part("test", 20), Facts(shape=(2,), labels=("a", "b", "c"), count=40))


class BlobJudge(Judge):
    kind = "blobs"
    course = TrainingSchedule(steps=60, batch=32, lr=3e-2, weight_decay=0.0, smoothing=0.1)
    taken = 0

    def network(self) -> Classifier:
        return Classifier(nn.Sequential(nn.Linear(2, 8), nn.ReLU()), nn.Linear(8, len(self.names)))

    def prepare(self, raw: torch.Tensor) -> torch.Tensor:
        type(self).taken += len(raw)
        return raw / 5

    def augment(self, x: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        return x + 0.01 * torch.randn(x.shape, generator=draw)


@pytest.mark.parametrize(("held", "prepared"), [(0, 60 * 32), (1000, 40), (10, 10)])
def test_inputs_may_be_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, prepared: int) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(BlobJudge, "held", held)
    monkeypatch.setattr(BlobJudge, "taken", 0)
    made = obtain(BlobJudge, blobs(), lambda line: None)
    assert BlobJudge.taken == prepared + 20  # and the test split
    # one test label is wrong on purpose
    assert made.accuracy == pytest.approx(19 / 20) and made.name.startswith("blobs-")
    assert recognises(made, blobs().test).tolist() == [i != 2 for i in range(20)]


def test_another_version_is_another_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    said: list[str] = []
    obtain(BlobJudge, blobs(), said.append)
    monkeypatch.setattr(BlobJudge, "version", 2)
    obtain(BlobJudge, blobs(), said.append)
    assert len(said) == 2 and len(list((tmp_path / "judges").iterdir())) == 2
    state = torch.get_rng_state()
    obtain(BlobJudge, blobs(), said.append)
    assert len(said) == 2 and torch.equal(torch.get_rng_state(), state)


def test_cross_validation_judges_each_example_once_by_others() -> None:
    right = cross_validate(BlobJudge, blobs())
    # all but the one with the wrong label: a judge that had seen it could have known it
    assert right.tolist() == [i != 40 + 2 for i in range(60)]


def test_folds_spread_every_label() -> None:
    labels = torch.tensor([0] * 17 + [1] * 7 + [2] * 23)
    fold = folds_of(labels, 5)
    for label in range(3):
        sizes = torch.bincount(fold[labels == label], minlength=5)
        assert int(sizes.max() - sizes.min()) <= 1
    assert sorted(torch.bincount(fold).tolist()) == [9, 9, 9, 10, 10]
