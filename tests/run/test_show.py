"""A run in a notebook, and the bar of the sampler; what a terminal and a file get is in tests/cli/test_train.py."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

import toolkit
from tests.run.test_generator import made
from tests.run.test_python import POINTS, SHORT
from toolkit import console
from toolkit.run import notebook, show
from toolkit.run.events import Finished, Note, Preview, Progress, Saved


class Notebook:
    """Stand-in for IPython that keeps the pages which one output was given, one after the other."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def display(self, page: str, display_id: bool) -> Notebook:
        assert display_id
        return self

    def HTML(self, text: str) -> str:
        return text

    def update(self, page: str) -> None:
        self.pages.append(page)


@pytest.fixture
def ipython(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """This process as a notebook's."""
    screen, package = Notebook(), ModuleType("IPython")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display = ModuleType("IPython.display")
    display.display, display.HTML = screen.display, screen.HTML  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return screen


def events(folder: Path) -> list[Any]:
    Image.new("L", (8, 8)).save(folder / "step.png")
    Image.new("L", (8, 8), 255).save(folder / "final.png")
    return [
        Note("a <b> note"),
        *(Progress(step, 4, 0.5, 10.0, 4.0 - step, 1e-3) for step in (1, 2, 3)),
        Preview(folder / "step.png", ["a line"]),
        Saved(3, folder / "step-3"),
        Progress(4, 4, 0.25, 10.0, 0.0, 1e-3),
        Finished(folder, [folder / "page.html", folder / "final.png"]),
    ]


def test_a_notebook_shows_the_bar_the_lines_and_the_newest_picture(
    tmp_path: Path, ipython: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    show.show(events(tmp_path), clock=lambda: 0.0)
    note, first, preview, saved, last, finished = ipython.pages  # steps 2 and 3 came within half a second
    assert "<pre>a &lt;b&gt; note</pre>" in note and "progress" not in note
    assert '<progress value="1" max="4">' in first and "1/4 loss 0.5000" in first
    assert '<progress value="3" max="4">' in preview and "a line" in preview
    assert preview.split("base64,")[1] == saved.split("base64,")[1]
    assert '<progress value="4" max="4">' in last and "loss 0.2500" in last
    assert finished.split("base64,")[1] != saved.split("base64,")[1] and "final.png" in finished
    assert capsys.readouterr().out == ""


def test_train_is_shown_there(tmp_path: Path, ipython: Notebook) -> None:
    run = toolkit.train(**SHORT, out=tmp_path / "r")
    assert '<progress value="6" max="6">' in ipython.pages[-1] and "data:image/png;base64," in ipython.pages[-1]
    shown = run._repr_html_()
    assert "points" in shown and "labels: upper, lower" in shown and "data:image/png;base64," in shown
    loaded = toolkit.load(tmp_path / "r", modality=POINTS)
    (tmp_path / "r" / "previews" / "final.png").unlink()
    assert "data:image" not in loaded._repr_html_() and "labels: upper, lower" in loaded._repr_html_()


def test_a_listener_is_told_there_too(tmp_path: Path, ipython: Notebook) -> None:
    said: list[str] = []
    show.show(events(tmp_path), say=said.append)
    assert ipython.pages == [] and said[0] == "a <b> note"


def test_ipython_in_a_terminal_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", package)
    for shell in (None, SimpleNamespace()):
        package.get_ipython = lambda shell=shell: shell  # type: ignore[attr-defined]
        assert notebook.display() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.display() is None


def test_only_small_pictures_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert notebook.image(tmp_path / "a.png", 'a"b').startswith('<img alt="a&quot;b" src="data:image/png;base64,')
    assert notebook.image(tmp_path / "none.png", "") == notebook.image(tmp_path / "page.html", "") == ""
    monkeypatch.setattr(notebook, "MAX_BYTES", 10)
    assert notebook.image(tmp_path / "a.png", "") == ""


def test_the_sampler_has_a_bar_on_a_terminal_and_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = made(steps=3)
    expected = generator.sample(4, seed=1)
    for terminal in (True, False):
        out = io.StringIO()
        screen = Console(file=out, force_terminal=terminal, width=100)
        monkeypatch.setattr(console, "console", lambda screen=screen: screen)
        samples = console.track(generator.steps(4, seed=1), "sampling").samples
        assert samples.x.equal(expected.x)
        assert ("100%" in out.getvalue()) == terminal and bool(out.getvalue().strip()) == terminal
