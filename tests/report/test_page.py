"""The page says what the run holds, leaves out what it does not, and lets nothing in it become markup."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.report.runs import Seen, make_run, picture
from toolkit.errors import UsageError
from toolkit.report import media, report
from toolkit.report.facts import gather
from toolkit.report.html import tag
from toolkit.training.storage.lock import RunLock


def page_of(run: Path) -> Seen:
    return Seen(report(run)[0].read_text(encoding="utf-8"))


def test_a_finished_run(tmp_path: Path) -> None:
    seen = page_of(make_run(tmp_path / "cats"))
    assert seen.dangers() == []
    # 6 parameters, although the checkpoint has a buffer too; 100 steps of 4 of 50 examples are 8 passes, of 0.5 s each
    assert "A diffusion model with 6 parameters, trained from scratch on 50 image examples of 'digits'" in seen.text
    assert "Training took 100 steps of 4 examples (400 in all, 8 passes over the data) in 50 s" in seen.text
    assert "still training" not in seen.text and "stopped" not in seen.text
    assert len(seen.all("img")) == 4 and all(image["alt"] for image in seen.all("img"))
    assert {"samples", "training", "how-it-came-to-be", "recipe", "files"} <= {s["id"] for s in seen.all("section")}
    assert "toolkit train --recipe" in seen.text and 'source = "digits"' in seen.text
    policy = next(meta["content"] for meta in seen.all("meta") if "http-equiv" in meta)
    assert policy is not None and policy.startswith("default-src 'none'") and "script-src" not in policy


def test_everything_a_stranger_may_write_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    facts = {"labels": [evil, 'a"onload="x', "\u202eabc", "b\u00a0c"]}
    run = make_run(tmp_path / "<b>run<", facts=facts, description=f"</pre>{evil}", data={"source": f"x{evil}"})
    (run / "<img src=x onerror=alert(1)>.txt").write_text("1")
    (run / "previews" / "final.txt").write_text(f"to be </pre>{evil}\x07")
    (run / "evaluation").mkdir()
    picture(run / "evaluation" / "<u>.png")
    (run / "machine.json").write_text(json.dumps({"<i>": evil, "processor": evil}))
    if os.name == "posix":
        (run / os.fsdecode(b"\xff<b>")).write_text("1")
    seen = page_of(run)
    assert seen.dangers() == []
    assert {"b", "u", "i"} & {name for name, _ in seen.elements} == {"b"}  # our own, in captions
    assert not [a for name, a in seen.elements if name == "b" and a]
    for text in (evil, f"</pre>{evil}", "<img src=x onerror=alert(1)>.txt", f"to be </pre>{evil}\\x07", "<b>run<"):
        assert text in seen.text, text
    assert "\u202e" not in seen.text and "\x07" not in seen.text


def test_a_run_with_nothing_yet(tmp_path: Path) -> None:
    seen = page_of(make_run(tmp_path / "run", whole=False))
    assert "stopped at step 0 of 100" in seen.text and "not taken a step" in seen.text
    assert seen.all("img") == [] and {"samples", "training"}.isdisjoint(s["id"] for s in seen.all("section"))


def test_a_run_that_still_trains(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", done=20)
    with RunLock(run):
        seen = page_of(run)
        assert (run / "lock").exists()
    assert "still training: step 20 of 100" in seen.text and "Samples at step 10, as they came." in seen.text
    assert "Training has taken 20 steps" in seen.text
    assert "stopped at step 20 of 100" in page_of(run).text


def test_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no run folder \(recipe.toml is missing\)"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "previews" / "final.png").write_text("no picture")
    metrics = run / "metrics.jsonl"
    metrics.write_text(
        '{"step": 10, "loss": NaN, "lr": true}\n[]\n{"step": 5}\n{"step": 20, "loss": 0.5, "seconds": 1e999}\n{"st'
    )
    (run / "evaluation").mkdir()
    (run / "evaluation" / "metrics.json").write_text('{"format": 1, "figures": 7}')
    (next((run / "checkpoints").iterdir()) / "ema.safetensors").write_bytes(b"\xff" * 240)
    facts = gather(run)
    assert [(line.step, line.loss, line.lr, line.seconds) for line in facts.lines] == [
        (10, None, None, None), (20, 0.5, None, None),
    ]  # fmt: skip
    assert facts.judged == () and facts.parameters is None and facts.seconds is None
    seen = page_of(run)
    assert "samples" not in {s["id"] for s in seen.all("section")} and "1 of 2 not finite" in seen.text


@pytest.mark.skipif(os.name != "posix", reason="links need a right on Windows")
def test_links_are_not_followed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    secret = picture(tmp_path / "private" / "final.png")
    (run / "previews" / "final.png").unlink()
    (run / "previews" / "final.png").symlink_to(secret)
    seen = page_of(run)
    assert "Samples at step 10, as they came." in seen.text and "after the last step" not in seen.text
    (run / "previews").rename(run / "old")
    (run / "previews").symlink_to(secret.parent)
    assert page_of(run).all("img") == []


def test_what_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    most = (run / "previews" / "final.png").stat().st_size
    monkeypatch.setattr(media.Album, "left", most)
    album = media.Album(run, most)
    assert album.take(run / "previews" / "final.png") is not None and album.left == 0
    assert album.take(run / "previews" / "step-00000010.png") is None
    assert album.omitted == ["previews/step-00000010.png"]


def test_large_pictures_are_packed_again(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    (tmp_path / "previews").mkdir()
    path = tmp_path / "previews" / "final.png"
    noise = np.random.default_rng(0).integers(0, 255, (500, 2000, 3), np.uint8)
    Image.fromarray(noise).save(path)
    shown = media.Album(tmp_path).take(path, 1000)
    assert shown is not None and (shown.width, shown.height) == (1000, 250) and shown.uri.startswith("data:image/webp;")
    assert len(shown.uri) < path.stat().st_size / 4


def test_figures_stand_beside_floor_ceiling_and_expectation(tmp_path: Path) -> None:
    bands = {
        "FD": {"value": 3.8, "at_most": 5.0},
        "agreement": {"value": 0.5, "within": 0.02, "unit": "share", "judge": "j-1"},
        "KID": {"value": 0.1, "within": 0.01},
    }
    where = {"machine": "a laptop", "date": "2026-01-02", "toolkit": "0.1.0", "steps": 100}
    run = make_run(tmp_path / "run", expected={**where, "figures": bands})
    figure = {"judge": "j-1", "low": None, "high": None, "n": 1000, "note": "", "better": "lower"}
    figures = [
        {**figure, "what": "FD", "value": 22.0, "floor": 2.0, "ceiling": 82.0, "unit": ""},
        {**figure, "what": "agreement", "value": 0.51, "floor": None, "ceiling": None, "unit": "share"},
        {**figure, "what": "copies", "value": None, "floor": None, "ceiling": None, "unit": "", "note": "too few"},
    ]
    (run / "evaluation" / "more-steps").mkdir(parents=True)
    said = {"format": 1, "about": {"seed": 0}, "figures": figures}
    (run / "evaluation" / "metrics.json").write_text(json.dumps(said))
    (run / "evaluation" / "more-steps" / "metrics.json").write_text(json.dumps(said))
    picture(run / "evaluation" / "nearest.png")
    facts = gather(run)
    own, other = facts.judged
    headings, cells = own.cells(facts.recipe.expected.figures)
    rows = {row[0]: dict(zip(headings, row, strict=True)) for row in cells}
    assert (rows["FD"]["real"], rows["FD"]["noise"], rows["FD"]["expected"]) == ("2.00", "82.00", "at most 5: NO")
    assert rows["agreement"]["expected"] == "50 % +- 2 %: yes" and rows["KID"]["expected"] == "0.1 +- 0.01"
    assert other.name == "more-steps" and "expected" not in other.cells({})[0]
    elsewhere = {"agreement": facts.recipe.expected.figures["agreement"].model_copy(update={"judge": "j-2"})}
    assert "50 % +- 2 %, under another judge" in own.cells(elsewhere)[1][1]
    # the same of an earlier end of the run are no figures of its end
    (run / "evaluation" / "metrics.json").write_text(json.dumps({**said, "about": {"seed": 0, "step": 60}}))
    assert [one.name for one in gather(run).judged] == ["step-60", "more-steps"]
    assert "Not measured on this run" in page_of(run).text and "at most 5: NO" not in page_of(run).text
    (run / "evaluation" / "metrics.json").write_text(json.dumps({**said, "about": {"seed": 0, "step": 100}}))
    seen = page_of(run)
    assert "at most 5: NO" in seen.text and "Not measured on this run" not in seen.text
    assert "25% of the way from real examples to noise" in {svg.get("aria-label") for svg in seen.all("svg")}
    assert "The judge is j-1; values under another one do not compare." in seen.text and "FD-j-1" not in seen.text
    assert "Frechet distance: mean and covariance" in seen.text  # what a figure means stands below its name
    assert "copies left out: too few" in seen.text and "nearest to them" in seen.text
    assert "measured on a laptop, 2026-01-02 after 100 steps" in seen.text
    # without a ceiling there is no way from real to noise, and without either, nothing beside the value
    assert "betternreal to noise" in seen.text.replace("\n", "")
    alone = {**said, "figures": [{**one, "floor": None, "ceiling": None} for one in figures]}
    for folder in (run / "evaluation", run / "evaluation" / "more-steps"):
        (folder / "metrics.json").write_text(json.dumps(alone))
    told = page_of(run).text.replace("\n", "")
    assert "value (95 % interval)bettern" in told and "real to noise" not in told


def measured_lines(run: Path, held_out: bool = True, verdict: str = "") -> None:
    """Two measurements at fixed noise, after the lines of the steps they belong to."""
    lines = []
    for step, loss in ((50, 0.5), (100, 0.4)):
        each = {"held_out": [loss, loss + 0.2] if held_out else [], "trained": [0.3], "floor": [0.1]}
        levels = [{"noise": 0.12, "held_out": loss if held_out else None, "trained": 0.3, "floor": None}]
        entry = {"step": step, "held_out": 9.0, "floor": 0.1, "draws": 4, "levels": levels, "each": each}
        lines.append(json.dumps({**entry, "verdict": verdict if step == 100 else ""}))
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n".join(lines) + "\n")


def test_the_held_out_loss_stands_beside_the_training_loss(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = gather(run)
    measured_lines(run, verdict="converged <b>to within 1 %")
    after = gather(run)
    assert after.lines == before.lines and after.seconds == before.seconds  # no steps of their own
    seen = page_of(run)
    assert "Held-out loss last 0.5; training examples 0.3; floor 0.1; at fixed noise" in seen.text
    assert "converged <b>to within 1 %" in seen.text and seen.dangers() == []
    assert "Loss by noise level at step 100" in seen.text and "0.12" in seen.text


def test_without_held_out_examples_the_curve_is_of_training_examples(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    measured_lines(run, held_out=False)
    text = page_of(run).text
    assert "Loss of training examples last 0.3; floor 0.1" in text and "Held-out" not in text


def test_a_tag_that_could_run_or_fetch_cannot_be_made() -> None:
    assert tag("p", "1 < 2 & ", tag("b", '"'), class_="x", id=None) == '<p class="x">1 &lt; 2 &amp; <b>&quot;</b></p>'
    for attributes in ({"onclick": "x"}, {"style": "x"}, {"href": "https://x"}, {"src": "a.png"}):
        with pytest.raises(ValueError, match=r"has no place|would be fetched"):
            tag("a", **attributes)


def test_what_is_expected_of_a_run_that_was_not_evaluated_is_not_called_measured(tmp_path: Path) -> None:
    bands = {"agreement": {"value": 0.5, "within": 0.02, "unit": "share", "interval": [0.45, 0.55]}}
    where = {"machine": "a laptop", "date": "2026-01-02", "toolkit": "0.1.0", "steps": 100, "figures": bands}
    run = make_run(tmp_path / "a run", expected=where)
    seen = page_of(run)
    ids = [section["id"] for section in seen.all("section")]
    assert "measured" not in ids and "expected" in ids
    assert f"Not measured on this run: toolkit evaluate '{run}' does that." in seen.text
    assert "measured on a laptop, 2026-01-02 after 100 steps" in seen.text
    assert "50 % (45 % to 55 %)" in seen.text and "Samples in which the judge sees the label" in seen.text
    assert "## Measured" not in (run / "README.md").read_text(encoding="utf-8")
    # evaluated in another way than the recipe says: both, apart
    (run / "evaluation" / "n-8").mkdir(parents=True)
    figure = {"what": "agreement", "value": 0.25, "n": 8, "unit": "share"}
    said = json.dumps({"format": 1, "about": {}, "figures": [figure]})
    (run / "evaluation" / "n-8" / "metrics.json").write_text(said)
    both = page_of(run)
    assert {"measured", "expected"} <= {section["id"] for section in both.all("section")}
    assert "25.0 %" in both.text and "Not measured on this run" in both.text


def test_figures_of_labels_are_folded_and_several_judges_are_told_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    names = ["agreement", *(f"agreement/{label}" for label in ("cat", "<b>dog"))]
    figures = [{"what": name, "value": 0.5, "n": 8, "unit": "share", "judge": "j-1"} for name in names]
    (run / "evaluation").mkdir()
    file = run / "evaluation" / "metrics.json"
    file.write_text(json.dumps({"format": 1, "about": {}, "figures": figures}))
    seen = page_of(run)
    assert seen.dangers() == [] and "agreement with each of 2 labels" in seen.text
    assert "<b>dog" in seen.text and "agreement/cat" not in seen.text and seen.text.count("50.0 %") == 3
    figures.append({"what": "agreement", "value": 0.25, "n": 8, "unit": "share", "judge": "j-2"})
    file.write_text(json.dumps({"format": 1, "about": {}, "figures": figures}))
    text = page_of(run).text
    assert "agreement-j-1" in text and "agreement-j-2" in text and "The judge is j-1, j-2;" in text


def test_figures_of_a_run_with_unknown_options_are_explained(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", modality="text", model={"gone": 1})
    (run / "evaluation").mkdir()
    figure = {"what": "distinct-2", "value": 0.5, "n": 8, "unit": "share"}
    (run / "evaluation" / "metrics.json").write_text(json.dumps({"format": 1, "about": {}, "figures": [figure]}))
    assert "Different groups of so many words" in page_of(run).text
