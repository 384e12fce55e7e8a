"""The clips of a file: they cover it, they lie in one split, or only the beginning is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modalities.audio.data import cache
from tests.modalities.audio.corpus import RATE, noise, opened, save, sine

AS_IT_IS = {"loudness": "none", "trim": 0.0}


@pytest.mark.parametrize("length", [256, 512, 2048])
def test_clips_cover_a_file(length: int) -> None:
    for frames in (1, 2, length // 2, length - 1, length, length + 1, 3 * length // 2, 2 * length + 7, 9 * length - 1):
        parts = cache.windows(frames, length)
        starts = [start for start, _ in parts]
        assert starts == [i * length // 2 for i in range(len(parts))]
        covered = np.zeros(frames, int)
        for start, size in parts:
            covered[start : start + size] += 1
            assert size == min(length, frames - start)
        assert covered.min() == 1 and covered.max() <= 2
        assert all(size == length for _, size in parts[:-1])
        assert len(parts) == 1 or parts[-1][1] > length // 2


@pytest.mark.parametrize(
    ("name", "auto"), [("steady", 2), ("long", 19), ("hit", 1), ("cymbal", 1), ("slow", 9), ("two hits", 9)]
)
def test_sounds_that_die_away_give_their_beginning(name: str, auto: int, tmp_path: Path) -> None:
    """A steady sound a bit longer than a clip has 80 % in the first one too, and it does not die away."""
    t = np.arange(5120) / RATE
    sounds = {
        "steady": sine(300, 0.15),
        "long": sine(300, 1.28),
        "hit": np.exp(-40 * t[:1300]) * sine(300, 1300 / RATE),
        "cymbal": np.exp(-12 * t) * sine(3000, 0.64),
        "slow": np.exp(-2 * t) * sine(300, 0.64),
        "two hits": np.exp(-12 * (t % 0.32)) * sine(300, 0.64),
    }
    save(tmp_path / "set" / "a.wav", sounds[name])
    given = {
        clips: len(opened(tmp_path / "set", tmp_path / "cache", seconds=0.128, trim=0, clips=clips)[0].clips)
        for clips in ("auto", "all", "first")
    }
    frames = len(sounds[name])
    assert given == {"auto": auto, "all": len(cache.windows(frames, 1024)), "first": 1}


def test_long_files_become_clips_of_one_split(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / "set" / f"{i}.wav", noise(5000 + i, seed=i))
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache", seconds=0.1, **AS_IT_IS)
    assert corpus.length == 1024 and corpus.files == 30
    ends = np.cumsum([0, *[5000 + i for i in sorted(range(30), key=lambda i: f"{i}.wav")]])
    file = np.searchsorted(ends, corpus.clips[:, 0], side="right") - 1
    assert (corpus.clips.sum(axis=1) <= ends[file + 1]).all()
    sides = [set(corpus.test[file == i]) for i in range(30)]
    assert all(len(side) == 1 for side in sides) and {True, False} == set().union(*sides)
    assert np.bincount(file).tolist() == [len(cache.windows(n, 1024)) for n in np.diff(ends)]
