"""A stranger's run cannot choose what is overwritten: nothing is written through a link that is inside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.audio import options as audio
from modalities.audio.modality import Audio
from modalities.image import options as image
from modalities.image.modality import Image
from modalities.text import options as text
from modalities.text.data.tokens import learn
from modalities.text.modality import Text
from tests.cli.test_commands import one_error
from tests.conftest import Command
from tests.run.points_run import POINTS, finished, plan, quiet
from toolkit.data.dataset import Facts
from toolkit.errors import UsageError
from toolkit.evaluation.evaluate import place
from toolkit.modality import Modality
from toolkit.report import report
from toolkit.run import sample_folder
from toolkit.run.generator import load
from toolkit.run.layout import refuse_links
from toolkit.run.samples import Samples

FOLDERS = ("samples", "previews", "evaluation", "checkpoints")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links") / "run"
    finished(folder)
    return folder


@pytest.fixture
def evil(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, as a stranger may have changed it."""
    return Path(shutil.copytree(run, tmp_path / "evil"))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("original")
    return path


def tensors(modality: str) -> tuple[Modality, torch.Tensor]:
    """A modality with two examples in model space."""
    if modality == "image":
        facts = Facts(shape=(1, 8, 8), mean=0.0, std=1.0, count=2)
        return Image(image.Data(), image.Model(), facts), torch.zeros(2, 1, 8, 8)
    if modality == "audio":
        extra = {"rate": 8000, "channels": 1}
        sounds = Facts(shape=(1, 2048), std=1.0, count=2, extra=extra)
        return Audio(audio.Data(), audio.Model(), sounds), torch.ones(2, 1, 2048) / 8
    vocabulary = learn("char", np.bincount([ord(letter) for letter in "evil"]), [])
    extra = {"vocabulary": vocabulary.to_text(), "items": False, "paired": False, "lengths": ()}
    rows = torch.from_numpy(vocabulary.encode("evil")).long().expand(2, 4)
    return Text(text.Data(), text.Model(), Facts(shape=(4,), count=2, extra=extra)), rows


@pytest.mark.parametrize(("modality", "name"), [("image", "0.png"), ("audio", "0.wav"), ("text", "0.txt")])
def test_samples_replace_a_link_and_leave_what_it_names(tmp_path: Path, victim: Path, modality: str, name: str) -> None:
    kind, x = tensors(modality)
    folder = tmp_path / "samples"
    folder.mkdir()
    planted = [name, f"{name}.part", "grid.png", ".grid.png"]
    for link in planted:
        (folder / link).symlink_to(victim)
    written = Samples(x, (), kind, 0, kind.SampleOptions()).save(folder)
    assert {path.name for path in written} >= {name, "grid.png"}
    assert victim.read_text() == "original" and not victim.is_symlink()
    assert not any(path.is_symlink() for path in written) and all(path.stat().st_size >= 4 for path in written)


def test_the_folder_that_a_command_would_take_is_passed_over_when_it_holds_a_link(
    evil: Path, victim: Path, toolkit_command: Command
) -> None:
    """The attack itself: the name of the folder follows from the options, and so does the record in it."""
    first = toolkit_command("sample", str(evil), "-n", "2", "--modality", POINTS)
    assert first.returncode == 0, first.stderr
    (made,) = (evil / "samples").iterdir()
    for path in made.iterdir():
        if path.name != sample_folder.RECORD:
            path.unlink()
            path.symlink_to(victim)
    again = toolkit_command("sample", str(evil), "-n", "2", "--modality", POINTS)
    assert again.returncode == 0 and victim.read_text() == "original"
    assert sorted(path.name for path in (evil / "samples").iterdir()) == [made.name, f"{made.name}-2"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_a_link_is_refused_before_anything_is_written(
    evil: Path, tmp_path: Path, name: str, toolkit_command: Command
) -> None:
    outside = tmp_path / "outside"
    if (evil / name).exists():
        (evil / name).rename(outside)
    else:
        outside.mkdir()
    (evil / name).symlink_to(outside)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "evil"}
    error = one_error(toolkit_command("sample", str(evil), "-n", "2", "--modality", POINTS), 2)
    assert f"{evil / name} is a link" in error
    with pytest.raises(UsageError, match=f"{name} is a link"):
        plan(evil, train__steps=30)
    generator = load(evil, modality=POINTS, notify=quiet)  # what only reads may
    with pytest.raises(UsageError, match=f"{name} is a link"):
        place(generator, "")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "evil"} == before


def test_a_link_on_the_way_is_refused_and_one_above_the_run_is_not(run: Path, tmp_path: Path) -> None:
    top = tmp_path / "run"
    (top / "samples").mkdir(parents=True)
    (top / "samples" / "seed-0").symlink_to(tmp_path)
    refuse_links(top)
    refuse_links(top, tmp_path / "elsewhere", top / "samples" / "seed-1")
    with pytest.raises(UsageError, match="seed-0 is a link"):
        refuse_links(top, top / "samples" / "seed-0" / "deeper")
    (tmp_path / "latest").symlink_to(top)  # the user's own
    refuse_links(tmp_path / "latest", tmp_path / "latest" / "samples" / "seed-1")


def test_pictures_and_texts_of_a_run_replace_links(evil: Path, victim: Path) -> None:
    for name in ("final.png", "noise-to-sample.png", "noise-to-sample.gif", ".final.png", ".noise-to-sample.gif"):
        (evil / "previews" / name).unlink(missing_ok=True)
        (evil / "previews" / name).symlink_to(victim.parent / "absent")  # so that it is drawn
    for name in ("metrics.jsonl", "machine.json", "data.json", "facts.json", "recipe.toml"):
        (evil / name).unlink()
        (evil / name).symlink_to(victim)
    finished(evil)
    report(evil, notify=quiet)
    assert victim.read_text() == "original" and not (victim.parent / "absent").exists()
    for name in ("previews/final.png", "previews/noise-to-sample.gif", "machine.json", "facts.json", "recipe.toml"):
        assert not (evil / name).is_symlink() and (evil / name).stat().st_size > 0, name
