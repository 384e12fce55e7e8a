"""Transparency: laid on a background and said, or learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from modalities.image.data import augment
from modalities.image.options import Data
from modalities.image.view import picture
from tests.modalities.image.corpus import everything, flat, opened, pixels_of, row_of
from toolkit.diffusion.randomness import Draws


def cut_out(colour: tuple[int, int, int] = (200, 40, 10), alpha: int = 255, side: int = 16) -> Pillow.Image:
    """A rectangle on nothing, whose hidden colour is green."""
    image = Pillow.new("RGBA", (side, side), (0, 255, 0, 0))
    image.paste((*colour, alpha), (side // 4, side // 4, 3 * side // 4, 3 * side // 4))
    return image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(8):
        cut_out((200, 40, 10 + i)).save(folder / f"{i}.png")
    for i in range(4):
        flat("RGB", (10, 20, 30 + i)).save(folder / f"whole{i}.png")
    return folder


def test_laid_on_white_or_black_and_said(root: Path, tmp_path: Path) -> None:
    for background, level in (("white", 255), ("black", 0)):
        modality = opened(root, tmp_path / "cache", background=background)[0]
        raw = everything(modality).raw
        cut = raw[raw[:, 0, 8, 8] == 200]
        assert raw.shape[1] == 3 and len(cut) and (cut[:, :, 0, 0] == level).all() and (cut[:, 1, 8, 8] == 40).all()
        row = row_of(modality, "transparency")
        assert row.value == f"8 of 12 pictures are transparent in part, and laid on {background}"
        assert row.data == {"transparent": 8, "learned": False, "background": background}
        assert row.change.startswith("--channels 4 or --background ")
        assert modality.splits is not None and modality.splits.understood.proposals["data.channels"] == 4


def test_transparency_is_learned_with_4_channels(root: Path, tmp_path: Path) -> None:
    modality, facts, _ = opened(root, tmp_path / "cache", channels=4)
    raw = everything(modality).raw
    cut = raw[raw[:, 0, 8, 8] == 200]
    assert facts.shape == (4, 16, 16) and len(cut)
    assert (cut[:, 3, 4:12, 4:12] == 255).all() and int(cut[:, 3].sum()) == len(cut) * 64 * 255
    assert (cut[:, :3, 0, 0] == 255).all()  # not the green that nobody sees
    assert (raw[raw[:, 0, 8, 8] == 10][:, 3] == 255).all()
    row = row_of(modality, "transparency")
    assert row.data == {"transparent": 8, "learned": True} and row.change == "--channels 3"


def test_grey_and_alpha(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(4):
        cut_out((100 + i,) * 3, alpha=128).save(folder / f"{i}.png")
    modality, facts, _ = opened(folder, tmp_path / "cache", channels=2)
    raw = everything(modality).raw
    assert facts.shape == (2, 16, 16) and (raw[:, 1, 8, 8] == 128).all() and (raw[:, 1, 0, 0] == 0).all()
    assert set(raw[:, 0, 8, 8].tolist()) < {100, 101, 102, 103}
    paths = modality.write(raw, tmp_path / "out", [str(i) for i in range(len(raw))])
    with Pillow.open(paths[0]) as written:
        assert written.mode == "LA" and written.getpixel((8, 8)) == (int(raw[0, 0, 8, 8]), 128)
    assert torch.equal(torch.stack([modality.read(path) for path in paths]), raw)


def test_written_with_alpha_and_read_again(root: Path, tmp_path: Path) -> None:
    modality = opened(root, tmp_path / "cache", channels=4)[0]
    raw = everything(modality).raw
    paths = modality.write(raw, tmp_path / "out", [str(i) for i in range(len(raw))])
    with Pillow.open(paths[0]) as written:
        assert written.mode == "RGBA"
    assert torch.equal(torch.stack([modality.read(path) for path in paths]), raw)


def test_hidden_colours_do_not_bleed_into_edges_when_pictures_are_resized(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cut_out(side=64).save(path)
    got = pixels_of(path, 20, 4)  # edges fall between pixels
    seen = got[3] > 8
    assert seen.sum() > 90 and (got[1][seen] < 60).all() and (got[0][seen] > 190).all()
    laid = pixels_of(path, 20, 3, background=0)
    assert laid[1].max() <= 41  # and no green on black


def test_crops_weigh_colours_by_their_alpha() -> None:
    raw = torch.from_numpy(np.asarray(cut_out(side=32)).transpose(2, 0, 1).copy()).expand(50, 4, 32, 32)
    out = augment.augment(raw, Data(crop=0.4), Draws(3, range(50)))
    seen = out[:, 3] > 8
    assert out.dtype == torch.uint8 and int(seen.sum()) > 5_000
    assert int(out[:, 1][seen].max()) < 45 and int(out[:, 0][seen].min()) > 195


def test_previews_lie_on_a_light_checkerboard() -> None:
    raw = torch.zeros(1, 4, 64, 64, dtype=torch.uint8)
    raw[:, :3], raw[:, 3, :32] = 10, 255
    array = np.asarray(picture.grid(raw))[2:66, 2:66]
    assert array.shape == (64, 64, 3) and (array[:32] == 10).all()
    assert array[32:].reshape(-1, 3).tolist().count([255] * 3) == array[32:].reshape(-1, 3).tolist().count([216] * 3)
    assert (array[34, 4] == 216).all() and (array[34, 12] == 255).all()
    strip = np.asarray(picture.strip(raw[None].expand(3, 1, 4, 64, 64)))
    assert (strip[2:66, 2:66] == array).all()
    assert np.asarray(picture.grid(raw[:, 2:])).ndim == 2  # grey and alpha


def test_what_cannot_be_seen_on_the_background_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(4):
        cut_out((255, 255, 255)).save(folder / f"white{i}.png")
        cut_out((0, 0, i)).save(folder / f"black{i}.png")
    row = row_of(opened(folder, tmp_path / "cache")[0], "invisible pictures")
    assert row.warning and row.data == [f"white{i}.png" for i in range(4)] and "as white as" in row.value
    assert "--channels 2" in row.change and "--background black" in row.change
    row = row_of(opened(folder, tmp_path / "cache", background="black")[0], "invisible pictures")
    assert row.data == [f"black{i}.png" for i in range(4)]
    splits = opened(folder, tmp_path / "cache", channels=4)[0].splits
    assert splits is not None and splits.understood.row("invisible pictures") is None


def test_borders_of_padded_pictures_are_transparent_where_that_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    flat("RGB", (9, 8, 7), (32, 16)).save(path)
    got = pixels_of(path, 32, 4, fit="pad")
    assert (got[3, 8:24] == 255).all() and (got[3, :8] == 0).all() and (got[0, 8:24] == 9).all()
    assert (got[:3, :8] == 255).all()
