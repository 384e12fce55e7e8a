"""Folders: odd files, rejects with reasons, labels, splits, limits."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from modalities.image import Image
from modalities.image.data import canvas, decode
from tests.modalities.image.corpus import (
    SIZE,
    bad_pictures,
    encoded,
    everything,
    flat,
    good_pictures,
    noise,
    opened,
    pixels_of,
    row_of,
)
from toolkit.discovery import find
from toolkit.errors import DataError, StorageError
from toolkit.modality import Facts


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    """Everything above, files of other kinds, and links."""
    root = tmp_path / "Bilder mit Ümlaut"
    for name, (content, _) in {**good_pictures(), **bad_pictures()}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (root / "notes.txt").write_text("no picture")
    (root / "._rgb.png").write_bytes(b"resource fork")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "linked.png").write_bytes(encoded(flat("RGB", (5, 5, 5)), "PNG"))
    os.symlink(outside / "linked.png", root / "link.png")
    os.symlink(outside / "gone.png", root / "dangling.png")
    os.symlink(root, root / "deep" / "loop")
    os.mkfifo(root / "pipe.png")
    return root


def test_found_by_name() -> None:
    assert find("image") is Image


def test_every_odd_file_is_read_or_rejected_with_its_reason(odd_folder: Path, tmp_path: Path) -> None:
    modality, facts, said = opened(odd_folder, tmp_path / "cache", size=SIZE)
    good, bad = good_pictures(), bad_pictures()
    assert facts.count + facts.extra["test"] == len(good) + 1  # and link.png
    reasons = dict(line.split(": ", 1) for line in facts.rejected)
    assert set(reasons) == {*bad, "dangling.png", "pipe.png", "deep/loop"}
    for name, (_, reason) in bad.items():
        assert reason in reasons[name], (name, reasons[name])
        assert len(reasons[name]) > 5 and "0x" not in reasons[name]
    assert reasons["dangling.png"] == "broken link"
    assert reasons["pipe.png"] == "not a regular file"
    assert "link" in reasons["deep/loop"]
    row = modality.splits.understood.row("left out") if modality.splits else None
    assert said == [] and row is not None and row.warning and row.data == sorted(facts.rejected)
    assert row.value.startswith(f"{len(reasons)}: ")
    assert facts.shape == (3, SIZE, SIZE) and facts.labels == ()
    assert "label" not in everything(modality).cond


@pytest.mark.parametrize("name", [name for name, (_, colour) in good_pictures().items() if colour])
def test_flat_pictures_keep_their_colour(name: str, tmp_path: Path) -> None:
    content, colour = good_pictures()[name]
    path = tmp_path / Path(name).name
    path.write_bytes(content)
    got = pixels_of(path, SIZE).reshape(3, -1)
    tolerance = 2 if path.suffix == ".jpg" else 0
    assert np.abs(got.astype(int) - np.array(colour)[:, None]).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_picture_is_never_padded(kind: str, tmp_path: Path) -> None:
    content = encoded(noise(48, 48), kind)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
        assert isinstance(why := decode.one(tmp_path / "cut", canvas.Plan((SIZE, SIZE))), str) and why


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_turns_the_pixels(orientation: int, kind: str, tmp_path: Path) -> None:
    quadrants = np.zeros((32, 32), dtype=np.uint8)
    quadrants[:16, 16:], quadrants[16:, :16], quadrants[16:, 16:] = 80, 160, 240
    upright = {
        1: quadrants,
        2: quadrants[:, ::-1],
        3: quadrants[::-1, ::-1],
        4: quadrants[::-1],
        5: quadrants.T,
        6: np.rot90(quadrants, -1),
        7: quadrants[::-1, ::-1].T,
        8: np.rot90(quadrants),
    }[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(encoded(Pillow.fromarray(quadrants), kind, exif=exif))
    got = pixels_of(path, 32, 1)[0].astype(int)
    assert np.abs(got - upright.astype(int)).max() <= 3


def test_resize_takes_the_centre_and_averages(tmp_path: Path) -> None:
    wide = np.zeros((64, 192), dtype=np.uint8)
    wide[:, 64:128] = np.indices((64, 64)).sum(axis=0) % 2 * 255  # a checkerboard that must become its mean
    wide[:, :64] = 255
    path = tmp_path / "wide.png"
    path.write_bytes(encoded(Pillow.fromarray(wide), "PNG"))
    got = pixels_of(path, 8, 1)
    assert np.abs(got.astype(int)[..., 1:-1] - 127).max() <= 3


def test_grey_is_found_and_kept_exact(tmp_path: Path) -> None:
    root = tmp_path / "grey"
    root.mkdir()
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    for i in range(4):
        Pillow.fromarray(np.stack([np.roll(ramp, i, axis=1)] * 3, axis=2)).save(root / f"{i}.png")
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert facts.shape == (1, 64, 64)  # RGB files without colour, already square and small
    both = torch.cat([everything(modality, split).raw for split in ("train", "test")])
    assert {tuple(p[0, 0].tolist()) for p in both} == {tuple(np.roll(ramp, i, axis=1)[0].tolist()) for i in range(4)}
    assert opened(root, tmp_path / "cache", channels=3)[1].shape == (3, 64, 64)
    Pillow.new("RGB", (64, 64), (200, 0, 0)).save(root / "red.png")
    assert opened(root, tmp_path / "cache")[1].shape == (3, 64, 64)
    Pillow.new("RGB", (64, 60), (200, 0, 0)).save(root / "odd.png")
    assert opened(root, tmp_path / "cache")[1].shape == (3, 32, 32)


def labelled(root: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            flat("L", 10 * number + 5).save(root / name / f"{i}.png")
    return root


def test_subfolders_are_labels_in_natural_order(tmp_path: Path) -> None:
    root = labelled(tmp_path / "set", {"10": 30, "9": 30, "cat": 1})
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert facts.labels == ("9", "10", "cat")
    for split in ("train", "test"):
        raw, cond = everything(modality, split)
        value = torch.tensor([15, 5, 25])[cond["label"]]
        assert cond["label"].dtype == torch.int64 and torch.equal(raw[:, 0, 0, 0].long(), value)
    assert 2 in everything(modality).cond["label"]  # the only cat is there to train
    flat("L", 1).save(root / "stray.png")
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert facts.labels == ("9", "10", "cat") and facts.count + facts.extra["test"] == 61  # the stray one is left out
    assert "stray.png" in row_of(modality, "note").value
    assert opened(root, tmp_path / "cache", labels="none")[1].labels == ()


def test_train_and_test_folders_are_the_split(tmp_path: Path) -> None:
    root = labelled(tmp_path / "set", {"train/a": 3, "train/b": 2, "test/a": 1, "test/b": 4, "other": 1})
    modality, facts, said = opened(root, tmp_path / "cache")
    assert (facts.count, facts.extra["test"], facts.labels) == (5, 5, ("a", "b"))
    assert everything(modality, "test").cond["label"].tolist() == [0, 1, 1, 1, 1]
    assert said == [] and "1 pictures outside" in row_of(modality, "note").value
    assert opened(root, tmp_path / "cache", splits="none")[1].labels == ("other", "test", "train")


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "it is empty"),
        ({"a.txt": b"x", "b.txt": b"y", "c.eps": b"z"}, "only other files (2 .txt, 1 .eps)"),
        ({"a.png": b"x", "b.jpg": b""}, "2 tried, for example a.png: not a PNG"),
    ],
)
def test_a_folder_without_pictures_is_one_clear_line(files: dict[str, bytes], line: str, tmp_path: Path) -> None:
    root = tmp_path / "nothing"
    root.mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        opened(root, tmp_path / "cache")
    assert str(root) in str(caught.value) and line in str(caught.value) and "\n" not in str(caught.value)
    assert list((tmp_path / "cache").rglob("*.npy")) == []


def test_no_such_folder_and_file_for_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*gone .*digits, mnist, fashion-mnist, cifar10"):
        opened(tmp_path / "gone", tmp_path)
    flat("L", 1).save(tmp_path / "one.png")
    with pytest.raises(DataError, match="is a file"):
        opened(tmp_path / "one.png", tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        opened(Path("x" * 5000), tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        opened(Path("~nobody-has-this-name/pictures"), tmp_path)


def test_a_read_only_folder_is_enough_and_untouched(tmp_path: Path) -> None:
    root = labelled(tmp_path / "set", {"a": 2, "b": 2})
    for path in (root, root / "a", root / "b"):
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    before = sorted(map(str, root.rglob("*")))
    assert opened(root, tmp_path / "cache")[1].count == 3
    assert sorted(map(str, root.rglob("*"))) == before
    for path in (root, root / "a", root / "b"):
        path.chmod(0o755)


def test_undecodable_names_do_not_break_the_facts(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for name in (b"caf\xe9.png", b"new\nline\x1b[31m.png"):
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(b"bad")
    flat("L", 1).save(root / "ok.png")
    facts = opened(root, tmp_path / "cache")[1]
    assert Facts.model_validate_json(facts.model_dump_json()) == facts
    assert {line.split(":")[0] for line in facts.rejected} == {"caf?.png", "new?line?[31m.png"}


def test_one_picture_and_one_colour_still_work(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    flat("L", 200).save(root / "only.png")
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert (facts.count, facts.std, len(modality.dataset("test"))) == (1, 1.0, 0)
    assert torch.equal(modality.decode(modality.encode(everything(modality).raw)), everything(modality).raw)


def test_an_unwritable_cache_is_a_storage_error(tmp_path: Path) -> None:
    root = labelled(tmp_path / "set", {"a": 1})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="TOOLKIT_CACHE"):
        opened(root, tmp_path / "file")
