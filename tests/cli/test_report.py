"""`toolkit report` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Command, run_python
from tests.report.runs import Seen, make_run

POINTS = str(ROOT / "tests" / "points.py")


def test_a_run_of_a_modality_from_a_file(toolkit_command: Command, tmp_path: Path) -> None:
    done = toolkit_command("train", "--modality", POINTS, "--steps", "20")
    assert done.returncode == 0, done.stderr
    told = toolkit_command("report", "runs/points", "--license", "mit")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == ["page: runs/points/report.html", "card: runs/points/README.md"]
    seen = Seen((tmp_path / "runs" / "points" / "report.html").read_text(encoding="utf-8"))
    assert seen.dangers() == [] and "trained from scratch on 4,000 points examples with 2 labels" in seen.text
    assert len(seen.all("img")) == 4 and f"--modality {POINTS}" in seen.text
    assert (tmp_path / "runs" / "points" / "README.md").read_text(encoding="utf-8").startswith('---\nlicense: "mit"\n')


def test_what_is_no_run(toolkit_command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = toolkit_command("report", "empty")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: empty is no run folder (recipe.toml is missing); `toolkit train` makes one\n"


def test_a_folder_that_is_in_the_way_stays(toolkit_command: Command, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", whole=False)
    (run / "report.html").mkdir()
    done = toolkit_command("report", "run")
    assert done.returncode == 0 and (run / "report.html").is_dir(), done.stderr
    assert done.stdout.splitlines() == [
        "run/report.html is not as this command wrote it and stays; the page is in report-2.html",
        "page: run/report-2.html",
        "card: run/README.md",
    ]


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    run = make_run(tmp_path / "run", whole=False)
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "from toolkit.cli import main; main(['report', 'run'])"
    )
    done = run_python("-c", script, cwd=tmp_path)
    assert done.returncode == 74 and len(done.stderr.splitlines()) == 1 and "report.html" in done.stderr
    assert {path.name for path in run.iterdir()} == {"recipe.toml", "facts.json", "previews"}
