"""Time the first start on a large text: `python benchmarks/reading_text.py --megabytes 100`.

Lines of a bundled play, shuffled with a fixed seed, as running text, as items, as a table of pairs and as JSON Lines.
Each is read twice: into an empty cache, and from it. The time of making the files does not count.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modalities.text import Text
from modalities.text.options import Data, Model
from toolkit import paths

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "running text": ("text.txt", {}),
    "items, one in a line": ("text.txt", {"items": "line"}),
    "pairs of a table": ("pairs.csv", {"length": 256}),
    "JSON Lines": ("rows.jsonl", {}),
    "running text, bpe:2000": ("text.txt", {"tokens": "bpe:2000"}),
}


def lines(megabytes: int) -> Iterator[str]:
    """Yield lines of a play that have text, shuffled, until they come to so many megabytes."""
    play = (paths.shipped_folder("assets") / "shakespeare" / "train.txt").read_text("utf-8")
    every = [line for line in play.split("\n") if line.strip()]
    draw, size = random.Random(0), 0
    while size < megabytes * 1_000_000:
        line = draw.choice(every)
        size += len(line) + 1
        yield line


def make(folder: Path, megabytes: int) -> None:
    with (
        (folder / "text.txt").open("w", encoding="utf-8") as text,
        (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as table,
        (folder / "rows.jsonl").open("w", encoding="utf-8") as rows,
    ):
        writer = csv.writer(table)
        writer.writerow(["src", "trg"])
        for i, line in enumerate(lines(megabytes)):
            text.write(line + "\n")
            writer.writerow([line[: len(line) // 2], line])
            rows.write(json.dumps({"text": line, "id": i}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100, help="size of the text")
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, options.megabytes)
        for kind in [options.kind] if options.kind else list(KINDS):
            name, data = KINDS[kind]
            for start in ("first", "second"):
                modality = Text(Data(source=str(folder / name), **data), Model())
                began, work = time.perf_counter(), time.process_time()
                facts = modality.open(folder / "cache", lambda line: None)
                wall, work = time.perf_counter() - began, time.process_time() - work
                most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                size = (folder / name).stat().st_size / 1e6
                took = f"{wall:.1f} s, {work:.1f} s of processor time"
                print(f"{kind}, {size:.0f} MB: {start} start {took}, {facts.count:,} examples, {most:,} MB at most")


if __name__ == "__main__":
    main()
