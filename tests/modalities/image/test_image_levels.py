"""Values of more than 8 bits: which grey levels reach the network."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from modalities.image import Image
from modalities.image.data import levels
from modalities.image.data.levels import Range
from tests.modalities.image.corpus import encoded, everything, opened, png_chunk, row_of
from toolkit.errors import DataError

SIDE = 16
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
"""Shares of the range, which the first picture of each set fills."""


def write(folder: Path, values: np.ndarray, kind: str, count: int = 4) -> Path:
    """A set of pictures of the same values, with one pixel that differs."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        own = values.copy()
        own[0, i] = values.max()
        if kind == "npy":
            np.save(folder / f"{i}.npy", own)
        else:
            (folder / f"{i}.{kind}").write_bytes(encoded(Pillow.fromarray(own), {"tif": "TIFF", "png": "PNG"}[kind]))
    return folder


def wanted(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """round(255 (v - low) / (high - low)), with whole numbers only where the values are."""
    return np.floor(255 * (values.astype(np.float64) - low) / (high - low) + 0.5).clip(0, 255).astype(np.uint8)


def first(modality: Image) -> np.ndarray:
    """The picture without the pixels in which pictures differ."""
    array = everything(modality).raw[0].numpy()
    return array[:, 1:]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(
    ("kind", "dtype"), [("png", np.uint16), ("tif", np.uint16), ("tif", np.int32), ("npy", np.int64)]
)
def test_integers_fill_the_least_bits_that_hold_them(bits: int, kind: str, dtype: type, tmp_path: Path) -> None:
    top = 2**bits - 1
    values = np.rint(RAMP * (top - 1)).astype(dtype)  # the largest value itself is never reached
    modality, facts, _ = opened(write(tmp_path / "set", values, kind), tmp_path / "cache")
    assert facts.shape == (1, SIDE, SIDE) and facts.extra["levels of integers"] == (0, top)
    assert np.array_equal(first(modality)[0], wanted(values, 0, top)[1:])
    assert len(np.unique(first(modality))) > 200
    row = row_of(modality, "levels")
    assert row.data == {"kind": "integers", "found": [0, top - 1], "range": [0, top], "pictures": 4}
    assert f"0 becomes black, {top} white" in row.value and "256 levels are kept" in row.value
    assert row.change == f"--levels 0:{top - 1}" and not row.warning


@pytest.mark.parametrize("kind", ["tif", "npy"])
@pytest.mark.parametrize(
    ("scale", "shift", "low", "high"),
    [(1, 0, 0, 1), (0.3, 0.1, 0, 1), (235, 0.04, 0, 255), (60000, 3, 0, 65535), (2, -1, -1, 1), (0.5, -0.3, -1, 1)],
)
def test_fractions_have_their_usual_range(
    kind: str, scale: float, shift: float, low: float, high: float, tmp_path: Path
) -> None:
    values = (RAMP * scale + shift).astype(np.float32)
    modality, facts, _ = opened(write(tmp_path / "set", values, kind), tmp_path / "cache")
    assert facts.extra["levels of fractions"] == (low, high)
    assert np.array_equal(first(modality)[0], wanted(values, low, high)[1:])


def test_one_range_for_all_files_and_none_for_those_of_8_bits(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for i, top in enumerate((1000, 2000, 4000)):
        write(root / str(i), np.rint(RAMP * top).astype(np.uint16), "png", count=1)
    bytes_ = np.rint(RAMP * 255).astype(np.uint8)
    write(root / "bytes", bytes_, "png", count=1)
    modality, facts, _ = opened(root, tmp_path / "cache", labels="parent")
    assert facts.extra["levels of integers"] == (0, 4095)
    raw = {}
    for split in ("train", "test"):
        examples = everything(modality, split)
        raw |= {
            facts.labels[n]: picture for n, picture in zip(examples.cond["label"].tolist(), examples.raw, strict=True)
        }
    for i, top in enumerate((1000, 2000, 4000)):
        assert np.array_equal(raw[str(i)][0, 1:].numpy(), wanted(np.rint(RAMP * top), 0, 4095)[1:])
    assert np.array_equal(raw["bytes"][0, 1:].numpy(), bytes_[1:])
    assert "1 others are not touched" in row_of(modality, "levels").value


def test_the_option_says_black_and_white_and_cuts_the_rest(tmp_path: Path) -> None:
    values = np.rint(RAMP * 4000).astype(np.uint16)
    root = write(tmp_path / "set", values, "png")
    modality, facts, _ = opened(root, tmp_path / "cache", levels="1000:3051")
    assert facts.extra["levels of integers"] == (1000, 3051)
    assert np.array_equal(first(modality)[0], wanted(values, 1000, 3051)[1:])
    row = row_of(modality, "levels")
    assert "what lies outside is cut" in row.value and not row.warning
    signed = write(tmp_path / "signed", (RAMP * 3000 - 1000).astype(np.int16), "npy")
    modality = opened(signed, tmp_path / "cache", levels="-1000:2001")[0]
    assert np.array_equal(first(modality)[0], wanted((RAMP * 3000 - 1000).astype(np.int16), -1000, 2001)[1:])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((RAMP * 3000 - 1000).astype(np.int16), "from -1000 to 2000"),
        (np.rint(RAMP * 100_000).astype(np.int32), "from 0 to 100000"),
        ((RAMP * 4 - 2).astype(np.float32), "from -2 to 2"),
        ((RAMP * 1e6).astype(np.float64), "from 0 to 1000000"),
    ],
)
def test_values_of_no_usual_range_are_one_sentence_with_the_option(
    values: np.ndarray, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        opened(write(tmp_path / "set", values, "npy"), tmp_path / "cache")
    line = str(caught.value)
    assert said in line and ".npy" in line and "\n" not in line
    option = line.rpartition("--levels ")[2]
    assert opened(tmp_path / "set", tmp_path / "cache", levels=option)[1].count == 2


def png_of_16_bits(values: np.ndarray, colour: int) -> bytes:
    """A PNG of (H, W, C) uint16; colour: 2 = RGB, 4 = grey and alpha, 6 = RGB and alpha."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in [*parts, (b"IEND", b"")])


def tiff_of_16_bits(values: np.ndarray, order: str) -> bytes:
    """A TIFF of (H, W, C) uint16 without compression."""
    height, width, channels = values.shape
    tags = [(256, width), (257, height), (258, -1), (259, 1), (262, 2), (273, -2), (277, channels), (278, height)]
    tags += [(279, values.nbytes)] + ([(338, 2)] if channels == 4 else [])
    end = 8 + 2 + 12 * len(tags) + 4
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, value in tags:
        if value == -1:
            out += struct.pack(f"{order}HHII", tag, 3, channels, end)
        else:
            out += struct.pack(f"{order}HHII", tag, 4, 1, value if value != -2 else end + 2 * channels)
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    return out + struct.pack(f"{order}I", 0) + bits + values.astype(f"{order}u2").tobytes()


CONTAINERS: dict[str, tuple[int, Callable[[np.ndarray], bytes]]] = {
    "rgb.png": (3, lambda v: png_of_16_bits(v, 2)),
    "rgba.png": (4, lambda v: png_of_16_bits(v, 6)),
    "grey-alpha.png": (2, lambda v: png_of_16_bits(v, 4)),
    "little.tif": (3, lambda v: tiff_of_16_bits(v, "<")),
    "big.tif": (3, lambda v: tiff_of_16_bits(v, ">")),
    "alpha.tif": (4, lambda v: tiff_of_16_bits(v, "<")),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("top", [4095, 65535])
def test_16_bits_of_colour_keep_both_bytes(name: str, top: int, tmp_path: Path) -> None:
    channels, write_file = CONTAINERS[name]
    values = np.random.default_rng(0).integers(1, top, (20, 20, channels)).astype(np.uint16)
    values[0, 0] = top
    root = tmp_path / "set"
    root.mkdir()
    (root / name).write_bytes(write_file(values))
    modality, facts, _ = opened(root, tmp_path / "cache", channels=channels)
    assert facts.extra["levels of integers"] == (0, top) and facts.shape == (channels, 20, 20)
    got, exact = everything(modality).raw[0].permute(1, 2, 0).numpy(), wanted(values, 0, top)
    seen = exact[..., -1] > 0 if channels in (2, 4) else np.ones((20, 20), dtype=bool)
    assert np.array_equal(got[seen], exact[seen])


def test_pictures_that_are_nearly_black_beside_others_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root, np.rint(RAMP * 60_000).astype(np.uint16), "png")
    Pillow.fromarray(np.rint(RAMP * 200).astype(np.uint16)).save(root / "dark.png")
    row = row_of(opened(root, tmp_path / "cache")[0], "dark pictures")
    assert row.data == ["dark.png"] and row.warning


def test_pictures_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32)
    root = write(tmp_path / "set", values, "npy")
    for number, name in ((np.nan, "nan"), (np.inf, "inf")):
        values[3, 3] = number
        np.save(root / f"{name}.npy", values)
    facts = opened(root, tmp_path / "cache")[1]
    assert [line.split(":")[0] for line in facts.rejected] == ["inf.npy", "nan.npy"] and facts.count == 2
    assert all("not numbers" in line for line in facts.rejected)


def test_a_single_file_is_read_by_the_levels_of_its_set(tmp_path: Path) -> None:
    values = np.rint(RAMP * 4095).astype(np.uint16)
    modality, facts, _ = opened(write(tmp_path / "set", values, "tif"), tmp_path / "cache")
    again = Image(modality.data, modality.model, facts)
    dim = np.rint(RAMP * 100).astype(np.uint16)
    (tmp_path / "dim.tif").write_bytes(encoded(Pillow.fromarray(dim), "TIFF"))
    assert np.array_equal(again.read(tmp_path / "dim.tif")[0].numpy(), wanted(dim, 0, 4095))
    np.save(tmp_path / "dim.npy", dim)
    assert torch.equal(again.read(tmp_path / "dim.npy"), again.read(tmp_path / "dim.tif"))


def test_truth_values_are_black_and_white() -> None:
    assert levels.as_bytes(np.array([[True, False]]), {}).tolist() == [[255, 0]]


def test_16_bit_grey_map_of_a_stated_range(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    values = np.rint(RAMP * 65535).astype(">u2")
    (root / "a.pgm").write_bytes(f"P5 {SIDE} {SIDE} 65535\n".encode() + values.tobytes())
    modality = opened(root, tmp_path / "cache")[0]
    assert np.array_equal(everything(modality).raw[0, 0].numpy(), wanted(values, 0, 65535))


def test_the_usual_ranges() -> None:
    assert [levels.common(0, 2**bits - 1, "integers") for bits in (8, 9, 12)] == [(0, 255), (0, 1023), (0, 4095)]
    assert levels.common(0, 65536, "integers") is None and levels.common(-1, 5, "integers") is None
    assert levels.common(-1, 1, "fractions") == Range(-1, 1) and levels.common(-0.1, 1.1, "fractions") is None
