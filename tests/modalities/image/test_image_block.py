"""The block "what I understood" of pictures: what was taken, left out and guessed, and what is there twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from modalities.image import Image
from modalities.image.data import copies
from modalities.image.options import Data, Model
from tests.modalities.image.corpus import bad_pictures, everything, flat, noise, opened, row_of
from toolkit.data.understood import Understood


def scene(seed: int, side: int = 256) -> Pillow.Image:
    """Something like a photograph: large smooth patches."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Pillow.fromarray(small).resize((side, side), Pillow.Resampling.BICUBIC)


def block(modality: Image) -> Understood:
    assert modality.splits is not None
    return modality.splits.understood


def test_rows_stand_in_their_order_and_the_second_start_has_the_same(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for i in range(30):
            noise(20, 20, seed=i + 100 * ord(label)).save(root / label / f"{i}.png")
    (root / "a" / "half.png").write_bytes(bad_pictures()["truncated.png"][0])
    (root / "a" / "list.txt").write_text("x")
    Pillow.fromarray(np.full((20, 20), 4000, dtype=np.uint16)).save(root / "b" / "deep.png")
    modality, facts, said = opened(root, tmp_path / "cache")
    names = [row.name for row in block(modality).rows]
    assert names == ["files", "splits", "labels", "sizes", "levels", "channels", "left out"] and said == []
    again, facts_again, _ = opened(root, tmp_path / "cache")
    assert block(again) == block(modality) and facts_again == facts and len(facts.identity) == 32
    assert row_of(modality, "files").data == {"read": {".png": 61}, "passed_over": {".txt": 1}}
    assert row_of(modality, "labels").data == {"by": "by folders", "counts": {"a": 30, "b": 31}}
    assert row_of(modality, "left out").value.startswith("1: a/half.png: ")
    assert block(modality).proposals == {"model.preset": "tiny"}


def test_identity_is_of_what_the_network_gets(tmp_path: Path) -> None:
    def made(name: str, seed: int = 0, label: str = "b") -> str:
        root = tmp_path / name
        for folder in ("a", label):
            (root / folder).mkdir(parents=True)
            for i in range(5):
                noise(16, 16, seed=seed + i + ord(folder[0])).save(root / folder / f"{i}.png")
        return opened(root, tmp_path / "cache")[1].identity

    first = made("one")
    assert first == made("two") and first != made("three", seed=9) and first != made("four", label="bb")
    root = tmp_path / "one"
    assert opened(root, tmp_path / "cache", labels="none")[1].identity != first
    (root / "a" / "0.png").rename(root / "b" / "moved.png")
    assert opened(root, tmp_path / "cache")[1].identity != first
    digits = [Image(Data(limit=limit), Model()).open(tmp_path).identity for limit in (50, 50, 60)]
    assert digits[0] == digits[1] != digits[2] and len(digits[0]) == 32


def test_named_data_has_a_block_and_can_do_without_labels(tmp_path: Path) -> None:
    modality = Image(Data(limit=100), Model())
    modality.open(tmp_path)
    assert [row.name for row in block(modality).rows] == ["splits", "labels", "sizes", "channels"]
    assert row_of(modality, "splits").value == "100 train, 100 held out: the data set's own"
    bare = Image(Data(limit=100, labels="none"), Model())
    assert bare.open(tmp_path).labels == () and "label" not in everything(bare).cond


def test_equal_pictures_are_counted_with_their_names(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for i in range(20):
        scene(i).save(root / f"{i:02d}.png")
    scene(3).save(root / "again.png")
    scene(3).save(root / "again.bmp")
    row = row_of(opened(root, tmp_path / "cache")[0], "copies")
    assert row.data == ["again.bmp = 03.png", "again.png = 03.png"]
    assert row.value.startswith("2 of 22 pictures equal another one") and not row.warning


def test_other_sizes_of_a_trained_picture_are_found_among_those_held_out(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
    for i in range(60):
        scene(i).save(root / "train" / f"{i}.png")
    for i in range(10):
        scene(i, side=90).save(root / "test" / f"small{i}.jpg", quality=70)  # resized, compressed
    brighter = np.asarray(scene(20)).astype(int) + 9
    Pillow.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(root / "test" / "brighter.png")
    for i in range(100, 120):
        scene(i).save(root / "test" / f"other{i}.png")
    row = row_of(opened(root, tmp_path / "cache")[0], "likenesses")
    assert row.warning and set(row.data) == {  # type: ignore[arg-type]
        *(f"test/small{i}.jpg like train/{i}.png" for i in range(10)),
        "test/brighter.png like train/20.png",
    }
    assert row.value.startswith("11 of 31 held-out pictures") and "remove copies" in row.value


def test_simple_drawings_that_differ_are_no_likenesses(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pictures = np.zeros((300, 3, 32, 32), dtype=np.uint8)
    for i in range(300):
        image = Pillow.new("RGB", (32, 32), (20, 20, 60))
        x, y = rng.integers(9, 23, 2).tolist()
        r = int(rng.integers(5, 9))
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=(220, 40, 40))
        pictures[i] = np.asarray(image).transpose(2, 0, 1)
    pictures = pictures[copies.exact(pictures) == np.arange(300)]
    test = np.arange(len(pictures)) % 10 == 0
    near = copies.near(pictures, test, copies.exact(pictures))
    assert near.searched == test.sum() and len(near.pairs) <= 2
    flat_ones = np.tile(np.arange(200, dtype=np.uint8)[:, None, None, None], (1, 1, 8, 8))
    assert copies.near(flat_ones, np.arange(200) % 2 == 0, copies.exact(flat_ones)).pairs == []


@pytest.mark.parametrize("shape", [(28, 28), (9, 50), (8, 8), (33, 20)])
def test_signatures_are_averages_of_equal_parts(shape: tuple[int, int]) -> None:
    import torch
    from torch.nn import functional

    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, *shape)).astype(np.uint8)
    got = copies._signatures(pixels, np.arange(5), 8)
    wide = torch.from_numpy(pixels).float().repeat_interleave(8, 2).repeat_interleave(8, 3)  # every edge on a pixel
    wanted = functional.avg_pool2d(wide, shape).flatten(1)
    assert torch.allclose(got, wanted - wanted.mean(1, keepdim=True), atol=1e-3)


def test_in_a_large_set_a_thousand_are_searched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30_000, 1, 28, 28), dtype=np.uint8)
    test = np.arange(len(pixels)) % 20 == 0
    pixels[20] = pixels[1]
    near = copies.near(pixels, test, copies.exact(pixels))
    assert near.pairs == [(20, 1)] and near.searched == 1000


