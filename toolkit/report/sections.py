"""The parts of the page that show pictures, sounds, texts, curves and figures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.evaluation.meaning import meaning
from toolkit.evaluation.table import Metric
from toolkit.modality import Modality
from toolkit.recipe.expected import Expected, ExpectedMetric
from toolkit.report import run_files
from toolkit.report.curves import Curve, draw
from toolkit.report.embed import inlay
from toolkit.report.facts import RunFacts, of_modality
from toolkit.report.figures import Evaluation, Line, place
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
    pictures = []
    for path in (facts.run / "previews").glob(f"step-*{suffix}"):
        match = re.fullmatch(r"step-([0-9]{1,18})", path.stem)
        if match:
            pictures.append((int(match[1]), path))
    return sorted(pictures)


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
        sample = (run_files.content(facts.run, text[1]) or b"").decode("utf-8", "replace")[:MOST_TEXT]
        parts.append(tag("pre", sample, class_="text", tabindex=0))
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


def _last(facts: RunFacts, pictures: list[tuple[int, Path]]) -> tuple[int, Path] | None:
    there = [(step, path) for step, path in pictures if run_files.content(facts.run, path)]
    return there[-1] if there else None


def film(facts: RunFacts, album: Album) -> Markup | None:
    """From noise to sample: the moving picture, or the still one for those who want nothing to move."""
    stem = facts.run / "previews" / "noise-to-sample"
    still, moving = album.take(stem.with_suffix(".png")), album.take(stem.with_suffix(".gif"))
    parts = []
    if moving is not None:
        calm = tag("source", srcset=still.uri, media="(prefers-reduced-motion: reduce)") if still else None
        alt = "The same samples at several moments of sampling, moving from noise to result"
        figure = tag("picture", calm, moving.tag(alt))
        parts.append(tag("figure", figure, tag("figcaption", "The same samples on their way.")))
    if still is not None:
        caption = "The same samples side by side at several moments, noise at the left, result at the right"
        figure = still.tag(caption)
        if still.width > LONG * still.height:
            figure = tag("div", figure, class_="long", role="region", tabindex=0, aria_label=caption)
        parts.append(
            tag("figure", figure, tag("figcaption", "Moments of sampling, from noise (left) to sample (right)."))
        )
    return tag("div", *parts, class_="beside") if parts else None


def history(facts: RunFacts, album: Album) -> Markup | None:
    """The previews of the training, in a row that scrolls."""
    pictures = previews(facts, ".png")
    if len(pictures) > EARLIER:
        pictures = [pictures[round(i * (len(pictures) - 1) / (EARLIER - 1))] for i in range(EARLIER)]
    figures = []
    for step, path in pictures:
        if (shown := album.take(path, EARLIER_SIDE)) is not None:
            when = f"step {step:,}"
            figures.append(tag("figure", shown.tag(f"Samples at {when}"), tag("figcaption", when)))
    if not figures:
        return None
    intro = tag("p", "The same noise, sampled during training.", class_="soft")
    return join([intro, tag("div", *figures, class_="strip", role="region", tabindex=0, aria_label="Samples by step")])


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


def evaluation(facts: RunFacts, album: Album) -> Markup | None:
    """Tables of the evaluation, beside what the recipe expects, and its pictures; None for a run without any."""
    expected = facts.recipe.expected
    meanings = own_meanings(facts)
    parts = [_evaluation(one, {} if one.name else expected.figures, meanings) for one in facts.judged]
    if parts and expected.figures and not all(one.name for one in facts.judged):
        parts.append(tag("p", f"What is expected was measured {_where(expected)}.", class_="soft"))
    root = facts.run / "evaluation"
    for path in sorted([*root.glob("*.png"), *root.glob("*/*.png")])[:20]:
        if (shown := album.take(path, plot=path.stem not in PICTURES)) is not None:
            name = path.relative_to(root).with_suffix("").as_posix()
            caption = PICTURES.get(path.stem, name)
            parts.append(tag("figure", tag("h3", caption), shown.tag(f"{caption} ({name})")))
    return join(parts) if parts else None


def figures_elsewhere(facts: RunFacts) -> Markup | None:
    """Return the recipe's metrics from elsewhere, where this run itself was not evaluated as the recipe says."""
    expected = facts.recipe.expected
    if not expected.figures or not all(one.name for one in facts.judged):
        return None
    run = shlex.quote(facts.run.as_posix())
    sentence = (
        f"Not measured on this run: toolkit evaluate {run} does that. These figures are of another run of the recipe, "
        f"measured {_where(expected)}."
    )
    meanings = own_meanings(facts)
    rows = [
        (_name_cell(name, meaning(name, meanings)), _came_to(band), band.text)
        for name, band in expected.figures.items()
    ]
    return join([tag("p", sentence), table(rows, ("figure", "came to (95 % interval)", "a reproduction comes to"))])


