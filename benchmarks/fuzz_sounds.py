"""Break sound files in every way a header can be broken, and see whether the decoder survives.

python benchmarks/fuzz_sounds.py --files 20000 [--only WAV:GSM610] [--seed 1]

Each format and codec that may reach libsndfile is decoded in a process of its own, half of the files as the reader does
it, after its own checks of the header, and half by libsndfile alone. A process that ends by a signal is a crash; its
file is kept. glibc's checks of the heap are on where they are installed, so that silent corruption ends a process too.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

KINDS = (
    *(f"WAV:{subtype}" for subtype in ("PCM_16", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(f"AIFF:{subtype}" for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")),
    *(f"CAF:{subtype}" for subtype in ("PCM_16", "ULAW", "ALAC_16", "ALAC_24")),
    *(f"AU:{subtype}" for subtype in ("PCM_16", "ULAW", "FLOAT")),
    *("RF64:PCM_16", "W64:PCM_16", "W64:IMA_ADPCM", "FLAC:PCM_16", "OGG:VORBIS", "OGG:OPUS", "MP3:MPEG_LAYER_III"),
)
HEAP_CHECKS = Path("/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")
MOST_FRAMES = 200_000
WORDS = (0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)


def originals(kind: str) -> list[bytes]:
    container, subtype = kind.split(":")
    rate = 48_000 if subtype == "OPUS" else 8_000 if subtype == "GSM610" else 16_000
    files = []
    for channels in (1, 2) if subtype != "GSM610" else (1,):
        wave = np.stack([0.5 * np.sin(0.05 * (c + 1) * np.arange(3000)) for c in range(channels)], axis=1)
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, rate, format=container, subtype=subtype)
        files.append(buffer.getvalue())
    return files


def broken(original: bytes, rng: np.random.Generator) -> bytes:
    """A file with one to six bytes, words or stretches changed, mostly in its first 120 bytes."""
    data = bytearray(original)
    for _ in range(1 + rng.integers(6)):
        at = int(rng.integers(len(data) if rng.random() < 0.3 else min(len(data), 120)))
        way = rng.integers(6)
        if way == 0:
            data[at] = rng.integers(256)
        elif way == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif way == 2:
            data[at] = (0, 1, 2, 3, 0x7F, 0x80, 0xFF)[rng.integers(7)]
        elif way == 3:
            word = (*WORDS, len(data), 2 * len(data))[rng.integers(8)]
            data[at : at + 4] = word.to_bytes(4, "little" if rng.random() < 0.5 else "big")
        elif way == 4:
            del data[max(20, int(rng.integers(len(data)))) :]
        else:
            start, length = int(rng.integers(len(data))), int(rng.integers(64))
            data[at:at] = data[start : start + length]
    return bytes(data)


def by_reader(content: bytes, path: Path) -> None:
    from modalities.audio.data import decode

    path.write_bytes(content)
    frames = 0
    for block in decode.begin(path)[1]:
        frames += len(block)
        if frames > MOST_FRAMES:
            break


def by_decoder(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with soundfile.SoundFile(io.BytesIO(content)) as sound:
        if sound.channels > 64:
            return
        sound._info.seekable = 0
        frames = 0
        while len(block := sound.read(4096, dtype="float32", always_2d=True)) and frames < MOST_FRAMES:
            frames += len(block)


def work(kind: str, count: int, seed: int, path: Path) -> None:
    rng, files = np.random.default_rng(seed), originals(kind)
    read = slowest = 0.0
    for number in range(count):
        content = broken(files[rng.integers(len(files))], rng)
        start = time.perf_counter()
        try:
            (by_reader if number % 2 else by_decoder)(content, path)
            read += 1
        except Exception:  # a refusal is what a broken file is for
            pass
        slowest = max(slowest, time.perf_counter() - start)
    print(
        f"{kind:20} {count:,} files, {read:,.0f} read, {count - read:,.0f} refused, slowest {slowest:.2f} s", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--only", nargs="*", default=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.only[0], options.files, options.seed, Path(options.work))
        return
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    if HEAP_CHECKS.exists():
        environment["LD_PRELOAD"] = str(HEAP_CHECKS)
    crashes = 0
    for kind in options.only:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "broken"
            command = [sys.executable, __file__, "--files", str(options.files), "--seed", str(options.seed)]
            done = subprocess.run(
                [*command, "--work", str(path), "--only", kind], env=environment, stderr=subprocess.PIPE
            )
            if done.returncode:
                crashes += 1
                kept = Path(f"crash-{kind.replace(':', '-')}")
                kept.write_bytes(path.read_bytes() if path.exists() else b"")
                print(
                    f"{kind:20} CRASHED, {done.returncode}: {done.stderr[-200:].decode(errors='replace')}; see {kept}"
                )
    print(f"{crashes} crashes of {len(options.only)} codecs, libsndfile {soundfile.__libsndfile_version__}")


if __name__ == "__main__":
    main()
