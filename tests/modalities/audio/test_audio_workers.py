"""Decoders in processes of their own: what a crash costs, what reaches the terminal, and how they end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modalities.audio import codec
from modalities.audio.data import decode, reader
from tests.conftest import ROOT, run_python
from tests.modalities.audio.corpus import bad_sounds, encoded, good_sounds, noise, opened, save, sine, write_all
from toolkit.data import workers
from toolkit.errors import DataError

FAULTY = "tests.modalities.audio.faulty"
LIMIT = 120_000
"""Milliseconds after which a test fails that would wait for ever."""

READ = """
import contextlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
from pathlib import Path
from modalities.audio.data import dataset, reader
from modalities.audio.options import Data
from toolkit.training.storage.signals import Signals
reader.MODULE, reader.still_seconds = "tests.modalities.audio.faulty", lambda size: 1e6
with Signals() if "wish" in sys.argv else contextlib.nullcontext() as signals:
    corpus = dataset.read(Data(source=sys.argv[1]), Path(sys.argv[2]), lambda line: None)
    print(corpus.files, corpus.rejected, signals and signals.stop, flush=True)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(20):
        save(tmp_path / "set" / f"{i}.wav", noise(700 + i, seed=i))
    return tmp_path / "set"


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MODULE", FAULTY)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("few", [256, 0])
def test_a_crash_costs_its_file_alone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(reader, "_FEW", few)  # of few files one process reads all
    without, _ = opened(root, tmp_path / "a")
    for name in ("SIGSEGV", "SIGABRT", "SIGKILL", "half", "nonsense", "greedy", "loud", "poison"):
        save(root / f"{name}.wav", noise(900))
    corpus, _ = opened(root, tmp_path / "b")
    assert corpus.rejected == (
        "SIGABRT.wav: its decoder crashed (SIGABRT)",
        "SIGKILL.wav: its decoder crashed (SIGKILL)",
        "SIGSEGV.wav: its decoder crashed (SIGSEGV)",
        *(("greedy.wav: its decoder crashed",) if sys.platform.startswith("linux") else ()),
        "half.wav: its decoder crashed (SIGSEGV)",
        "nonsense.wav: its decoder crashed",
    )
    # and "poison", after which its process crashes at the next file, costs none
    frames = int(without.clips[:, 1].sum())
    assert np.array_equal(corpus.audio[:frames], without.audio)
    assert np.array_equal(corpus.clips[: len(without.clips)], without.clips)
    assert corpus.clips[len(without.clips) :, 1].tolist() == [900, 900]