def own_meanings(facts: RunFacts) -> Mapping[str, str]:
    """Return the meanings of the modality's own metrics; nothing for one that would be a stranger's code."""

    def read(modality: Modality) -> Mapping[str, str]:
        evaluator = modality.evaluator()
        return {} if evaluator is None else evaluator.meanings

    return of_modality(facts, read, {})


def _where(expected: Expected) -> str:
    steps = f" after {expected.steps:,} steps" if expected.steps else ""
    return f"on {expected.machine}, {expected.date}{steps}, n = {expected.n:,}"


def _came_to(band: ExpectedMetric) -> str:
    interval = "" if band.interval is None else " ({} to {})".format(*map(band.text_of, band.interval))
    return f"{band.text_of(band.value)}{interval}"


def _name_cell(name: str, meaning: str) -> Markup:
    """A metric's name, and below it what it means."""
    return join([name, tag("small", meaning)]) if meaning else join([name])


BY_LABEL = "agreement/"
BESIDE = "Each figure stands beside what as many real examples score."
BESIDE_NOISE = (
    "Each figure stands beside what as many real examples and noise score; the dot is where it is on the way."
)

PICTURES = {
    "nearest": "Samples (left) and the training examples nearest to them (right)",
    "samples": "Samples that were judged",
}
"""Return the caption of a picture with this name."""


def _evaluation(one: Evaluation, expected: Mapping[str, ExpectedMetric], meanings: Mapping[str, str]) -> Markup:
    lines = one.lines(expected)
    headings = [*one.cells(expected)[0], "real to noise"]
    by_label = [line for line in lines if line.name.startswith(BY_LABEL)]
    rows = [_row(line, meanings) for line in lines if line not in by_label]
    # texts have no noise to compare with: a column that says nothing is left out
    columns = [i for i in range(len(headings)) if any(str(row[i]) for row in rows)]
    parts = [tag("h3", one.name)] if one.name else []
    known = [line.figure for line in lines if line.figure is not None]
    notes = [BESIDE_NOISE if any(place(f) is not None for f in known) else BESIDE] * any(f.floor for f in known)
    if one.judges:
        notes.append(f"The judge is {', '.join(one.judges)}; values under another one do not compare.")
    if notes:
        parts.append(tag("p", " ".join(notes), class_="soft"))
    parts.append(table([[row[i] for i in columns] for row in rows], tuple(headings[i] for i in columns), one.about))
    if by_label:
        body = table([[_row(line, {})[i] for i in columns] for line in by_label], tuple(headings[i] for i in columns))
        parts.append(tag("details", tag("summary", f"agreement with each of {len(by_label)} labels"), body))
    if one.notes:
        parts.append(tag("ul", *(tag("li", note) for note in one.notes), class_="soft"))
    return join(parts)


def _row(line: Line, meanings: Mapping[str, str]) -> tuple[object, ...]:
    label = line.name.startswith(BY_LABEL)
    words = "" if label else meaning(line.name if line.figure is None else line.figure.name, meanings)
    name = line.name.removeprefix(BY_LABEL) if label else line.name
    return (_name_cell(name, words), *line.cells, "" if line.figure is None else meter(line.figure))


def meter(figure: Metric) -> Markup:
    """A dot on the way from real (left) to noise (right), at the edge when it is beyond; nothing when not known."""
    part = place(figure)
    if part is None:
        return Markup("")
    at = 7 + 106 * min(1.0, max(0.0, part))
    label = f"{part:.0%} of the way from real examples to noise"
    bar, dot = tag("rect", x=5, y=6, width=110, height=2), tag("circle", cx=f"{at:.1f}", cy=7, r=5)
    return tag("svg", bar, dot, viewBox="0 0 120 14", class_="meter", role="img", aria_label=label)
