"""`toolkit listen` as a user types it, in real processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.test_commands import one_error
from tests.cli.test_run import POINTS, start
from tests.conftest import Command

FAST = ["--set", "train.previews=0", "--set", "sample.steps=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of points."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("a", "b"):
        running = start(folder, "train", "--modality", POINTS, "--steps", "20", "--out", f"runs/{name}", *FAST)
        assert running.wait(200) == 0
    return folder


def test_pages_of_one_run_and_of_two(trained: Path, toolkit_command: Command, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    alone = toolkit_command("listen", "runs/a", "--modality", POINTS, "-n", "3")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines()[-1] == "page: runs/a/listening/real.html"
    text = (tmp_path / "runs/a/listening/real.html").read_text()
    assert text.count("<figure") == 6 and text.count('<figure data-side="real">') == 3 and "which one is real?" in text
    both = toolkit_command("listen", "runs/a", "runs/b", "--modality", POINTS, "-n", "2", "--no-real", "--step", "20")
    assert both.returncode == 0, both.stderr
    text = (tmp_path / "runs/a/listening/b.html").read_text()
    assert (
        text.count('<figure data-side="A">') == text.count('<figure data-side="B">') == 2
        and '<figure data-side="real">' not in text
    )
    assert "runs/a, step 20" in text and "runs/b, step 20" in text
    again = toolkit_command("listen", "runs/a", "runs/b", "--modality", POINTS, "-n", "2", "--out", "deep/page.html")
    assert again.returncode == 0 and (tmp_path / "deep/page.html").is_file()


def test_what_cannot_be_compared_is_one_line(trained: Path, toolkit_command: Command, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    for arguments, said in (
        (("runs/a", "--no-real"), "nothing to compare; name a second run"),
        (("runs/a", "runs/b", "runs/a"), "one or two runs, not 3"),
        (("runs/a", "--out", "runs"), "name a file that ends in .html"),
        (("runs/a", "runs/b", "--label", "nobody"), "nobody"),
    ):
        done = toolkit_command("listen", *arguments, "--modality", POINTS)
        assert said in one_error(done, 2)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (tmp_path / "runs/a/listening").symlink_to(outside)
    done = toolkit_command("listen", "runs/a", "--modality", POINTS)
    assert "link" in one_error(done, done.returncode) and done.returncode and not list(outside.iterdir())
