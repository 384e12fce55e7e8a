"""Two runs side by side with what is real: what stands in which row, and the page that shows it."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch

from tests.report.browser import CHROMIUM, Browser
from tests.run.points_run import POINTS, finished, quiet
from toolkit.data.dataset import InMemory, Splits
from toolkit.discovery import find
from toolkit.errors import UsageError
from toolkit.report import beside
from toolkit.report.beside import REAL
from toolkit.run.generator import Generator, load
from toolkit.view import Shown

EVIL = "</script><script>document.title = 'run'</script><img src=http://127.0.0.1:9/a.png>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Generator]:
    folder = tmp_path_factory.mktemp("runs")
    for i, name in enumerate("ab"):
        finished(folder / name, train__seed=i)
    return [load(folder / name, notify=quiet, modality=POINTS) for name in "ab"]


def test_a_row_has_one_label_and_one_noise(runs: list[Generator]) -> None:
    rows = beside.rows_of(runs, 6, 3, None, {"steps": 4}, quiet)
    assert [row.label for row in rows] == ["upper", "lower"] * 3
    for name, generator in zip("AB", runs, strict=True):
        samples = generator.sample(6, seed=3, steps=4)
        assert [row.shown[name] for row in rows] == generator.modality.view().shown(samples.raw)
    assert rows[0].shown["A"] != rows[0].shown["B"] and rows[0].shown["A"] != rows[2].shown["A"]
    only = beside.rows_of(runs[:1], 3, 0, "lower", {"steps": 2}, quiet)
    assert [row.label for row in only] == ["lower"] * 3 and all(set(row.shown) == {"A"} for row in only)


def test_real_ones_have_the_label_and_come_once_held_out_ones_first(runs: list[Generator]) -> None:
    kind = find(POINTS)
    real = kind(kind.Data(), kind.Model())
    values = torch.stack([torch.linspace(-1.2, 1.2, 12), torch.linspace(0.9, -0.9, 12)], 1)
    train = InMemory(values[:8], {"label": torch.tensor([0, 1] * 4)})
    test = InMemory(values[8:], {"label": torch.tensor([0, 0, 1, 0])})
    real.load = lambda cache, notify: Splits.in_memory("few", train, test, ("upper", "lower"))  # type: ignore[method-assign]
    real.open(Path(), quiet)
    rows = beside.rows_of([runs[0].on(real)], 14, 0, None, {"steps": 1}, quiet)
    shown = [row.shown.get(REAL) for row in rows]
    each = real.view().shown(values)
    where = [None if one is None else each.index(one) for one in shown]
    upper, lower = where[::2], where[1::2]
    assert set(upper[:3]) == {8, 9, 11} and set(upper[3:]) == {0, 2, 4, 6}
    assert lower[0] == 10 and set(lower[1:5]) == {1, 3, 5, 7} and lower[5:] == [None, None]


def test_runs_that_do_not_belong_together_are_refused(runs: list[Generator]) -> None:
    other = load(runs[1].run, notify=quiet, modality=POINTS)  # type: ignore[arg-type]
    other.modality.learn(labels=("left", "right"))
    with pytest.raises(UsageError, match="other labels: upper, lower, and left, right"):
        beside.rows_of([runs[0], other], 2, 0, None, {}, quiet)


def sides_and_rows() -> tuple[list[beside.Side], list[beside.Row]]:
    from modalities.audio.view.page import shown

    time = torch.arange(4000) / 8000
    tones = shown(
        torch.stack([torch.sin(2 * torch.pi * f * time) * (-9 * time).exp() for f in (200, 300, 400)])[:, None], 8000
    )
    rows = [
        beside.Row(EVIL, dict(zip(("A", "B", REAL), tones, strict=True))),
        beside.Row("hat", {"A": tones[0], "B": tones[1]}),
    ]
    rows.append(beside.Row("", {"A": Shown(text=EVIL), "B": Shown(text="two\nlines"), REAL: Shown(text="three")}))
    return [beside.Side("A", EVIL), beside.Side("B", "runs/b"), beside.Side(REAL, "sounds")], rows


def test_the_page_holds_all_of_it_and_nothing_that_runs_but_its_script() -> None:
    sides, rows = sides_and_rows()
    text = beside.page(EVIL, sides, rows, 5)
    assert text.count("<script") == 1 and "http" not in re.sub(r"&lt;.*?&gt;", "", text).replace("http-equiv", "")
    assert text.count("<audio") == 5 and text.count("<pre>") == 3 and text.count("<figure") == 8
    assert "default-src 'none'" in text and "unsafe" not in text
    assert [f'data-first="{a}" data-second="{b}"' in text for a, b in (("A", "B"), ("A", REAL), ("B", REAL))] == [
        True
    ] * 3
    assert "(seed 5," in text


def test_a_sound_is_shown_without_the_silence_behind_it() -> None:
    from modalities.audio.view.page import shown

    raw = torch.zeros(2, 1, 4000)
    raw[0, 0, :1000], raw[1, 0, :3000] = 0.5, -0.25
    for one, length in zip(shown(raw, 8000), (1000, 3000), strict=True):
        with wave.open(BytesIO(one.sound)) as file:
            assert (file.getframerate(), file.getnframes()) == (8000, length)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def test_a_blind_test_counts_the_answers(browser: Browser, tmp_path: Path) -> None:
    sides, rows = sides_and_rows()
    place = tmp_path / "page.html"
    place.write_text(beside.page("runs/a", sides, rows * 6, 0), encoding="utf-8")
    browser.open(place)
    assert browser.requests() == [place.as_uri()] and browser.value("document.title") == "runs/a"
    shown = "getComputedStyle(document.querySelector('.row')).display"
    assert browser.value(shown) == "grid"
    # the right answer is the side that is real, which the page does not show: look into the script's own state
    browser.value("document.querySelector('#ask button[data-second=real]').click()")
    assert browser.value(shown) == "none"
    for i in range(12):  # 12 of 18 rows have a real example
        browser.value(f"""(() => {{
            const place = test.order[test.at][1].indexOf("real");
            document.querySelectorAll("#desk .answer")[{i} < 9 ? place : 1 - place].click();
        }})()""")
    told = browser.value("document.querySelector('#desk .result').textContent")
    assert told.startswith(
        "A or real: 9 of 12 right: 75 %, 95 % interval 47 % to 91 %. So few answers could be guesses"
    )
    assert browser.value("document.querySelectorAll('.row.missed').length") == 3 and browser.value(shown) == "grid"
    assert browser.complaints() == [] and browser.requests() == [place.as_uri()]


def test_sounds_change_over_while_they_play(browser: Browser, tmp_path: Path) -> None:
    sides, rows = sides_and_rows()
    place = tmp_path / "page.html"
    place.write_text(beside.page("runs/a", sides, rows[:1], 0), encoding="utf-8")
    browser.open(place)
    said = browser.value("""(async () => {
        const audios = $("audio"), told = [];
        context = new OfflineAudioContext(1, 8000, 8000);
        context.resume = async () => {};
        await play(audios, 1, index => told.push(index));
        const { sources, gains } = playing;
        choose(0);
        await play(audios, 2, index => told.push(index));
        const same = playing.sources === sources;
        stop();
        return [told, sources.map(s => s.buffer.length), sources.map(s => s.loop), gains.length, same];
    })()""")
    told, lengths, loops, gains, same = said
    # another one is chosen among those that play: nothing is started again
    assert told == [1, 0, 2, -1] and same
    assert len(set(lengths)) == 1 and loops == [True] * 3 and gains == 3
    assert browser.complaints() == []