def test_sizes_of_one_picture_are_in_one_split(tmp_path: Path) -> None:
    root = tmp_path / "icons"
    for i in range(120):
        for side in (32, 22, 48):
            (root / f"{side}x{side}").mkdir(parents=True, exist_ok=True)
            scene(i, side=side).save(root / f"{side}x{side}" / f"{i}.png")
        (root / "again").mkdir(exist_ok=True)
        scene(i, side=48).save(root / "again" / f"{i}.png")
    modality = opened(root, tmp_path / "cache")[0]
    names = json.loads(next((tmp_path / "cache").rglob("names.json")).read_text())
    test = np.load(next((tmp_path / "cache").rglob("test.npy")))
    held: dict[str, set[bool]] = {}
    for name, is_held in zip(names, test.tolist(), strict=True):
        held.setdefault(Path(name).stem, set()).add(is_held)
    assert len(names) == 480 and all(len(found) == 1 for found in held.values())
    assert 0 < test.sum() < 80 and test.sum() % 4 == 0
    row = row_of(modality, "alike")
    assert row.data == {"pictures": 480, "groups": 120, "largest": 4} and not row.warning
    assert modality.splits is not None and modality.splits.understood.row("likenesses") is None


def test_links_of_links_are_one_group() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(60, 190, (40, 1, 16, 16)).astype(int)
    drift = rng.integers(-60, 60, (40, 1, 16, 16))  # each step is near the one before, the last is far from the first
    pixels = np.concatenate([base + (drift * step) // 19 for step in range(20)]).clip(0, 255).astype(np.uint8)
    pixels = np.concatenate([pixels, pixels[:7], rng.integers(0, 256, (50, 1, 16, 16)).astype(np.uint8)])
    groups = copies.groups(pixels, copies.exact(pixels))
    assert all(len(np.unique(groups[i:800:40])) == 1 for i in range(40))
    assert np.array_equal(groups[800:807], groups[:7]) and len(np.unique(groups)) == 90
    apart = copies._near_enough(pixels, np.arange(40), np.arange(760, 800))
    assert not apart.any()


def test_what_two_files_share_joins_them() -> None:
    files = np.array([0, 0, 1, 1, 2, 3])
    groups = np.array([4, 7, 7, 8, 9, 9])
    joined = copies.join_groups(files, groups)
    assert joined[0] == joined[1] and joined[2] == joined[3] and joined[0] != joined[2] and joined.shape == (4,)


def test_sets_without_variety_are_said(tmp_path: Path) -> None:
    for name, colours in (("same", [7] * 9), ("flat", list(range(0, 90, 10)))):
        (tmp_path / name).mkdir()
        for i, colour in enumerate(colours):
            flat("L", colour).save(tmp_path / name / f"{i}.png")
    row = row_of(opened(tmp_path / "same", tmp_path / "cache")[0], "variety")
    assert row.warning and "all 9 pictures are equal" in row.value and row.data == {"different": 1}
    row = row_of(opened(tmp_path / "flat", tmp_path / "cache")[0], "variety")
    assert row.warning and "one flat colour" in row.value and row.data == {"different": 9}


def test_proposals_are_values_that_can_be_taken(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for i in range(6):
        scene(i).resize((300, 200)).save(root / f"{i}.png")
    proposals = block(opened(root, tmp_path / "cache")[0]).proposals
    assert proposals == {"data.size": "48x32", "model.preset": "tiny"}
    modality = opened(root, tmp_path / "cache", size=proposals["data.size"])[0]
    assert modality.shape == (3, 32, 48) and "data.size" not in block(modality).proposals
