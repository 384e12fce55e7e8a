"""Pictures of any size and shape: what is cut, what is kept, and that all parts of the modality take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from modalities.image import Image
from modalities.image.data import augment, geometry
from modalities.image.evaluate import evaluator
from modalities.image.evaluate.judge import PictureJudge
from modalities.image.options import Data, Model
from modalities.image.view import picture
from tests.modalities.image.corpus import encoded, everything, flat, noise, opened, pixels_of, row_of
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError
from toolkit.modality import Facts
from toolkit.recipe import from_mapping
from toolkit.run.prepare import train


def stripes(width: int, height: int) -> Pillow.Image:
    """Grey levels that rise from left to right, the same in each row."""
    row = np.linspace(0, 240, width).round().astype(np.uint8)
    return Pillow.fromarray(np.tile(row, (height, 1)))


def folder(root: Path, *sizes: tuple[int, int], count: int = 6) -> Path:
    root.mkdir()
    for number, (width, height) in enumerate(sizes):
        for i in range(count):
            noise(height, width, seed=100 * number + i).save(root / f"{number}-{i}.png")
    return root


@pytest.mark.parametrize(
    ("typed", "size", "sides"),
    [(32, 32, (32, 32)), ("32", 32, (32, 32)), ("32x32", 32, (32, 32)), ("64x48", "64x48", (64, 48)),
     (None, None, None),
     (" 9 X 50 ", "9x50", (9, 50)), (1024, 1024, (1024, 1024))],
)  # fmt: skip
def test_a_size_is_a_side_or_width_by_height(typed: object, size: object, sides: object) -> None:
    data = Data(size=typed)  # type: ignore[arg-type]
    assert (data.size, data.sides) == (size, sides) and Data(**data.model_dump()) == data


@pytest.mark.parametrize("own", [(30, 30), (48, 64), (64, 8), (9, 50)])
def test_a_common_size_of_at_most_64_is_kept_exactly(own: tuple[int, int], tmp_path: Path) -> None:
    modality, facts, _ = opened(folder(tmp_path / "set", own), tmp_path / "cache")
    assert facts.shape == (3, own[1], own[0])
    got = {p.numpy().tobytes() for split in ("train", "test") for p in everything(modality, split).raw}
    pictures = [np.asarray(noise(own[1], own[0], seed=i)) for i in range(6)]
    assert got == {np.ascontiguousarray(array.transpose(2, 0, 1)).tobytes() for array in pictures}
    row = row_of(modality, "sizes")
    assert row.value == f"all {own[0]} x {own[1]}, and kept" and not row.warning and not row.change


@pytest.mark.parametrize("sizes", [[(65, 64)], [(100, 100)], [(30, 30), (30, 31)], [(7, 9)]])
def test_others_become_32(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    assert opened(folder(tmp_path / "set", *sizes), tmp_path / "cache")[1].shape == (3, 32, 32)


def test_a_damaged_picture_of_another_size_changes_nothing(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", (20, 24))
    content = encoded(noise(64, 64), "PNG")
    (root / "half.png").write_bytes(content[: len(content) // 2])
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert facts.shape == (3, 24, 20) and len(facts.rejected) == 1
    assert row_of(modality, "sizes").value == "all 20 x 24, and kept"


def test_the_row_says_what_is_cut_and_how_much_smaller_pictures_become(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", (64, 128))
    row = row_of(opened(root, tmp_path / "cache")[0], "sizes")
    assert row.warning and row.data == {
        "size": 32, "fit": "crop", "counts": {"64x128": 6}, "cropped": 0.5, "scale": 0.5, "scales": [0.5, 0.5],
    }  # fmt: skip
    assert "all 64 x 128" in row.value and "50% of the area is lost" in row.value and "reduced 2 times" in row.value
    assert row.change == "--size 32x64 or --fit pad"
    modality = opened(root, tmp_path / "cache", size="32x64")[0]
    row = row_of(modality, "sizes")
    assert modality.shape == (3, 64, 32) and not row.warning and "kept whole" in row.value
    assert opened(root, tmp_path / "cache")[0].splits.understood.proposals["data.size"] == "24x48"  # type: ignore[union-attr]


def test_crop_takes_the_middle_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stripes(120, 40).save(path)
    tall = pixels_of(path, (20, 40), 1)[0]  # the middle sixth, at full resolution
    assert np.array_equal(tall, np.asarray(stripes(120, 40))[:, 50:70])
    assert geometry.lost_share((120, 40), (20, 40), "crop") == pytest.approx(5 / 6)


def test_pad_keeps_the_whole_picture_on_the_background(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    flat("L", 100, (40, 20)).save(path)
    got = pixels_of(path, (40, 40), 1, fit="pad", background=0)[0]
    assert (got[10:30] == 100).all() and (got[:10] == 0).all() and (got[30:] == 0).all()
    got = pixels_of(path, (20, 40), 1, fit="pad")[0]
    assert (got[15:25] == 100).all() and (got[:15] == 255).all() and (got[25:] == 255).all()


def test_stretch_keeps_the_whole_picture_distorted(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stripes(80, 40).save(path)
    got = pixels_of(path, (40, 40), 1, fit="stretch")[0].astype(int)
    assert np.abs(got[20] - np.linspace(1, 239, 40)).max() < 3


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("orientation", [1, 6, 8, 5])
def test_turned_photographs_are_upright_before_they_are_cut(fit: str, orientation: int, tmp_path: Path) -> None:
    upright = np.asarray(stripes(60, 30))
    stored = {1: upright, 6: np.rot90(upright), 8: np.rot90(upright, -1), 5: upright.T}[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    (tmp_path / "turned.png").write_bytes(encoded(Pillow.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif))
    stripes(60, 30).save(tmp_path / "upright.png")
    sides = {"size": (24, 32), "fit": fit}
    a, b = (pixels_of(tmp_path / f"{name}.png", channels=1, **sides) for name in ("turned", "upright"))
    assert np.abs(a.astype(int) - b).max() <= 1


def test_portraits_that_are_stored_on_their_side_have_one_size(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    for i in range(4):
        (root / f"{i}.jpg").write_bytes(encoded(noise(32, 48, seed=i), "JPEG", exif=exif, quality=95))
        (root / f"u{i}.jpg").write_bytes(encoded(noise(48, 32, seed=i), "JPEG", quality=95))
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert facts.shape == (3, 48, 32) and row_of(modality, "sizes").value == "all 32 x 48, and kept"


def test_named_data_takes_every_size(tmp_path: Path) -> None:
    own = Image(Data(limit=20), Model())
    own.open(tmp_path)
    digits = everything(own).raw
    cut = Image(Data(limit=20, size="14x28"), Model())
    assert cut.open(tmp_path).shape == (1, 28, 14)
    assert torch.equal(everything(cut).raw, digits[..., 7:21])
    padded = Image(Data(limit=20, size="28x40", fit="pad", background="black"), Model())
    padded.open(tmp_path)
    assert torch.equal(everything(padded).raw[:, :, 6:34], digits) and not everything(padded).raw[:, :, :6].any()
    assert "resized from 28 x 28" in row_of(cut, "sizes").value


@pytest.mark.parametrize("size", ["30x30", "44x28", "50x9"])
def test_a_run_of_any_size_trains_samples_and_writes(size: str, tmp_path: Path) -> None:
    width, height = map(int, size.split("x"))
    root = folder(tmp_path / "set", (width, height), count=12)
    sections = {
        "data": {"source": str(root), "flip": True, "crop": 0.1, "shift": 1},
        "model": {"preset": "tiny", "width": 8},
        "train": {"steps": 2, "batch": 4, "previews": 0, "layout": "channels-first"},
        "sample": {"steps": 2},
    }
    made = train(from_mapping({"name": "tiny", "modality": "image", **sections}), out=tmp_path / "run", progress=False)
    samples = made.sample(2)
    assert samples.raw.shape == (2, 3, height, width) and samples.raw.dtype == torch.uint8
    paths = made.modality.write(samples.raw, tmp_path / "out", ["a", "b"])
    assert Pillow.open(paths[0]).size == (width, height)
    assert torch.equal(made.modality.read(paths[1]), samples.raw[1])


def test_crops_keep_the_shape_of_the_picture() -> None:
    across = torch.arange(0, 240, 4, dtype=torch.uint8).expand(200, 1, 20, 60)  # value = 4 x
    out = augment.augment(across, Data(crop=0.25), Draws(7, range(200))).double()
    slope = (out[:, 0, 10, 45] - out[:, 0, 10, 15]) / 30 / 4
    assert out.shape == across.shape and 0.74 < slope.min() < 0.77 and 0.98 < slope.max() < 1.01
    down = torch.arange(0, 240, 4, dtype=torch.uint8)[:, None].expand(200, 1, 60, 20)
    out = augment.augment(down, Data(crop=0.25), Draws(7, range(200))).double()
    slope = (out[:, 0, 45, 10] - out[:, 0, 15, 10]) / 30 / 4
    assert 0.74 < slope.min() < 0.77 and 0.98 < slope.max() < 1.01


def test_quarter_turns_of_pictures_that_are_no_squares_keep_their_size() -> None:
    raw = torch.from_numpy(np.asarray(stripes(40, 20)).copy())[None, None]
    assert torch.equal(evaluator.turn(raw, 0), raw) and torch.equal(evaluator.turn(raw, 2), raw.flip(2, 3))
    turned = evaluator.turn(raw, 1).double()
    assert turned.shape == raw.shape and (turned[0, 0, 2:-2].diff(dim=0) < 0).all()  # rises from bottom to top now
    assert float(turned[0, 0].std(1).max()) < 1  # and is the same along a row
    square = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    assert torch.equal(evaluator.turn(square, 1), square.rot90(1, (2, 3)))


@pytest.mark.parametrize("shape", [(3, 50, 9), (1, 9, 50), (4, 30, 44), (2, 8, 8)])
def test_the_judge_and_the_search_for_copies_take_every_shape(shape: tuple[int, int, int]) -> None:
    raw = torch.randint(0, 256, (5, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = evaluator.copy_features(raw)
    assert features.shape == (5, shape[0] * min(16, shape[1]) * min(16, shape[2]))
    means = raw.float().mean((2, 3)) / 255
    divides = all(side < 16 or side % 16 == 0 for side in shape[1:])
    if divides:
        assert torch.allclose(features.reshape(5, shape[0], -1).mean(2), means, atol=1e-5)
    judge = PictureJudge.__new__(PictureJudge)
    judge.facts, judge.names = Facts(shape=shape, labels=("a", "b")), ("a", "b")
    assert judge.network().eval()(judge.prepare(raw)).shape == (5, 2)


def test_folders_that_differ_in_size_say_the_option(tmp_path: Path) -> None:
    mine, theirs = (
        opened(folder(tmp_path / name, size), tmp_path / "cache")[0].splits
        for name, size in (("a", (20, 20)), ("b", (24, 40)))
    )
    assert mine is not None and theirs is not None
    with pytest.raises(DataError, match=r"bring both to one: --size 24x40"):
        evaluator.ImageEvaluator().check_alike(mine, theirs, "a")
    reading = evaluator.ImageEvaluator().reading(tmp_path / "b", str(tmp_path / "b"), {})
    assert reading == {"size": "24x40"}
    assert evaluator.ImageEvaluator().reading(tmp_path / "a", str(tmp_path / "b"), {}) == {}


def test_grids_of_every_shape_place_their_pictures() -> None:
    raw = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 1, 20, 10) + 10
    array = np.asarray(picture.grid(raw))
    assert array.shape == (2 * 62 + 2, 2 * 32 + 2)  # enlarged 3 times
    assert [int(array[30 + 62 * (i // 2), 15 + 32 * (i % 2)]) for i in range(4)] == [10, 11, 12, 13]
