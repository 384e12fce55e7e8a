"""Measure how long a folder of sounds takes to read: the first start, which decodes, and the second, from the cache.

python benchmarks/reading_audio.py [--files 2000] [--seconds 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from modalities.audio.data import dataset
from modalities.audio.options import Data

KINDS = (("wav", 44_100), ("wav", 48_000), ("flac", 44_100), ("ogg", 22_050), ("mp3", 44_100), ("aiff", 16_000),
         ("wav", 96_000), ("wav", 8_000))  # fmt: skip


def make(folder: Path, files: int, seconds: float) -> None:
    """Write decaying noise of `seconds` in each kind by turns, under four labels."""
    rng = np.random.default_rng(0)
    for i in range(files):
        ending, rate = KINDS[i % len(KINDS)]
        frames = round(seconds * rate)
        wave = 0.3 * rng.standard_normal(frames) * np.exp(-3 * np.arange(frames) / frames)
        label = folder / "abcd"[i % 4]
        label.mkdir(exist_ok=True)
        soundfile.write(label / f"{i}.{ending}", np.clip(wave, -1, 1), rate)


def reading(folder: Path, cache: Path) -> tuple[float, float]:
    """Return seconds of the first and of the second start."""
    options, times = Data(source=str(folder)), []
    for _ in range(2):
        start = time.perf_counter()
        dataset.read(options, cache, lambda _: None)
        times.append(time.perf_counter() - start)
    return times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "sounds"
        folder.mkdir()
        make(folder, options.files, options.seconds)
        first, second = reading(folder, Path(place) / "cache")
    print(f"{options.files:,} files of {options.seconds:g} s: {first:.1f} s to decode, {second:.2f} s from the cache")


if __name__ == "__main__":
    main()
