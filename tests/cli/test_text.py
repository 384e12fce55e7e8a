"""Text as a user types it: inspect, train, kill, go on, sample and fill holes, in real processes."""

from __future__ import annotations

import hashlib
import signal
import unicodedata
from pathlib import Path

import pytest

from tests.cli.test_run import start
from tests.conftest import Command
from toolkit.cli import main

TINY = [
    "train", "--modality", "text", "--data", "tiny.txt", "--set", "model.preset=smoke", "--set", "model.width=16",
    "--set", "model.depth=1", "--set", "data.length=32", "--set", "sample.steps=2", "--set", "train.previews=0",
    "--set", "diffusion.time.warmup=2", "--set", "train.checkpoint_minutes=1e-9",
    "--set", "train.layout=channels-first", "--batch", "8", "--steps", "30",
]  # fmt: skip
LINES = ["<script>alert('to be')</script> or not\n", "that is the \x1b[31mquestion\x07 & more\n"]


def plain(output: str) -> bool:
    """Nothing that acts on a terminal."""
    return not any(unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t" for c in output)


def final(folder: Path) -> dict[str, str]:
    newest = folder / "runs" / "tiny.txt" / "checkpoints" / "step-00000030"
    names = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json")
    return {name: hashlib.sha256((newest / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.txt").write_text("".join(LINES) * 40, encoding="utf-8")
    running = start(folder, *TINY)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert plain(out) and "page: runs/tiny.txt/previews/final.html" in out, out
    assert "Traceback" not in err
    return folder


def test_a_run_shows_texts_that_do_nothing(trained: Path) -> None:
    page = (trained / "runs" / "tiny.txt" / "previews" / "final.html").read_text("utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page  # real texts are on it too
    assert "src=" not in page and "href=" not in page and "default-src 'none'" in page
    for name in ("final.png", "noise-to-sample.png", "noise-to-sample.gif", "time-distribution.png"):
        assert (trained / "runs" / "tiny.txt" / "previews" / name).stat().st_size > 500


def test_killed_and_resumed_is_uninterrupted(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text("".join(LINES) * 40, encoding="utf-8")
    running = start(tmp_path, *TINY)
    assert running.stdout is not None
    for line in running.stdout:
        if "saved step 3" in line:
            break
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    again = start(tmp_path, *TINY)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert 3 <= int(out.split("goes on from step ")[1].split(")")[0]) < 30
    assert final(tmp_path) == final(trained)


def test_holes_are_filled_and_nothing_else(trained: Path, tmp_path: Path, toolkit_command: Command) -> None:
    text = "to be or ___ that is"
    done = toolkit_command("sample", str(trained / "runs" / "tiny.txt"), "-n", "3", "--infill", text, "--out", "mine")
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout) and "characters" in done.stdout
    files = sorted((tmp_path / "mine").glob("*.txt"))
    assert [file.name for file in files] == ["0.txt", "1.txt", "2.txt"]
    for file in files:
        found = file.read_bytes().decode("utf-8")
        assert found.startswith("to be or ") and found.endswith(" that is")
    assert (tmp_path / "mine" / "index.html").is_file() and (tmp_path / "mine" / "grid.png").is_file()


def test_length_and_temperature(trained: Path, tmp_path: Path, toolkit_command: Command) -> None:
    run = str(trained / "runs" / "tiny.txt")
    done = toolkit_command("sample", run, "-n", "2", "--length", "70", "--temperature", "0.5", "--steps", "3")
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout) and "page: " in done.stdout
    (folder,) = (trained / "runs" / "tiny.txt" / "samples").iterdir()
    assert "length-70" in folder.name and "temperature-0.5" in folder.name
    assert 1 <= len((folder / "0.txt").read_text("utf-8")) <= 70


def test_a_folder_of_texts_is_inspected(tmp_path: Path, toolkit_command: Command) -> None:
    folder = tmp_path / "my texts"
    folder.mkdir()
    for i, line in enumerate(LINES):
        (folder / f"{i}.txt").write_text(line * 50, encoding="utf-8")
    (folder / "broken.txt").write_bytes(b"\x00\x01\x02\xff" * 200)
    done = toolkit_command("data", "inspect", str(folder), "--modality", "text", "--no-estimate")
    assert done.returncode == 0, done.stderr
    assert plain(done.stdout) and "broken.txt" in done.stdout
    assert "toolkit train --modality text --data" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sample", "RUN", "--infill", "no holes"], 2, "--infill: the text has no holes"),
        (["sample", "RUN", "--infill", "a_", "--length", "3"], 2, "leave --length and --source out"),
        (["sample", "RUN", "--source", "abc"], 2, "trained on two columns"),
        (["sample", "RUN", "--lenght", "3"], 2, "did you mean '--length'?"),
        (["sample", "RUN", "--length", "many"], 2, "length"),
        (["sample", "RUN", "--length", "99999"], 2, "length"),
        (["sample", "RUN", "--temperature", "0"], 2, "temperature"),
        (["sample", "RUN", "--label", "king"], 2, "without labels"),
        (["sample", "RUN", "--set", "x=1"], 2, "unknown option '--set'"),
        (["train", "--modality", "text", "--tokns", "byte"], 2, "did you mean '--tokens'?"),
        (["train", "--modality", "text", "--tokens", "words"], 2, "data.tokens"),
        (["train", "--modality", "text", "--length", "3"], 2, "data.length"),
        (["train", "--modality", "text", "--recall", "2"], 2, "model.recall"),
        (["train", "--modality", "text", "--data", "./none.txt"], 66, "none.txt"),
        (["train", "--modality", "text", "--data", "EMPTY"], 66, "empty"),
        (["data", "inspect", "none", "--modality", "text"], 66, "no such folder: none"),
    ],
)
def test_mistakes_are_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "empty.txt").write_text("")
    places = {"RUN": str(trained / "runs" / "tiny.txt"), "EMPTY": str(tmp_path / "empty.txt")}
    with pytest.raises(SystemExit) as ended:
        main([places.get(argument, argument) for argument in arguments])
    err = capsys.readouterr().err
    assert ended.value.code == code and said in err and plain(err)
    assert len(err.splitlines()) == 1 and err.startswith("error: ")
