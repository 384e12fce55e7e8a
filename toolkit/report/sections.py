"""The parts of the page that show pictures, sounds, texts, curves and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.evaluation.table import Figure
from toolkit.recipe.expected import ExpectedMetric
from toolkit.report import run_files
from toolkit.report.curves import Curve, draw
from toolkit.report.embed import inlay
from toolkit.report.facts import RunFacts
from toolkit.report.figures import Judged, place
from toolkit.report.html import Markup, join, table, tag
from toolkit.report.media import Album
from toolkit.training.measurement import Measurement

EARLIER = 10
"""Earlier previews that are shown."""
EARLIER_SIDE = 900
"""Their longest side in pixels, when they are packed again."""
LONG = 2.5
"""Times as wide as high: a picture like that scrolls, since all of it would be too small on a phone."""
MOST_TEXT = 40_000
"""Characters of samples that are text."""


def previews(facts: RunFacts, suffix: str) -> list[tuple[int, Path]]:
    """(step, path) of the previews with this suffix that were drawn on the way, earliest first."""
    found = []
    for path in (facts.run / "previews").glob(f"step-*{suffix}"):
        match = re.fullmatch(r"step-([0-9]{1,18})", path.stem)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)


def samples(facts: RunFacts, album: Album) -> Markup | None:
    """The last samples: players and texts where there are, and the picture."""
    latest = {end: [*previews(facts, end), (facts.step, facts.run / "previews" / f"final{end}")] for end in ENDINGS}
    page, text, picture = (_last(facts, latest[end]) for end in ENDINGS)
    parts: list[Markup] = []
    if page is not None:
        inside, left_out = inlay((run_files.content(facts.run, page[1]) or b"").decode("utf-8", "replace"))
        parts.append(tag("div", inside, class_="inlay"))
        if left_out:
            parts.append(tag("p", f"{left_out} more are in {page[1].relative_to(facts.run)}.", class_="soft"))
    if text is not None:
        said = (run_files.content(facts.run, text[1]) or b"").decode("utf-8", "replace")[:MOST_TEXT]
        parts.append(tag("pre", said, class_="text", tabindex=0))
    if picture is not None and (shown := album.take(picture[1])) is not None:
        final = picture[1].stem == "final"
        when = "after the last step" if final else f"at step {picture[0]:,}"
        labels = f", labels {', '.join(facts.data.labels[:10])}" if facts.data.labels else ""
        more = " ..." if len(facts.data.labels) > 10 else ""
        figure = tag(
            "figure", shown.tag(f"Samples {when}{labels}{more}"), tag("figcaption", f"Samples {when}, as they came.")
        )
        folded = tag("details", tag("summary", "all of them in one picture"), figure)
        parts.append(folded if page is not None or text is not None else figure)
    return join(parts) if parts else None


ENDINGS = (".html", ".txt", ".png")


def _last(facts: RunFacts, found: list[tuple[int, Path]]) -> tuple[int, Path] | None:
    there = [(step, path) for step, path in found if run_files.content(facts.run, path)]
    return there[-1] if there else None


def film(facts: RunFacts, album: Album) -> Markup | None:
    """From noise to sample: the moving picture, or the still one for those who want nothing to move."""
    stem = facts.run / "previews" / "noise-to-sample"
    still, moving = album.take(stem.with_suffix(".png")), album.take(stem.with_suffix(".gif"))
    parts = []
    if moving is not None:
        calm = tag("source", srcset=still.uri, media="(prefers-reduced-motion: reduce)") if still else None
        alt = "The same samples at several moments of sampling, moving from noise to result"
        shown = tag("picture", calm, moving.tag(alt))
        parts.append(tag("figure", shown, tag("figcaption", "The same samples on their way.")))
    if still is not None:
        said = "The same samples side by side at several moments, noise at the left, result at the right"
        shown = still.tag(said)
        if still.width > LONG * still.height:
            shown = tag("div", shown, class_="long", role="region", tabindex=0, aria_label=said)
        parts.append(
            tag("figure", shown, tag("figcaption", "Moments of sampling, from noise (left) to sample (right)."))
        )
    return tag("div", *parts, class_="beside") if parts else None


def history(facts: RunFacts, album: Album) -> Markup | None:
    """The previews of the training, in a row that scrolls."""
    found = previews(facts, ".png")
    if len(found) > EARLIER:
        found = [found[round(i * (len(found) - 1) / (EARLIER - 1))] for i in range(EARLIER)]
    figures = []
    for step, path in found:
        if (shown := album.take(path, EARLIER_SIDE)) is not None:
            when = f"step {step:,}"
            figures.append(tag("figure", shown.tag(f"Samples at {when}"), tag("figcaption", when)))
    if not figures:
        return None
    said = tag("p", "The same noise, sampled during training.", class_="soft")
    return join([said, tag("div", *figures, class_="strip", role="region", tabindex=0, aria_label="Samples by step")])


def training(facts: RunFacts) -> Markup | None:
    """Curves of metrics.jsonl."""
    lines = [line for line in facts.lines if line.step > 0]
    if not lines:
        return None
    steps = [line.step for line in lines]
    batch = facts.recipe.train.batch
    rates = [batch / line.seconds if line.seconds else None for line in lines]
    curves = [
        Curve("Loss", steps, [line.loss for line in lines], True, True, "mean since the point before, and smoothed"),
        Curve("Learning rate", steps, [line.lr for line in lines]),
        Curve("Gradient norm", steps, [line.grad_norm for line in lines], True, True, "before clipping"),
        Curve("Examples per second", steps, rates, True, False, "within single steps"),
    ]
    measured = run_files.measurements(facts.run)
    curves[1:1] = held_out_curve(measured)
    drawn = [figure for figure in map(draw, curves) if figure is not None]
    parts = [tag("div", *drawn, class_="plots")] if drawn else []
    if measured:
        parts += [tag("p", measured[-1].verdict)] if measured[-1].verdict else []
        parts += [levels] if (levels := by_level(measured[-1])) is not None else []
    return join(parts) if parts else None


def held_out_curve(measured: Sequence[Measurement]) -> list[Curve]:
    """The loss at fixed noise, as a list of one curve, or of none where it was not measured."""
    if not measured:
        return []
    held = any(m.held_out for m in measured)
    entries = [m.to_mapping() for m in measured]
    beside = {"training examples": [entry["trained"] for entry in entries]} if held else {}
    if any(m.floor is not None for m in measured):
        beside["floor"] = [m.floor for m in measured]
    title, key = ("Held-out loss", "held_out") if held else ("Loss of training examples", "trained")
    steps = [m.step for m in measured]
    return [Curve(title, steps, [entry[key] for entry in entries], False, True, "at fixed noise", beside)]


def by_level(last: Measurement) -> Markup | None:
    """The last loss at fixed noise for each range of noise, folded."""
    names = {"held_out": "held-out", "trained": "training examples", "floor": "floor"}
    known = [name for name in names if any(getattr(level, name) is not None for level in last.levels)]
    if not known:
        return None
    rows = [(f"{level.noise:.3g}", *(_short(getattr(level, name)) for name in known)) for level in last.levels]
    head = tag("summary", f"Loss by noise level at step {last.step:,}")
    return tag("details", head, table(rows, ("noise, sigma / alpha", *(names[name] for name in known))))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def measured(facts: RunFacts, album: Album) -> Markup | None:
    """Tables of the evaluation, its pictures, and what the recipe expects."""
    expected = facts.recipe.expected
    parts = [_judged(one, {} if one.name else expected.figures) for one in facts.judged]
    if expected.figures:
        if all(one.name for one in facts.judged):
            rows = [(what, band.text) for what, band in expected.figures.items()]
            parts.append(table(rows, ("figure", "expected by the recipe")))
        steps = f" after {expected.steps:,} steps" if expected.steps else ""
        said = f"What is expected was measured on {expected.machine}, {expected.date}{steps}, n = {expected.n:,}."
        parts.append(tag("p", said, class_="soft"))
    root = facts.run / "evaluation"
    for path in sorted([*root.glob("*.png"), *root.glob("*/*.png")])[:20]:
        if (shown := album.take(path)) is not None:
            name = path.relative_to(root).with_suffix("").as_posix()
            said = PICTURES.get(path.stem, name)
            parts.append(tag("figure", tag("h3", said), shown.tag(f"{said} ({name})")))
    return join(parts) if parts else None


PICTURES = {
    "nearest": "Samples (left) and the training examples nearest to them (right)",
    "samples": "Samples that were judged",
}
"""What a picture with this name shows."""


def _judged(one: Judged, expected: Mapping[str, ExpectedMetric]) -> Markup:
    headings, cells = one.cells(expected)
    headings = [*headings, "real to noise"]
    figures = {figure.name: figure for figure in one.table.figures}
    rows = [(*row, meter(figures[row[0]]) if row[0] in figures else "") for row in cells]
    # texts have no noise to compare with: a column that says nothing is left out
    told = [i for i in range(len(headings)) if any(str(row[i]) for row in rows)]
    parts = [tag("h3", one.name)] if one.name else []
    parts.append(table([[row[i] for i in told] for row in rows], tuple(headings[i] for i in told), one.about))
    if said := one.notes:
        parts.append(tag("ul", *(tag("li", note) for note in said), class_="soft"))
    return join(parts)


def meter(figure: Figure) -> Markup:
    """A dot on the way from real (left) to noise (right), at the edge when it is beyond; nothing when not known."""
    part = place(figure)
    if part is None:
        return Markup("")
    at = 7 + 106 * min(1.0, max(0.0, part))
    said = f"{part:.0%} of the way from real examples to noise"
    bar, dot = tag("rect", x=5, y=6, width=110, height=2), tag("circle", cx=f"{at:.1f}", cy=7, r=5)
    return tag("svg", bar, dot, viewBox="0 0 120 14", class_="meter", role="img", aria_label=said)
