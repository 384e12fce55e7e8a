"""Time the first start: `python benchmarks/reading.py image --count 5000`.

A folder is made in a temporary place, and `Modality.load` reads it twice: into an empty cache, and from it. The time of
making the folder does not count. One function for each modality makes its files; `MAKERS` names them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from toolkit.data import understood
from toolkit.discovery import find


def image(folder: Path, count: int) -> None:
    """Patches of colour with some noise, 100 x 100 pixels, in two folders, half of them JPEG and half PNG."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for i in range(count):
        place = folder / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        patches = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((100, 100))
        noisy = np.asarray(patches) + draw.normal(0, 4, (100, 100, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(place / f"{i:06d}.{'jpg' if i % 4 < 2 else 'png'}")


MAKERS: dict[str, Callable[[Path, int], None]] = {"image": image}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modality", choices=MAKERS)
    parser.add_argument("--count", type=int, default=5000, help="examples to make")
    parser.add_argument("--block", action="store_true", help="print what was understood")
    options = parser.parse_args()
    kind = find(options.modality)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        MAKERS[options.modality](data, options.count)
        for name in ("first start", "second start"):
            modality = kind(kind.Data(source=str(data)), kind.Model())
            start, work = time.perf_counter(), time.process_time()
            facts = modality.open(Path(place) / "cache", print)
            wall, work = time.perf_counter() - start, time.process_time() - work
            print(f"{name}: {wall:.2f} s, {work:.2f} s of processor time, {facts.count:,} examples to train on")
        if options.block and modality.splits is not None:
            for row in understood.table(modality.splits.understood):
                print(f"  {row[0]}: {row[1]}")


if __name__ == "__main__":
    main()
