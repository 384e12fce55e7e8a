"""Formats besides those that everybody has: AVIF, HEIC, arrays, maps of grey, animations and stacks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import features

from modalities.image.data import decode
from modalities.image.data.formats import arrays
from tests.modalities.image.corpus import encoded, everything, flat, noise, opened, pixels_of, row_of
from toolkit.errors import DataError


def save(folder: Path, name: str, array: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / name, array)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for i in range(3):
        (root / f"{i}.avif").write_bytes(encoded(flat("RGB", (200, 100, 50 + i), (32, 32)), "AVIF", quality=95))
    modality, facts, _ = opened(root, tmp_path / "cache")
    assert facts.count + facts.extra["test"] == 3 and facts.rejected == ()
    raw = everything(modality).raw.int()
    assert (raw[:, 0] - 200).abs().max() <= 3 and (raw[:, 1] - 100).abs().max() <= 3


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without pillow-heif."""
    monkeypatch.setattr(decode.importlib.util, "find_spec", lambda name: None)
    decode.formats.cache_clear()
    yield
    decode.formats.cache_clear()


def test_heic_without_its_package_is_counted_with_the_command(no_heif: None, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for i in range(3):
        flat("L", i).save(root / f"{i}.png")
        (root / f"{i}.HEIC").write_bytes(b"\0\0\0\x1cftypheic" + bytes(64))
    modality, facts, _ = opened(root, tmp_path / "cache")
    row = row_of(modality, "files")
    assert row.data == {"read": {".png": 3}, "passed_over": {".heic": 3}} and facts.rejected == ()
    assert "3 HEIC files" in row_of(modality, "note").value
    assert "pip install 'diffusion-toolkit[heic]'" in row_of(modality, "note").value
    for path in root.glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"holds HEIC files only; pip install 'diffusion-toolkit\[heic\]'"):
        opened(root, tmp_path / "cache")


