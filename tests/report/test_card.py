"""The model card: front matter that a YAML reader takes as meant, Markdown that says what the run says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.report.runs import make_run
from toolkit.errors import UsageError
from toolkit.report import report
from toolkit.report.card import card, md
from toolkit.report.facts import gather
from toolkit.report.mark import mark, ours


def front(text: str) -> dict[str, object]:
    """The top of a card: keys with a quoted text or a list of them; nested keys are left to the eye."""
    assert text.startswith("---\n")
    found: dict[str, object] = {}
    key = ""
    for line in text[4 : text.index("\n---\n")].split("\n"):
        if match := re.fullmatch(r"([a-z_-]+): (\".*\")", line):
            found[match[1]] = json.loads(match[2])
        elif match := re.fullmatch(r"([a-z_-]+):", line):
            key = match[1]
            found[key] = []
        elif match := re.fullmatch(r"- (\".*\")", line):
            found[key].append(json.loads(match[1]))  # type: ignore[attr-defined]
        else:
            assert re.fullmatch(r"(- | {2,})(- )?[a-z]+:( (\".*\"|-?[0-9.e+-]+))?", line), line
    return found


def test_front_matter(tmp_path: Path) -> None:
    run = make_run(tmp_path / "cats", diffusion={"schedule": {"name": "linear-beta", "T": 100}, "prediction": "eps"})
    (run / "evaluation").mkdir()
    figure = {"what": "agreement/\u201cx\u201d", "judge": "j", "value": 0.5, "n": 10, "unit": "share"}
    (run / "evaluation" / "metrics.json").write_text(json.dumps({"format": 1, "about": {}, "figures": [figure]}))
    text = card(gather(run), "CC-BY-4.0")
    found = front(text)
    assert found["license"] == "cc-by-4.0" and found["library_name"] == "diffusion-toolkit"
    assert found["tags"] == ["image", "diffusion", "diffusion-toolkit", "linear-beta", "eps-prediction"]
    assert found["metrics"] == ["agreement/\u201cx\u201d"] and "      value: 0.5\n" in text
    assert "![Samples](previews/final.png)" in text and "| 50.0 % |" in text
    assert front(card(gather(make_run(tmp_path / "bare", whole=False))))["license"] == "unknown"


@pytest.mark.parametrize(("modality", "count"), [("image", 100), ("audio", 48), ("text", 24), ("mine.py", 100)])
def test_the_last_picture_can_be_made_again(tmp_path: Path, modality: str, count: int) -> None:
    """Any modality may have facts and options that this version knows nothing of; a stranger's code is not run."""
    run = make_run(tmp_path / "run", modality=modality, model={"gone": 1})
    assert re.search(rf"\ntoolkit sample .* -n {count} --seed 0\n", card(gather(run)))


def test_page_and_card_say_the_same(tmp_path: Path) -> None:
    page, readme = report(make_run(tmp_path / "run"))
    said = "Training took 100 steps of 4 examples (400 in all, 8 passes over the data) in 50 s of optimiser time"
    assert said in page.read_text(encoding="utf-8") and said in readme.read_text(encoding="utf-8")


def test_what_a_stranger_wrote_is_no_markup(tmp_path: Path) -> None:
    evil = "<script>x</script> ![a](http://x) `b` | _c_\n# d"
    run = make_run(tmp_path / "run", facts={"labels": [evil]}, description=f"```\n{evil}", data={"source": '"\n- x: y'})
    text = card(gather(run))
    front(text)
    outside = re.sub(r"(`{3,})[a-z]+\n.*?\n\1\n", "", text, flags=re.DOTALL)
    assert "<script>" not in outside and "![a]" not in outside and "\n# d" not in outside
    assert r"&lt;script&gt;x&lt;/script&gt; \!\[a\](http://x) \`b\` \| \_c\_ \# d" in outside
    assert "````toml\n" in text  # longer than the row of backticks in it


def test_markdown_escapes() -> None:
    assert md("a\nb  c") == "a b c"
    assert md("2 * 3 & <4>") == r"2 \* 3 &amp; &lt;4&gt;"


@pytest.mark.parametrize("license", ["", "a b", "mit\nx: y", '"', "-x"])
def test_a_license_is_an_identifier(license: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", whole=False)
    with pytest.raises(UsageError, match="--license takes an identifier"):
        report(run, license)
    assert not (run / "report.html").exists()


def test_a_readme_of_the_users_own_stays(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", whole=False)
    told: list[str] = []
    assert report(run, notify=told.append)[1].name == "README.md"
    assert ours((run / "README.md").read_text(encoding="utf-8"))
    assert report(run, "mit", told.append)[1].name == "README.md" and told == []
    changed = (run / "README.md").read_text(encoding="utf-8").replace("# run", "# My own words")
    (run / "README.md").write_text(changed, encoding="utf-8")
    (run / "model-card.md").write_text("mine too", encoding="utf-8")
    assert report(run, notify=told.append)[1].name == "model-card-2.md"
    assert (run / "README.md").read_text(encoding="utf-8") == changed
    assert (run / "model-card.md").read_text(encoding="utf-8") == "mine too"
    assert len(told) == 1 and "stays" in told[0]


def test_a_page_of_the_users_own_stays(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", whole=False)
    told: list[str] = []
    first = report(run, notify=told.append)[0]
    assert first.name == "report.html" and ours(first.read_text(encoding="utf-8"))
    assert report(run, notify=told.append)[0] == first and told == []
    changed = first.read_text(encoding="utf-8").replace("</h1>", " and my words</h1>")
    first.write_text(changed, encoding="utf-8")
    second = report(run, notify=told.append)[0]
    assert second.name == "report-2.html" and first.read_text(encoding="utf-8") == changed
    assert told == [f"{first} is not as this command wrote it and stays; the page is in report-2.html"]
    assert report(run, notify=told.append)[0] == second  # which is ours, and is written again
    # a page of before there was a mark is ours by what it says of itself
    unmarked = second.read_text(encoding="utf-8").partition("\n<!-- toolkit report")[0]
    first.write_text(unmarked, encoding="utf-8")
    assert report(run, notify=told.append)[0] == first
    first.write_text("<html>somebody's</html>", encoding="utf-8")
    assert report(run, notify=told.append)[0] == second and first.read_text(encoding="utf-8") == (
        "<html>somebody's</html>"
    )


def test_a_mark_is_of_its_text() -> None:
    assert ours(mark("a")) and not ours(mark("a").replace("a", "b", 1)) and not ours("a") and not ours("")
