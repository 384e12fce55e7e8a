"""Texts on a terminal, in a picture and on a page: nothing in them may act on what shows them."""

from __future__ import annotations

import html.parser
import unicodedata

import numpy as np
import PIL.Image
import pytest

from modalities.text.view.picture import lines, page, preview, strip, visible

HOSTILE = "\x1b[31mred\x07\r\x08\x00\x7f\x9b2J\u202e\u2028\ud800 ok\tend"


def test_what_would_move_a_cursor_is_a_picture_of_itself() -> None:
    shown = visible(HOSTILE)
    assert shown == "␛[31mred␇␍␈␀␡\ufffd2J\ufffd\ufffd\ufffd ok\tend"
    everything = visible("".join(map(chr, range(0x3000))))
    assert {unicodedata.category(c) for c in everything if c != "\t"}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert visible("Ünï — “quotes” 世界") == "Ünï — “quotes” 世界"


def test_lines_of_a_terminal() -> None:
    assert lines(["Ann", "Bo\x1b[0m"], ["hat", "\x1b[31mclap\n"]) == ["[hat] Ann", "[␛[31mclap␊] Bo␛[0m"]
    # texts of several lines, or long ones, are told apart by an empty line
    assert lines(["a\nb", "c"]) == ["a", "b", "", "c", ""]
    assert lines(["x" * 49, "y"]) == ["x" * 49, "", "y"]
    assert not any(c in line for line in lines([HOSTILE] * 3, [HOSTILE] * 3) for c in "\x1b\r\n\x07\x9b\x00")


class Page(html.parser.HTMLParser):
    """The tags of a page, what it would fetch, and what it shows in <pre>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.shown: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [str(v) for k, v in attrs if k in ("src", "href", "action", "srcset", "data")]
        if tag == "pre":
            self.inside = True
            self.shown.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.shown[-1] += data


SCRIPT = "<script>alert(1)</script> & <img src=x onerror=y> \"quoted\" 'so' </pre>"


@pytest.mark.parametrize("labels", [[], [SCRIPT, "b"]])
def test_a_page_shows_texts_as_they_are_and_runs_and_fetches_nothing(labels: list[str]) -> None:
    text = page([SCRIPT, "\nbegins with a line break"], labels, [SCRIPT], [SCRIPT] if labels else [])
    found = Page(text)
    assert found.fetched == [] and set(found.tags).isdisjoint({"script", "img", "link", "iframe", "object"})
    assert "http" not in text.replace("http-equiv", "") and "@import" not in text and "url(" not in text
    assert "default-src 'none'" in text
    # a browser drops one line break right after <pre>
    texts = [shown.removeprefix("\n") if not labels else shown for shown in found.shown]
    named = labels or ["", ""]
    assert texts == [named[0] + SCRIPT, named[1] + "\nbegins with a line break", (labels[0] if labels else "") + SCRIPT]


def test_short_texts_are_one_list() -> None:
    found = Page(page(["<Ann>", "Bo"], [], ["Cy", "Di"]))
    assert found.shown == ["\n<Ann>\nBo", "\nCy\nDi"]


def inked(picture: PIL.Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L")) < 128


def test_a_picture_of_texts_grows_with_them_and_holds_no_more_than_it_says() -> None:
    one, three, four = (preview(["word"] * n) for n in (1, 3, 4))
    assert one.height == three.height < four.height and one.width < three.width == four.width
    assert preview(["x"] * 99).size == preview(["x"] * 24).size
    wrapped, whole = inked(preview(["m" * 46 + "end"])), inked(preview(["m" * 46]))
    assert wrapped.shape[0] > whole.shape[0] and wrapped.shape[1] == whole.shape[1]
    assert not whole[:, -8:].any()  # the longest line ends before the edge
    assert not inked(preview([""])).any() and inked(preview([" a"])).any()
    hostile = preview([HOSTILE.replace("\ud800", "")], ["\x1b" * 400])
    assert hostile.width == one.width


def test_a_strip_has_a_row_for_each_moment() -> None:
    moments = [["noise", "noise"], ["", ""], ["word", "word"]]
    picture = inked(strip([[*texts, "not shown"] for texts in moments]))
    two = inked(preview(["word", "word", "word", "word"], across=2))
    assert picture.shape[1] == two.shape[1]
    rows = np.flatnonzero(picture.any(1))
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 20) + 1)
    assert len(groups) == 2 and groups[1][0] - groups[0][0] > 60  # the middle moment is empty
    middle = picture.shape[1] // 2
    assert picture[:, :middle].any() and (picture[:, 10:middle].sum() == picture[:, middle:].sum() > 0)