@pytest.mark.usefixtures("faulty")
def test_what_stands_still_is_ended(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without, _ = opened(root, tmp_path / "a")
    size = save(root / "hang.wav", noise(2000)).stat().st_size
    monkeypatch.setattr(reader, "still_seconds", lambda of: 0.0 if of == size else 1e6)
    corpus, _ = opened(root, tmp_path / "b")
    assert corpus.rejected == ("hang.wav: its decoder stood still for 0 s",)
    assert corpus.identity == without.identity


def test_the_longest_wait_follows_the_size() -> None:
    assert reader.still_seconds(0) == 60 and reader.still_seconds(10**8) == 1060


def test_a_single_sound_goes_the_same_way(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(root, good_sounds())
    for name, rate, channels in (
        ("streamed.wav", 8_000, 1),
        ("channels/6.wav", 44_100, 2),
        ("kinds/opus.opus", 8_000, 1),
    ):
        assert np.array_equal(
            codec.read(root / name, rate, channels).numpy(), decode.read(root / name, rate, channels).T
        )
    (root / "text.wav").write_bytes(bad_sounds()["text.wav"][0])
    for path in (root / "text.wav", root / "gone.wav"):
        with pytest.raises(DataError) as here:
            decode.read(path, 8_000, 1)
        with pytest.raises(DataError) as there:
            reader.read(path, 8_000, 1)
        assert str(there.value) == str(here.value)
    monkeypatch.setattr(reader, "MODULE", FAULTY)
    path = save(root / "SIGSEGV.wav", noise(900))
    with pytest.raises(DataError, match=r"SIGSEGV\.wav cannot be read: its decoder crashed \(SIGSEGV\)$"):
        codec.read(path, 8_000, 1)


def test_warnings_of_codecs_reach_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(encoded(sine(440, 1.0, 16_000), 16_000, "MP3", "MPEG_LAYER_III"))
    rng = np.random.default_rng(0)
    for at in rng.integers(300, len(damaged), 60):
        damaged[at] ^= 1 << int(rng.integers(8))
    write_all(tmp_path / "set", {"a.mp3": bytes(damaged)})
    assert sum(map(len, decode.blocks(tmp_path / "set" / "a.mp3"))) == 16_000
    assert "libmpg123" in capfd.readouterr().err  # as it is where it is read here
    corpus, _ = opened(tmp_path / "set", tmp_path / "cache")
    codec.read(tmp_path / "set" / "a.mp3", 8_000, 1)
    assert corpus.files == 1 and capfd.readouterr() == ("", "")


def test_what_a_process_prints_reaches_nobody(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reader, "MODULE", FAULTY)
    save(root / "loud.wav", noise(900))
    corpus, _ = opened(root, tmp_path / "cache")
    assert corpus.files == 21 and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("way", ["no process", "no module", "frozen", "no poll"])
def test_where_no_process_can_be_started_threads_do_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    write_all(root / "odd", {name: content for name, (content, _) in bad_sounds().items()})
    apart, _ = opened(root, tmp_path / "a")

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    if way == "no process":
        monkeypatch.setattr(workers.subprocess, "Popen", refuse)
    elif way == "no module":
        monkeypatch.setattr(reader, "MODULE", "modalities.audio.data.no_such_module")
    elif way == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.delattr(select, "poll")
    capfd.readouterr()
    here, said = opened(root, tmp_path / "b")
    assert (here.identity, here.rejected, here.understood) == (apart.identity, apart.rejected, apart.understood)
    assert len(here.rejected) == len(bad_sounds()) and said == [] and capfd.readouterr() == ("", "")


def test_a_process_loads_little() -> None:
    code = """
import sys
from toolkit.data.worker import enter
enter("modalities.audio.data.worker")
import modalities.audio.data.worker
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    loaded = run_python("-c", code, cwd=ROOT).stdout.split()
    assert {"numpy", "soundfile", "soxr"} <= set(loaded)
    assert not {"torch", "torchaudio", "librosa", "scipy", "pydantic", "rich", "matplotlib", "pickle5"} & set(loaded)


def wait(fifo: int) -> bytes:
    """Return what is written into a pipe next; empty when nobody has it open any more."""
    poll = select.poll()
    poll.register(fifo, select.POLLIN)
    assert poll.poll(LIMIT), "nothing came"
    return os.read(fifo, 1000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    """While a decoder hangs, and others are idle: each holds a pipe open, which is at its end when they are gone."""
    save(root / "hang.wav", noise(900))
    save(root / "large.wav", noise(3 << 20))  # enough for two processes
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FAULTY_FIFO": str(tmp_path / "fifo")}
    running = subprocess.Popen(
        [sys.executable, "-c", READ, str(root), str(tmp_path / "cache")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert wait(fifo) == b"hanging\n"
        running.send_signal(number)
        assert running.wait(LIMIT / 1000) == -number
        assert wait(fifo) == b""
    finally:
        running.kill()
        os.close(fifo)
    if number == signal.SIGINT:  # which Python cleans up after
        assert [*(tmp_path / "cache").rglob("*.*")] == []


def test_a_control_c_that_is_a_wish_costs_no_file(root: Path, tmp_path: Path) -> None:
    """A terminal sends it to all processes of its group: those that decode go on, for their parent does."""
    save(root / "control c.wav", noise(900))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", READ, str(root), str(tmp_path / "cache"), "wish"],
        env=environment, capture_output=True, text=True, start_new_session=True, timeout=300,
    )  # fmt: skip
    assert ran.stdout == f"21 () {int(signal.SIGINT)}\n", ran.stderr
