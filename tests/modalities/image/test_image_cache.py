"""The cache: found again without decoding, made anew when anything changed, whole or not there."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from modalities.image.data import cache
from modalities.image.data import decode as picture
from modalities.image.data.dataset import Pictures
from tests.modalities.image.corpus import everything, flat, noise, opened
from toolkit.data import store
from toolkit.errors import StorageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(50):
        noise(20, 20, seed=i).save(folder / f"{i}.png")
    (folder / "bad.png").write_bytes(b"bad")
    return folder


def test_the_second_start_decodes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, facts, said = opened(root, tmp_path / "cache")
    assert facts.count + facts.extra["test"] == 50 and facts.shape == (3, 20, 20)

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(picture, "pictures", refuse)
    monkeypatch.setattr(picture, "look", refuse)
    second, again, said_again = opened(root, tmp_path / "cache")
    assert again == facts and said_again == said
    assert np.array_equal(everything(second).raw, everything(first).raw)
    pictures = second.dataset("train")
    assert isinstance(pictures, Pictures)
    pixels = pictures._pixels.base
    assert isinstance(pixels, np.memmap) and pixels.shape == (50, 3, 20, 20) and not pixels.flags.writeable


def test_rows_are_the_pictures(root: Path, tmp_path: Path) -> None:
    modality, _, _ = opened(root, tmp_path / "cache")
    got = {picture.tobytes() for split in ("train", "test") for picture in everything(modality, split).raw.numpy()}
    assert got == {
        np.ascontiguousarray(np.asarray(noise(20, 20, seed=i)).transpose(2, 0, 1)).tobytes() for i in range(50)
    }


def test_a_change_makes_it_anew(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    count = opened(root, store)[1].count
    keys = set(os.listdir(store / "image"))
    flat("RGB", (1, 2, 3), (20, 20)).save(root / "7.png")
    changed = opened(root, store)[0]
    assert changed.facts.count == count and len(os.listdir(store / "image")) == 2
    both = np.concatenate([everything(changed, split).raw for split in ("train", "test")])
    assert (both.reshape(50, 3, -1) == np.array([1, 2, 3])[:, None]).all(axis=(1, 2)).sum() == 1
    os.utime(root / "7.png", ns=(1, 1))
    opened(root, store)
    opened(root, store, size=24)
    opened(root, store, channels=1)
    (root / "8.png").unlink()
    assert opened(root, store)[1].extra["test"] + opened(root, store)[1].count == 49
    assert len(os.listdir(store / "image")) == 6 and keys < set(os.listdir(store / "image"))


@pytest.mark.parametrize("damage", ["pixels.npy", "labels.npy", "about.json"])
def test_a_damaged_cache_is_made_anew(damage: str, root: Path, tmp_path: Path) -> None:
    facts = opened(root, tmp_path / "cache")[1]
    (path,) = (tmp_path / "cache").rglob(damage)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert opened(root, tmp_path / "cache")[1] == facts
    assert path.read_bytes() == content


def test_a_full_disk_is_one_line_and_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # Python ignores SIGXFSZ: writing raises
    try:
        with pytest.raises(StorageError, match="set TOOLKIT_CACHE"):
            opened(root, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / "cache" / "image") == []
    usage = store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match="MB needed, 0 MB free"):
        opened(root, tmp_path / "cache")


def test_order_and_progress(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "NOTIFY_EVERY", 20)
    said = opened(root, tmp_path / "cache")[2]
    assert said == ["read 20 of 50 pictures", "read 40 of 50 pictures"]


def test_moments_are_those_of_the_training_rows() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (3000, 1, 4, 4), dtype=np.uint8)
    test = np.arange(3000) % 7 == 0
    x = pixels[~test].astype(np.float64) / 127.5 - 1
    mean, std = cache.moments(pixels, test)
    assert abs(mean - x.mean()) < 1e-12 and abs(std - x.std()) < 1e-12
