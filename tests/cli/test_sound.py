"""Sound as a user types it: inspect a folder, train on it, sample it, and resynthesise a file, in real processes."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import Command

TINY = ["--preset", "tiny", "--width", "8", "--set", "train.previews=0", "--set", "sample.steps=2", "--batch", "4"]


@pytest.fixture
def hits(tmp_path: Path) -> Path:
    """Two labels of short clicks in three formats and rates, and two files that are none."""
    folder = tmp_path / "my hits"
    rng = np.random.default_rng(0)
    for label in ("clap", "hat"):
        (folder / label).mkdir(parents=True)
        for i, (ending, rate) in enumerate([("wav", 8000), ("flac", 16000), ("ogg", 22050)] * 2):
            decay = np.exp(-np.arange(rate // 5) / (0.02 * rate))
            soundfile.write(folder / label / f"{i}.{ending}", 0.5 * rng.standard_normal(rate // 5) * decay, rate)
    (folder / "clap" / "notes.wav").write_text("not a sound")
    (folder / "hat" / "empty.flac").write_bytes(b"")
    return folder


class Sounds(html.parser.HTMLParser):
    """Counts the players of a page, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.players, self.fetched = 0, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.players += tag == "audio"
        self.fetched += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]


def players(page: Path) -> int:
    found = Sounds()
    found.feed(page.read_text("utf-8"))
    assert found.fetched == []
    return found.players


def test_a_folder_from_inspection_to_sounds(toolkit_command: Command, hits: Path, tmp_path: Path) -> None:
    looked = toolkit_command("data", "inspect", str(hits), "--no-estimate")
    assert looked.returncode == 0, looked.stderr
    assert "notes.wav" in looked.stdout and "empty.flac" in looked.stdout
    assert "toolkit train --modality audio --data" in " ".join(looked.stdout.split())

    trained = toolkit_command(
        "train", "--modality", "audio", "--data", str(hits), "--rate", "8000", "--steps", "2", "--out", "run", *TINY
    )
    assert trained.returncode == 0, trained.stderr
    for said in ("receptive field", "multiply-adds", "parameters", "! left out", "page: run/previews/final.html"):
        assert said in trained.stdout
    # a few made ones, of so short a run, and real ones of both labels
    assert players(tmp_path / "run" / "previews" / "final.html") == 4 + 11

    sampled = toolkit_command("sample", "run", "-n", "3", "--label", "hat", "--seconds", "0.1", "--format", "flac")
    assert sampled.returncode == 0, sampled.stderr
    assert "times real time" in sampled.stdout
    folder = next((tmp_path / "run" / "samples").iterdir())
    assert sorted(p.name for p in folder.iterdir()) == [
        ".samples.json", "0-hat.flac", "1-hat.flac", "2-hat.flac", "grid.png", "index.html",
    ]  # fmt: skip
    samples, rate = soundfile.read(folder / "1-hat.flac")
    assert rate == 8000 and len(samples) == 800 and np.abs(samples).max() < 1
    assert players(folder / "index.html") == 3


def test_a_vocoder_makes_a_file_again(toolkit_command: Command, hits: Path, tmp_path: Path) -> None:
    trained = toolkit_command(
        "train", "--modality", "audio", "--data", str(hits), "--condition", "mel", "--steps", "1", "--out", "run", *TINY
    )
    assert trained.returncode == 0, trained.stderr
    soundfile.write(tmp_path / "tone.wav", 0.2 * np.sin(np.arange(9000) / 9), 22050)
    again = toolkit_command("sample", "run", "--mel", "tone.wav", "--out", "again")
    assert again.returncode == 0, again.stderr
    (made,) = (tmp_path / "again").glob("*.wav")
    source, info = soundfile.info(tmp_path / "tone.wav"), soundfile.info(made)
    assert abs(info.frames / info.samplerate - source.frames / source.samplerate) < 1 / 1000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "--modality", "audio", "--rte", "8000"], 2, "unknown option '--rte'; did you mean '--rate'?"),
        (["train", "--modality", "audio", "--rate", "8"], 2, "data.rate"),
        (["train", "--modality", "audio", "--data", "./nowhere"], 66, "no such folder"),
        (["train", "--modality", "audio", "--set", "diffusion.schedule=linear-beta", "--set", "diffusion.schedule.T=50",
          "--set", "diffusion.schedule.rescale=false"], 2, "sounds alike"),
        (["data", "inspect", "nowhere"], 66, "no such folder or file: nowhere"),
        (["sample", "nowhere", "--seconds", "1"], 2, "does not exist"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(toolkit_command: Command, arguments: list[str], code: int, said: str) -> None:
    done = toolkit_command(*arguments)
    assert done.returncode == code and said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_an_empty_folder_and_one_without_sounds(toolkit_command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    for folder in ("empty", "texts"):
        for command in (
            ["data", "inspect", folder, "--modality", "audio"],
            ["train", "--modality", "audio", "--data", folder],
        ):
            done = toolkit_command(*command)
            assert done.returncode == 66 and len(done.stderr.splitlines()) == 1 and "no sound" in done.stderr
