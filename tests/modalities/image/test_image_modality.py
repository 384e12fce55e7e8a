"""Named data sets, model space, augmentation, files and previews."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from pydantic import ValidationError

from modalities.image import Image
from modalities.image.data import augment
from modalities.image.options import Data, Model
from modalities.image.view import picture
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError, StorageError, UsageError
from toolkit.modality import Facts


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Image:
    modality = Image(Data(), Model())
    modality.open(tmp_path_factory.mktemp("cache"), silent)
    return modality


def test_digits_split_and_classes(digits: Image) -> None:
    train, test = digits.dataset("train"), digits.dataset("test")
    assert (len(train), len(test)) == (9000, 1000)
    labels = train.take(torch.arange(9000)).cond["label"]
    assert torch.bincount(labels).tolist() == [877, 1016, 892, 940, 876, 773, 916, 977, 847, 886]
    assert torch.bincount(test.take(torch.arange(1000)).cond["label"]).tolist() == [
        *(124, 111, 99, 92, 104),
        *(90, 98, 93, 97, 92),
    ]
    assert digits.shape == (1, 28, 28) and digits.labels == tuple("0123456789")
    picked = train.take(torch.tensor([5, 2, 5]))
    assert torch.equal(picked.raw[0], picked.raw[2]) and not torch.equal(picked.raw[0], picked.raw[1])
    assert torch.equal(picked.cond["label"], labels[[5, 2, 5]])
    with pytest.raises(UsageError, match="train, test"):
        digits.dataset("valid")
    with pytest.raises(RuntimeError, match="open"):
        Image(Data(), Model(), digits.facts).dataset("train")


def test_model_space_has_mean_0_and_variance_1(digits: Image) -> None:
    raw = digits.dataset("train").take(torch.arange(9000)).raw
    x = digits.encode(raw)
    assert x.dtype == torch.float32
    assert abs(x.double().mean()) < 1e-5 and abs(x.double().var(unbiased=False) - 1) < 1e-5
    assert digits.facts.bounds is not None
    assert torch.allclose(torch.stack([x.min(), x.max()]), torch.tensor(digits.facts.bounds))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.7386, 0.6159), (0.95, 0.01), (-0.05, 0.5)])
def test_encode_and_decode_are_inverse_on_all_values(mean: float, std: float) -> None:
    modality = Image(Data(), Model(), Facts(shape=(1, 16, 16), mean=mean, std=std))
    raw = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = modality.encode(raw)
    assert torch.equal(modality.decode(x), raw)
    assert torch.equal(modality.decode(x + 0.49 / 127.5 / std), raw)  # rounded, not truncated
    wild = modality.decode(torch.tensor([-1e9, 1e9]))
    assert wild.dtype == torch.uint8 and wild.tolist() == [0, 255]


def test_size_channels_and_limit_of_named_data(tmp_path: Path, digits: Image) -> None:
    modality = Image(Data(size=32, channels=3, limit=100), Model())
    facts = modality.open(tmp_path, silent)
    assert (facts.shape, facts.count, facts.extra["test"]) == ((3, 32, 32), 100, 100)
    raw = modality.dataset("train").take(torch.arange(100)).raw
    assert torch.equal(raw[:, 0], raw[:, 2])
    original = digits.dataset("train").take(torch.arange(100)).raw.float()
    assert (raw[:, :1].float().mean((1, 2, 3)) - original.mean((1, 2, 3))).abs().max() < 1.5


def test_mnist_idx_files(tmp_path: Path) -> None:
    if not (Path(os.environ.get("TOOLKIT_DATA", "/nowhere")) / "MNIST/raw").is_dir():
        pytest.skip("TOOLKIT_DATA has no MNIST")
    modality = Image(Data(source="mnist"), Model())
    facts = modality.open(tmp_path, silent)
    assert (facts.count, facts.extra["test"], facts.shape) == (60_000, 10_000, (1, 28, 28))
    assert abs(facts.mean - (2 * 0.1306604762738429 - 1)) < 1e-9 and abs(facts.std - 2 * 0.30810780717887876) < 1e-8
    assert modality.dataset("train").take(torch.arange(5)).cond["label"].tolist() == [5, 0, 4, 1, 9]
    assert modality.dataset("test").take(torch.arange(5)).cond["label"].tolist() == [7, 2, 1, 0, 4]
    assert facts.labels == tuple("0123456789")


@pytest.mark.parametrize(
    ("name", "place"),
    [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw"), ("cifar10", "cifar-10-batches-py")],
)
def test_no_network_is_one_line_with_the_folder(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "data"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    said: list[str] = []
    with pytest.raises(DataError) as caught:
        Image(Data(source=name), Model()).open(tmp_path, said.append)
    assert str(tmp_path / "data" / place) in str(caught.value) and "\n" not in str(caught.value)
    assert said == [f"downloading {name} to {tmp_path / 'data'}"] and socket.getdefaulttimeout() is None


def batch(count: int = 64, channels: int = 3, side: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=seeded(1))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int, raw: torch.Tensor) -> Draws:
    return Draws(seed, range(len(raw)))


def test_augmentation_is_a_function_of_its_draws() -> None:
    raw, options = batch(), Data(flip=True, crop=0.2, shift=2)
    before = raw.clone()
    one = augment.augment(raw, options, drawn(3, raw))
    torch.manual_seed(99)
    assert torch.equal(one, augment.augment(raw, options, drawn(3, raw))) and torch.equal(raw, before)
    assert not torch.equal(one, augment.augment(raw, options, drawn(4, raw)))
    assert torch.equal(one[:10], augment.augment(raw[:10], options, drawn(3, raw[:10])))  # whatever comes after
    assert one.dtype == torch.uint8 and one.shape == raw.shape
    assert augment.augment(raw, Data(), drawn(3, raw)) is raw
    said = "crops of up to 20% of the side, shifts of up to 2 px, flips"
    assert Image(options, Model()).describe(torch.nn.Identity()) == [("augmentation", said)]
    assert Image(Data(), Model()).describe(torch.nn.Identity()) == []


def test_shift_moves_by_whole_pixels_and_repeats_the_edge() -> None:
    raw = batch(400)
    out = augment.augment(raw, Data(shift=2), drawn(5, raw))
    seen = set()
    for before, after in zip(raw, out, strict=True):
        padded = torch.nn.functional.pad(before.float()[None], (2, 2, 2, 2), mode="replicate")[0].to(torch.uint8)
        moves = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y : y + 12, x : x + 12], after)]
        assert len(moves) == 1
        seen.add(moves[0])
    assert len(seen) == 25


def test_flip_is_an_exact_mirror_half_of_the_time() -> None:
    raw = batch(400)
    out = augment.augment(raw, Data(flip=True), drawn(6, raw))
    mirrored = (out == raw.flip(3)).flatten(1).all(1)
    assert torch.equal(out[~mirrored], raw[~mirrored]) and 160 < mirrored.sum() < 240


def test_crop_enlarges_by_at_most_its_margin() -> None:
    ramp = torch.arange(0, 240, 4, dtype=torch.uint8).expand(500, 1, 60, 60)  # value = 4 x
    out = augment.augment(ramp, Data(crop=0.25), drawn(7, ramp)).double()
    slope = (out[:, 0, 30, 45] - out[:, 0, 30, 15]) / 30 / 4  # pixels of the original for one of the result
    assert slope.min() > 0.74 and slope.max() < 1.01 and abs(slope.mean() - 0.875) < 0.02
    assert slope.min() < 0.77 and slope.max() > 0.98
    left, right = out[:, 0, 30, 0] / 4, out[:, 0, 30, 59] / 4
    assert left.min() >= 0 and right.max() <= 59 and left.max() > 10 and right.min() < 49
    assert (left <= 60 * 0.25 + 0.5).all()


def test_write_and_read_are_exact_and_without_metadata(digits: Image, tmp_path: Path) -> None:
    raw = digits.dataset("test").take(torch.arange(3)).raw
    paths = digits.write(raw, tmp_path / "new" / "folder", ["a", "b", "c"])
    assert [path.name for path in paths] == ["a.png", "b.png", "c.png"]
    assert torch.equal(torch.stack([digits.read(path) for path in paths]), raw)
    with Pillow.open(paths[0]) as opened:
        assert opened.mode == "L" and opened.info == {}
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["a.png", "b.png", "c.png"]
    with pytest.raises(DataError, match="no such file"):
        digits.read(tmp_path / "gone.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"bad\.png cannot be read: not a PNG"):
        digits.read(tmp_path / "bad.png")
    with pytest.raises(StorageError, match="cannot write"):
        digits.write(raw[:1], tmp_path / "bad.png", ["x"])


def test_grid_places_every_picture(digits: Image) -> None:
    raw = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 28, 28) + 10
    image = digits.preview(raw)
    assert image.mode == "L" and image.size == (3 * 58 + 2, 2 * 58 + 2)  # 28 px twice enlarged, gaps of 2
    array = np.asarray(image)
    for i in range(6):
        top, left = 2 + i // 3 * 58, 2 + i % 3 * 58
        assert (array[top : top + 56, left : left + 56] == 10 + i).all()
    assert (array[:2] == 72).all() and (array[58:60] == 72).all()
    assert picture.grid(batch(4, 3, 80)).size == (166, 166)  # large ones stay as they are
    assert (
        np.asarray(picture.grid(batch(1, 3, 80)))[2:82, 2:82].tolist() == batch(1, 3, 80)[0].permute(1, 2, 0).tolist()
    )


@pytest.mark.parametrize(
    ("labels", "each", "columns", "rows"), [(9, 11, 11, 9), (10, 10, 10, 10), (2, 40, 10, 8), (3, 15, 8, 6)]
)
def test_no_picture_is_alone_in_a_row_of_its_label(labels: int, each: int, columns: int, rows: int) -> None:
    names = [f"label {i}" for i in range(labels) for _ in range(each)]
    width, height = picture.grid(batch(labels * each, 1, 64), names).size
    assert (height - 2) // 66 == rows and (width - 2) // 66 == columns


def test_labels_share_captioned_rows() -> None:
    raw = torch.tensor([10, 20, 11, 21, 12], dtype=torch.uint8)[:, None, None, None].expand(5, 1, 64, 64)
    array = np.asarray(picture.grid(raw, ["cat", "写真 dog", "cat", "写真 dog", "cat"]))
    margin = array.shape[1] - (3 * 66 + 2)
    cells = [[int(array[30 + 66 * i, margin + 30 + 66 * j]) for j in range(3)] for i in range(2)]
    assert cells == [[10, 11, 12], [20, 21, 72]]
    assert margin > 10 and (array[:66, :margin] > 150).any() and (array[66:, :margin] > 150).any()
    assert picture.grid(raw, list("abcde")).size == picture.grid(raw).size  # nothing to group
    turned = np.asarray(picture.grid(raw, ["b", "a", "b", "a", "b"], order=["a", "b"]))
    assert turned[30, -200:].tolist().count(20) == 64 and turned[96, -200:].tolist().count(10) == 64
    with pytest.raises(ValueError, match="labels"):
        picture.grid(raw, ["a"])


def test_strip_has_a_row_for_each_sample() -> None:
    values = torch.arange(21)[:, None] + torch.tensor([0, 100])
    sequence = values.to(torch.uint8)[..., None, None, None].expand(21, 2, 1, 64, 64)
    array = np.asarray(picture.strip(sequence, columns=5))
    assert array[30, 30::66].tolist() == [0, 5, 10, 15, 20] and array[96, 30::66].tolist() == [100, 105, 110, 115, 120]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 7},
        {"size": "64x1025"},
        {"size": "64 by 48"},
        {"channels": 5},
        {"levels": "9:2"},
        {"fit": "cut"},
        {"crop": 0.6},
        {"limit": 0},
        {"flips": True},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Data(**wrong)