def test_heic_is_read_with_its_package(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    decode.formats.cache_clear()
    assert ".heic" in decode.readable()
    flat("RGB", (200, 100, 50), (64, 48)).save(tmp_path / "a.heic", quality=90)
    assert np.abs(pixels_of(tmp_path / "a.heic", 16)[:, 4, 4].astype(int) - [200, 100, 50]).max() <= 4


@pytest.mark.parametrize(
    ("shape", "channels", "picture"),
    [
        ((20, 30), 1, lambda a: a[None]),
        ((20, 30, 1), 1, lambda a: a.transpose(2, 0, 1)),
        ((20, 30, 2), 2, lambda a: a.transpose(2, 0, 1)),
        ((20, 30, 3), 3, lambda a: a.transpose(2, 0, 1)),
        ((20, 30, 4), 4, lambda a: a.transpose(2, 0, 1)),
        ((3, 20, 30), 3, lambda a: a),
        ((4, 20, 30), 4, lambda a: a),
        ((1, 20, 30), 1, lambda a: a),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_array_is_one_picture(shape: tuple[int, ...], channels: int, picture, order: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    array = np.maximum(values(*shape), 1)  # none is quite transparent
    save(tmp_path / "set", "a.npy", np.asarray(array, order=order))  # type: ignore[call-overload]
    modality, facts, _ = opened(tmp_path / "set", tmp_path / "cache", channels=channels)
    assert facts.shape == (channels, 20, 30) and facts.count == 1
    assert np.array_equal(everything(modality).raw[0].numpy(), picture(array))


@pytest.mark.parametrize("shape", [(40, 12, 10), (40, 12, 10, 3), (40, 3, 12, 10)])
def test_a_stack_is_as_many_pictures_each_in_a_split_of_its_own(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = values(*shape)
    save(tmp_path / "set", "all.npy", array)
    modality, facts, _ = opened(tmp_path / "set", tmp_path / "cache")
    assert facts.count + facts.extra["test"] == 40 and facts.extra["test"] >= 1
    upright = array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2) if shape[-1] == 3 else array
    got = {p.numpy().tobytes() for split in ("train", "test") for p in everything(modality, split).raw}
    assert got == {np.ascontiguousarray(p).tobytes() for p in upright}
    row = row_of(modality, "arrays")
    assert row.data == {"files": 1, "pictures": 40} and "picture by picture" in row.value
    limited = opened(tmp_path / "set", tmp_path / "cache", limit=7)[1]
    assert limited.count + limited.extra["test"] == 7


def test_of_many_arrays_each_belongs_to_one_split(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / "set", f"{i}.npy", np.full((5, 12, 12), i, dtype=np.uint8) + values(5, 12, 12) // 64)
    modality, facts, _ = opened(tmp_path / "set", tmp_path / "cache")
    assert facts.count % 5 == facts.extra["test"] % 5 == 0 and facts.extra["test"] >= 5
    assert "whole files" in row_of(modality, "arrays").value


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([{}], dtype=object), "truth values, integers and fractions"),
        (np.zeros((4, 4), dtype=complex), "truth values, integers and fractions"),
        (np.zeros(9, dtype=np.uint8), "(9,)"),
        (np.zeros((2, 2, 2, 2, 2), dtype=np.uint8), "(2, 2, 2, 2, 2)"),
        (np.zeros((0, 4), dtype=np.uint8), "(0, 4)"),
        (np.zeros((9, 9, 9, 9), dtype=np.uint8), "more than 4 channels"),
    ],
)
def test_arrays_that_are_no_pictures_are_left_out(array: np.ndarray, reason: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    flat("L", 3).save(tmp_path / "set" / "ok.png")
    np.save(tmp_path / "set" / "bad.npy", array, allow_pickle=array.dtype == object)
    (line,) = opened(tmp_path / "set", tmp_path / "cache")[1].rejected
    assert line.startswith("bad.npy: ") and reason in line


def test_a_header_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    def forged(shape: tuple[int, ...]) -> io.BytesIO:
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return io.BytesIO(file.getvalue() + bytes(100))

    for shape, reason in (((10**6, 10**6), "truncated"), ((10, 11), "truncated")):
        with pytest.raises(arrays.Unreadable, match=reason):
            arrays.look(forged(shape), len(forged(shape).getvalue()))
    with pytest.raises(arrays.Unreadable, match="64 million"):
        arrays.look(forged((8_001, 8_000)), 10**12)
    root = tmp_path / "set"
    root.mkdir()
    flat("L", 3).save(root / "ok.png")
    (root / "short.npy").write_bytes(b"\x93NUMPY")
    (root / "cut.npy").write_bytes(forged((20, 20)).getvalue())
    (root / "text.npy").write_bytes(b"<html>404</html>" * 9)
    facts = opened(root, tmp_path / "cache")[1]
    assert [line.split(":")[0] for line in facts.rejected] == ["cut.npy", "short.npy", "text.npy"] and facts.count == 1


@pytest.mark.parametrize("ending", ["ppm", "pgm", "pnm", "pbm"])
def test_portable_maps_are_read(ending: str, tmp_path: Path) -> None:
    image = {"ppm": noise(9, 12), "pgm": noise(9, 12).convert("L"), "pnm": noise(9, 12), "pbm": flat("1", 1, (12, 9))}
    (tmp_path / f"a.{ending}").write_bytes(encoded(image[ending], "PPM"))
    assert np.array_equal(
        pixels_of(tmp_path / f"a.{ending}", (12, 9))[0], np.asarray(image[ending].convert("RGB"))[..., 0]
    )


def animation(kind: str, count: int, first: int = 0) -> bytes:
    frames = [flat("RGB", (10 * (first + i) + 5,) * 3, (16, 16)) for i in range(count)]
    return encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


@pytest.mark.parametrize(("kind", "ending"), [("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")])
def test_frames_of_animations_and_stacks(kind: str, ending: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for i in range(3):
        (root / f"{i}.{ending}").write_bytes(animation(kind, 5, first=5 * i))
    flat("L", 200).save(root / "still.png")
    modality, facts, _ = opened(root, tmp_path / "cache")
    values_ = sorted(p[0, 0, 0].item() for s in ("train", "test") for p in everything(modality, s).raw)
    assert values_ == [5, 55, 105, 200]
    row = row_of(modality, "animations")
    assert row.value == "3 files hold 15 pictures: the first of each is read" and row.change == "--frames all"
    modality, facts, _ = opened(root, tmp_path / "cache", frames="all")
    split = {s: sorted(p[0, 0, 0].item() for p in everything(modality, s).raw) for s in ("train", "test")}
    assert sorted(split["train"] + split["test"]) == sorted([*range(5, 155, 10), 200])
    groups = [{(value - 5) // 50 for value in split[s] if value != 200} for s in ("train", "test")]
    assert not groups[0] & groups[1]  # of a file all are trained on, or none
    assert facts.labels == () and "all are read" in row_of(modality, "animations").value


def test_a_stack_of_16_bits_has_one_range(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    pages = [Pillow.fromarray(np.full((16, 16), 1000 * i + 95, dtype=np.uint16)) for i in range(5)]
    (root / "a.tif").write_bytes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    modality, facts, _ = opened(root, tmp_path / "cache", frames="all")
    assert facts.extra["levels of integers"] == (0, 4095) and facts.count == 5
    assert sorted(everything(modality).raw[:, 0, 0, 0].tolist()) == [6, 68, 130, 193, 255]


def test_a_damaged_page_costs_only_itself(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    content = encoded(noise(32, 32), "GIF", save_all=True, append_images=[noise(32, 32, seed=i) for i in (1, 2, 3)])
    (root / "a.gif").write_bytes(content[: int(len(content) * 0.6)])
    modality, facts, _ = opened(root, tmp_path / "cache", frames="all")
    assert 1 <= facts.count <= 3
    assert torch.equal(everything(modality).raw[0], everything(opened(root, tmp_path / "cache")[0]).raw[0])


def test_photographs_of_telephones_have_one_picture(tmp_path: Path) -> None:
    content = encoded(noise(40, 40), "MPO", save_all=True, append_images=[noise(10, 10)])
    (tmp_path / "a.jpg").write_bytes(content)
    with (tmp_path / "a.jpg").open("rb") as stream:
        assert decode.look(stream).frames == 1
    assert pixels_of(tmp_path / "a.jpg", 40).shape == (3, 40, 40)


def test_a_tiff_of_a_kind_that_is_not_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + bytes(40))
    with path.open("rb") as stream, pytest.raises(arrays.Unreadable, match="a TIFF of a kind that is not read"):
        decode.look(stream)
