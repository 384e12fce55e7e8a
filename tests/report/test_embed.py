"""A page of a modality comes through without what runs, fetches or hides."""

from __future__ import annotations

import pytest
import torch

from tests.report.runs import Seen
from toolkit.modality import Examples
from toolkit.report import embed as module
from toolkit.report.embed import inlay

GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>a<script>alert(1)</script>b</p>", "<p>ab</p>"),
        ("<p onclick=x style=y id=z class='a &quot; b'>1 &lt; 2</p>", '<p class="in-a in-b">1 &lt; 2</p>'),
        ("<img src=http://x/a.png><img src='//x'><img src=data:text/html;base64,AA==>", ""),
        ("<img src=data:image/svg+xml;base64,AA==>", ""),
        (f"<img src={GIF} alt='<x>' onerror=y>", f'<img alt="&lt;x&gt;" src="{GIF}">'),
        ("<audio src='data:audio/wav;base64,AA==' autoplay></audio>",
         '<audio src="data:audio/wav;base64,AA==" controls preload="none"></audio>'),
        ("<a href='javascript:x'>y</a>", "<span>y</span>"),
        ("<svg><script>x</script><p>in</p></svg><p>out</p>", "<p>out</p>"),
        ("<iframe srcdoc='<p>x'><p>in</p></iframe>", ""),
        ("<p hidden>script shows this<br><b>x</b></p><button>play</button>y", "y"),
        ("</div></main><p>a", "<p>a</p>"),
        ("<div><p>a</div>b", "<div><p>a</p></div>b"),
        ("<title>x</title><style>p{background:url(x)}</style><h1>big</h1><h2>x</h2>", "<h3>x</h3>"),
        ("<form><input value=x><p>a</form>", "<p>a</p>"),
        ("<!-- c --><meta http-equiv=refresh content='0;url=x'><base href=x><custom-tag>a</custom-tag>", "a"),
        ("<section><h2>a</h2>b</section><section> <h2>c</h2></section>",
         "<details open><summary>a</summary>b</details><details> <summary>c</summary></details>"),
        ("<meta charset=utf-8><title>T</title><div class=texts><pre><small>a</small>x\n  &lt;y</pre></div>",
         '<div class="in-texts"><pre><small>a</small>x\n  &lt;y</pre></div>'),
        ("<section>a<h2>b</h2></section>", "<section>a<h3>b</h3></section>"),
    ],
)  # fmt: skip
def test_what_comes_through(page: str, expected: str) -> None:
    assert inlay(page) == (expected, 0)


def test_the_page_of_sounds_keeps_its_players() -> None:
    from modalities.audio.view.page import page

    raw = torch.sin(torch.arange(800) / 5).expand(4, 1, 800).clone()
    labels = ["kick", "<script>", "kick", "<script>"]
    whole = page(raw, labels, 8000, Examples(raw[:2], {"label": torch.tensor([0, 1])}), ("kick", "<script>"))
    inside, left_out = inlay(whole)
    seen = Seen(inside)
    assert seen.dangers() == [] and left_out == 0
    assert len(seen.all("audio")) == len(seen.all("img")) == 6
    assert len(seen.all("details")) == 2 and "<script>" in seen.text and "play all" not in seen.text


def test_figures_beyond_the_budget_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 200)
    inside, left_out = inlay(f"<div>{f'<figure><img src={GIF}></figure>' * 5}end</div>")
    assert left_out == 3 and len(Seen(inside).all("img")) == 2 and inside.endswith("end</div>")


def test_deep_nesting_does_no_harm() -> None:
    inside, _ = inlay("<div>" * 5000 + "x" + "</div>" * 5000)
    assert inside == "<div>" * 100 + "x" + "</div>" * 100
