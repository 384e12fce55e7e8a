"""The judge learns real digits, and is trained only once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modalities.image import Image
from modalities.image import judge as module
from modalities.image.options import Data, Model
from toolkit.errors import DataError


def test_it_learns_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "STEPS", 60)
    digits = Image(Data(), Model())
    digits.open(tmp_path, lambda line: None)
    said: list[str] = []
    first = module.judge(digits, said.append)
    again = module.judge(digits, said.append)
    assert first.accuracy > 0.85  # by chance: 0.1
    assert len(said) == 1 and again.name == first.name and again.accuracy == first.accuracy
    raw = digits.dataset("test").take(torch.arange(20)).raw
    assert torch.equal(first.features(raw), again.features(raw)) and first.features(raw).shape == (20, 64)


def test_it_needs_labels(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Pillow.new("L", (16, 16), 60 * i).save(tmp_path / "pictures" / f"{i}.png")
    plain = Image(Data(source=str(tmp_path / "pictures")), Model())
    plain.open(tmp_path / "cache", lambda line: None)
    with pytest.raises(DataError, match="labels"):
        module.judge(plain)
