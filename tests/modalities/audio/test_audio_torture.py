"""A folder as people have them: every format, rate and layout, broken files, links, and one of twenty minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modalities.audio.data.cache import windows
from tests.conftest import CHILD_PATH
from tests.modalities.audio.corpus import RATE, bad_sounds, everything, good_sounds, noise, opened, row, wave, write_all

MEASURE = """
import json, resource, sys
from pathlib import Path
from modalities.audio.data.dataset import read
from modalities.audio.options import Data

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def go(root):
    options = Data(source=root, rate=8_000, seconds=1.0, loudness="lufs", trim=0)
    return read(options, Path(cache), lambda _: None)

small, large, cache = sys.argv[1:]
go(small)
before = peak()
corpus = go(large)
size = {"clips": len(corpus.clips), "frames": len(corpus.audio), "length": corpus.length}
lengths = corpus.understood.row("lengths").data
print(json.dumps({"grown": peak() - before, "measured": lengths["seconds"], **size}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("torture") / "Töne 音"
    write_all(root, good_sounds())
    write_all(root / "broken", {name: content for name, (content, _) in bad_sounds().items()})
    (root / "cover.jpg").write_bytes(b"\xff\xd8")
    (root / ".hidden.wav").write_bytes(b"x")
    os.symlink(root, root / "kinds" / "up")
    os.symlink(root / "gone.wav", root / "dangling.wav")
    os.symlink("itself.wav", root / "itself.wav")
    os.mkfifo(root / "pipe.wav")
    (Path(os.fsdecode(os.fsencode(root) + b"/latin-\xfc.wav"))).write_bytes(good_sounds()["streamed.wav"])
    return root


def test_what_is_readable_is_read_and_the_rest_is_listed(folder: Path, tmp_path: Path) -> None:
    corpus, said = opened(folder, tmp_path, rate=RATE, seconds=0.3, labels="none")
    expected = {f"broken/{name}": reason for name, (_, reason) in bad_sounds().items()}
    expected |= {
        "kinds/up": "a link to a folder that is read elsewhere",
        "dangling.wav": "broken link",
        "itself.wav": "Too many levels of symbolic links",
        "pipe.wav": "not a regular file",
    }
    got = dict(line.split(": ", 1) for line in corpus.rejected)
    assert got.keys() == expected.keys()
    assert all(got[name].startswith(reason) for name, reason in expected.items())
    assert all(line.isprintable() and len(line) < 250 for line in (*corpus.rejected, *said))
    assert corpus.files == len(corpus.clips) == len(good_sounds()) + 1
    # whatever its format, rate and layout, each is a quarter of a second of 440 Hz at the same level
    for clip, length in zip(everything(corpus).raw[:, 0].numpy(), everything(corpus).cond["length"].tolist()):
        assert abs(length - RATE // 4) < 60  # MP3 pads, and trimming keeps a little of it
        spectrum = np.abs(np.fft.rfft(clip[200:1800] * np.hanning(1600)))
        assert int(spectrum.argmax()) == 440 * 1600 // RATE
        assert abs(np.abs(clip).max() - 10 ** (-0.45 / 20)) < 1e-4
    assert row(corpus, "files").data == {
        "read": {".wav": 24, ".flac": 1, ".ogg": 1, ".opus": 1, ".mp3": 1, ".aiff": 1, ".caf": 1, ".au": 1, ".w64": 1},
        "passed_over": {".jpg": 1},
    }
    assert row(corpus, "left out").data == sorted(corpus.rejected)


def sparse(path: Path, rate: int, channels: int, seconds: int) -> None:
    """A WAV file of clicks, two each second, that takes little space on disk but as much as any when it is read."""
    frame, frames = 2 * channels, seconds * rate
    with path.open("wb") as file:
        file.write(wave(np.zeros((0, channels)), rate, size=frames * frame))
        begin = file.tell()
        for click in range(0, frames, rate // 2):
            file.seek(begin + click * frame)
            file.write(np.full(100 * channels, 9000, "<i2").tobytes())
        file.truncate(begin + frames * frame)


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """20 minutes in stereo and 30 s in 8 channels would take 460 and 184 MB; in a process of its own."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    sparse(small / "long.wav", 48_000, 2, 3)
    sparse(large / "long.wav", 48_000, 2, 20 * 60)
    sparse(large / "wide.wav", 192_000, 8, 30)
    (large / "lie.wav").write_bytes(wave((noise(4000) * 2**15).astype(np.int16), size=2**32 - 20))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": CHILD_PATH}
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(large), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    got = json.loads(ran.stdout.splitlines()[-1])
    frames = [4_000, 20 * 60 * 8_000, 30 * 8_000]
    assert got["measured"] == [0.5, 30, 20 * 60, 20 * 60]
    assert got["frames"] == sum(frames)
    assert got["clips"] == sum(len(windows(count, got["length"])) for count in frames)
    assert got["grown"] < 120_000, got  # kB, of which 20 MB are the cache, mapped
