"""Sounds as files: exact numbers, no padding, whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from modalities.audio import codec
from modalities.audio.view import files
from tests.conftest import ROOT
from toolkit.errors import StorageError, UsageError

EVERY = torch.arange(-32768, 32768)[None]


def decoded(content: bytes, dtype: str = "int16") -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(content), dtype=dtype, always_2d=True)
    return samples.T, rate


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_every_16_bit_number_survives_and_others_are_rounded(format: str) -> None:
    for offset in (-0.49, 0.0, 0.49):
        samples, rate = decoded(files.to_bytes((EVERY + offset) / 32768, 11_025, format))
        assert rate == 11_025 and np.array_equal(samples, EVERY.numpy())


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_what_is_too_loud_is_clipped_and_not_wrapped(format: str) -> None:
    clip = torch.tensor([[1.0, -1.0, 1.1, -1.1, 1e9, -1e9, float("inf"), float("-inf"), float("nan"), 32767.6 / 32768]])
    samples, _ = decoded(files.to_bytes(clip, 8_000, format))
    high, low = 32767, -32768
    assert samples.tolist() == [[high, low, high, low, high, low, high, low, 0, high]]


def test_float_is_exact_also_beyond_full_scale_and_has_no_date() -> None:
    clip = torch.randn(2, 1_000, generator=torch.Generator().manual_seed(0)) * 3
    content = files.to_bytes(clip, 44_100, "float")
    samples, rate = decoded(content, "float32")
    assert rate == 44_100 and np.array_equal(samples, clip.numpy())
    place = content.index(b"PEAK")
    assert content[place + 12 : place + 16] == bytes(4)
    assert soundfile.info(io.BytesIO(content)).subtype == "FLOAT"


def test_ends_by_hand() -> None:
    raw = torch.zeros(5, 2, 6)
    raw[0, 0, 2] = 0.1
    raw[1, 0, 1], raw[1, 1, 4] = -0.1, 1e-30
    raw[2, :, 5] = 1.0
    raw[4, 0, 0] = float("nan")
    assert codec.ends(raw).tolist() == [3, 5, 6, 1, 1]


@pytest.mark.parametrize(("format", "ending"), [("wav", ".wav"), ("flac", ".flac"), ("float", ".wav")])
def test_files_hold_the_clips_without_their_padding(format: str, ending: str, tmp_path: Path) -> None:
    raw = torch.zeros(3, 2, 512)
    raw[0, :, :300] = torch.rand(2, 300, generator=torch.Generator().manual_seed(1)) / 2 + 0.1
    raw[0, :, 100:200] = 0  # silence inside stays
    raw[1, 1, 511] = -0.5
    paths = files.write(raw, 16_000, tmp_path / "new" / "folder", ["a", "b", "ü.1"], format)
    assert [path.name for path in paths] == [f"a{ending}", f"b{ending}", f"ü.1{ending}"]
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == sorted(path.name for path in paths)
    for clip, path, length in zip(raw, paths, (300, 512, 1), strict=True):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == 16_000 and samples.shape == (length, 2)
        assert np.abs(samples.T - clip[:, :length].numpy()).max() <= (0 if format == "float" else 0.5 / 32768)
    assert soundfile.info(paths[0]).subtype == ("FLOAT" if format == "float" else "PCM_16")


def test_a_real_file_comes_back_as_it_was(tmp_path: Path) -> None:
    source = ROOT / "assets" / "drums" / "kick" / "bd_808.flac"
    samples, rate = soundfile.read(source, dtype="int16")
    raw = torch.from_numpy(samples)[None, None].float() / 32768
    raw = torch.nn.functional.pad(raw, (0, 4_096))
    for format in ("wav", "flac"):
        path = files.write(raw, rate, tmp_path, [format], format)[0]
        again, _ = soundfile.read(path, dtype="int16")
        assert np.array_equal(again, np.trim_zeros(samples, "b"))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"cannot write a\.wav in .*bytes free"):
        files.write(torch.ones(1, 1, 256), 8_000, tmp_path, ["a"])
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a.wav"] and (tmp_path / "a.wav").read_bytes() == b"old"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write the folder file in "):
        files.write(torch.ones(1, 1, 256), 8_000, tmp_path / "file", ["a"])
    with pytest.raises(UsageError, match="'mp3'; known: wav, flac, float"):
        files.to_bytes(torch.ones(1, 256), 8_000, "mp3")
    with pytest.raises(ValueError, match="zip"):
        files.write(torch.ones(2, 1, 256), 8_000, tmp_path, ["a"])
