"""The report as one HTML page: no script, no request, and a policy that forbids both."""

from __future__ import annotations

from collections.abc import Callable

from toolkit import recipe as recipes
from toolkit.report import sections
from toolkit.report.data_section import data
from toolkit.report.facts import RunFacts, passes
from toolkit.report.html import Markup, join, table, tag
from toolkit.report.media import Album
from toolkit.report.style import STYLE
from toolkit.report.text import commands, duration, exactness, size, summary, unfinished

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)

GENERATOR = '<meta name="generator" content="diffusion-toolkit">'

Piece = Callable[[RunFacts, Album], "Markup | None"]


def page(facts: RunFacts) -> str:
    """The whole document. What the run does not have is left out."""
    # what a page of players or texts shows, its pictures only draw
    album = Album(facts.run, drawings=any((facts.run / "previews").glob("*.html")))
    # what matters most takes its pictures first, should there not be room for all
    bodies = {
        "Samples": sections.samples(facts, album),
        "From noise to sample": sections.film(facts, album),
        "Measured": sections.evaluation(facts, album),
        "Expected": sections.figures_elsewhere(facts),
        "Training": sections.training(facts),
        "Data": data(facts),
        "How it came to be": sections.history(facts, album),
        "Recipe": recipe(facts),
        "Do it again": again(facts),
        "Machine": machine(facts),
        "Files": files(facts),
    }
    parts = {title: body for title, body in bodies.items() if body}
    anchors = [(title, title.lower().replace(" ", "-")) for title in parts]
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for title, anchor in anchors]
    body = [
        tag(
            "section",
            tag("h2", title, id=f"{anchor}-title"),
            parts[title],
            id=anchor,
            aria_labelledby=f"{anchor}-title",
        )
        for title, anchor in anchors
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{GENERATOR}
{tag("title", facts.title, ": a diffusion model")}
<style>{STYLE}</style>
</head>
<body>
{header(facts, join(links))}
{tag("main", *body)}
{footer(facts, album)}
</body>
</html>
"""


def header(facts: RunFacts, links: Markup) -> Markup:
    """Title, summary, and the four numbers to take away."""
    of = f" of {facts.steps:,}" if facts.steps and facts.step < facts.steps else ""
    often = passes(facts)
    tiles = [
        ("parameters", f"{facts.parameters:,}" if facts.parameters else ""),
        ("steps", f"{facts.step:,}{of}"),
        ("passes over the data", f"{often:,.3g}" if often is not None else ""),
        ("training time", duration(facts.seconds) if facts.seconds is not None else ""),
    ]
    warning = unfinished(facts)
    return tag(
        "header",
        tag("h1", facts.title),
        tag("p", f"{facts.kind} · recipe {facts.recipe.name}", class_="kind"),
        tag("p", warning.replace("`", ""), class_="warn", role="status") if warning else None,
        tag("p", summary(facts), class_="lead"),
        tag("p", facts.recipe.description, class_="soft") if facts.recipe.description else None,
        tag("dl", *(tag("div", tag("dt", what), tag("dd", much)) for what, much in tiles if much), class_="tiles"),
        tag("nav", tag("ul", links), aria_label="Sections"),
    )


def recipe(facts: RunFacts) -> Markup:
    """The resolved recipe, folded, with the choices that matter most in front."""
    diffusion, sample = facts.recipe.diffusion, facts.recipe.sample
    chosen = [
        ("schedule", diffusion.schedule), ("the network predicts", diffusion.prediction),
        ("sampler", f"{_name(sample.sampler)}, {sample.steps} steps on grid {_name(sample.grid)}{_again(sample)}"),
        ("guidance", f"{sample.guidance:g}" + (" (off)" if sample.guidance == 1 else "")),
    ]  # fmt: skip
    rows = [(what, _name(value)) for what, value in chosen]
    toml = tag("details", tag("summary", "recipe.toml, all of it"), tag("pre", recipes.dump(facts.recipe)))
    return join([table(rows), toml])


def _again(sample: recipes.Sample) -> str:
    return f", then {sample.restarts} times the last {sample.back} again" if sample.restarts else ""


def _name(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    options = ", ".join(f"{key} = {option}" for key, option in value.items() if key != "name")
    return f"{value.get('name')} ({options})" if options else str(value.get("name"))


def again(facts: RunFacts) -> Markup:
    """Commands."""
    lines = "\n\n".join(f"# {what}\n{command}" for what, command in commands(facts))
    return join([tag("pre", lines), tag("p", exactness(facts), class_="soft")])


def machine(facts: RunFacts) -> Markup:
    """Return the machine of the training, as far as the run says, beside that of the report."""
    keys = list(dict.fromkeys([*facts.machine, *facts.here]))
    precision = f"train.precision = {facts.recipe.train.precision}"
    lack = "The processor of the training is not stored in this run. " if "processor" not in facts.machine else ""
    note = tag("p", lack, f"Precision asked for: {precision}, in layout {facts.recipe.train.layout}.", class_="soft")
    rows = [(key.replace("_", " "), facts.machine.get(key, ""), facts.here.get(key, "")) for key in keys]
    return join([note, table(rows, ("", "while training", f"report, {facts.made}"))])


def files(facts: RunFacts) -> Markup | None:
    """Names and sizes."""
    if not facts.files:
        return None
    rows = [(name, size(count)) for name, count in facts.files]
    whole = sum(count for _, count in facts.files)
    head = tag("summary", f"{len(rows):,} entries, {size(whole)}")
    return tag("details", head, tag("div", table(rows, ("file", "size")), class_="files"))


def footer(facts: RunFacts, album: Album) -> Markup:
    """Return the end of the page: its date, and what there was no room for."""
    omissions = f" Left out to keep the page small: {', '.join(album.omitted)}." if album.omitted else ""
    return tag("footer", tag("p", f"Made by `toolkit report` on {facts.made}.".replace("`", ""), omissions))
