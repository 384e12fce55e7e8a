"""The report in a real browser: it shows and plays everything, complains of nothing and asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import pytest
import torch

from tests.report.browser import CHROMIUM, Browser
from tests.report.runs import make_run, picture
from toolkit.report import report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with pictures, players, curves and figures, of a run that would like to run scripts."""
    from modalities.audio.view.page import page

    evil = "<script>document.title = 'run'; fetch('http://127.0.0.1:9/')</script>"
    run = make_run(tmp_path_factory.mktemp("runs") / "drums", modality="audio", facts={"labels": ["kick", evil]})
    raw = torch.sin(torch.arange(2000) / 5).expand(4, 1, 2000).clone()
    players = page(raw, ["kick", evil] * 2, 8000)
    wanted = "<img src='http://127.0.0.1:9/a.png'><iframe src='http://127.0.0.1:9/'></iframe><style>@import 'http://a'</style>"
    (run / "previews" / "final.html").write_text(players.replace("</body>", f"{wanted}{evil}</body>"), encoding="utf-8")
    figure = {"what": "FD", "value": 2.0, "floor": 1.0, "ceiling": 9.0, "n": 4, "note": evil}
    picture(run / "evaluation" / "nearest.png")
    (run / "evaluation" / "metrics.json").write_text(json.dumps({"format": 1, "about": {}, "figures": [figure]}))
    return report(run)[0]


def test_it_loads_alone_and_in_silence(browser: Browser, sounds: Path) -> None:
    browser.open(sounds)
    assert browser.requests() == [sounds.as_uri()]
    assert browser.complaints() == []
    assert browser.value("document.title") == "drums: a diffusion model"
    sizes = browser.value("[...document.images].map(image => [image.complete, image.naturalWidth])")
    assert len(sizes) == 4 + 4 + 1 and all(complete and width > 0 for complete, width in sizes)


def test_the_players_play(browser: Browser, sounds: Path) -> None:
    browser.open(sounds)
    durations = browser.value("""Promise.all([...document.querySelectorAll("audio")].map(a => new Promise(done => {
        a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1); a.preload = "auto"; a.load(); })))""")
    assert durations == pytest.approx([0.25] * 4, abs=0.01)
    assert browser.complaints() == [] and browser.requests() == [sounds.as_uri()]


def test_the_browser_sees_a_violation(browser: Browser, tmp_path: Path, sounds: Path) -> None:
    worse = tmp_path / "worse.html"
    text = sounds.read_text(encoding="utf-8")
    worse.write_text(
        text.replace("</main>", "<script>document.title = 'run'</script><img src='http://127.0.0.1:9/a'></main>")
    )
    browser.open(worse)
    assert browser.value("document.title") == "drums: a diffusion model"  # the policy held
    assert len(browser.complaints()) >= 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 1280])
def test_it_fits_and_can_be_read(browser: Browser, sounds: Path, scheme: str, width: int) -> None:
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 800)
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(sounds)
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3


@pytest.mark.parametrize(("scheme", "filters"), [("light", "none"), ("dark", "invert(1)")])
def test_drawings_are_no_white_boxes(browser: Browser, tmp_path: Path, scheme: str, filters: str) -> None:
    """A picture of words lets the page show through, and is turned over where that is dark."""
    run = make_run(tmp_path / "names", modality="text")
    (run / "previews" / "final.html").write_text("<html><body><pre>to be</pre></body></html>", encoding="utf-8")
    words = PIL.Image.new("RGB", (60, 20), "white")
    PIL.ImageDraw.Draw(words).text((5, 5), "to be", fill="black")
    words.save(run / "previews" / "noise-to-sample.png")
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(report(run)[0])
    told = browser.value("""(() => { const image = document.querySelector("img.ink");
        const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
        pen.drawImage(image, 0, 0);
        return [getComputedStyle(image).filter, pen.getImageData(0, 0, 1, 1).data[3], image.naturalWidth]; })()""")
    assert told == [filters, 0, 60]


CONTRAST = """(() => {
    const level = text => text.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => { const c = getComputedStyle(e).backgroundColor;
        return c === "rgba(0, 0, 0, 0)" ? ground(e.parentElement) : c; };
    const names = "h1, h2, h3, h4, p, td, th, a, summary, figcaption, pre, dt, dd, li, text";
    const text = [...document.querySelectorAll(names)];
    return Math.min(...text.map(e => { const style = getComputedStyle(e);
        const [a, b] = [level(e.tagName === "text" ? style.fill : style.color), level(ground(e))].sort((x, y) => x - y);
        return (b + 0.05) / (a + 0.05); })); })()"""
"""The lowest contrast of any text with what is behind it."""
