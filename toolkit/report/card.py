"""README.md of a run: a model card with the front matter that model hubs read, from the same facts as the page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from toolkit import recipe as recipes
from toolkit.errors import UsageError
from toolkit.evaluation.table import Metric
from toolkit.recipe.expected import ExpectedMetric
from toolkit.report.facts import RunFacts
from toolkit.report.figures import Evaluation
from toolkit.report.html import clean
from toolkit.report.mark import mark
from toolkit.report.text import commands, exactness, summary, unfinished

LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


def card(facts: RunFacts, license: str = "unknown") -> str:
    """Return front matter and text. `license`: an identifier such as mit or cc-by-4.0. Raises UsageError for others."""
    check_license(license)
    own = next((one for one in facts.judged if not one.name), None)
    metrics = own.with_value if own is not None else []
    parts = [front(facts, license.lower(), metrics), f"# {md(facts.title)}", md(summary(facts))]
    if sentence := unfinished(facts):
        parts.append(f"**{md(sentence)}**")
    if facts.recipe.description:
        parts.append(md(facts.recipe.description))
    names = {name for name, _ in facts.files}
    pictures = [("Samples", "previews/final.png"), ("From noise to sample", "previews/noise-to-sample.png")]
    parts += [f"![{sentence}]({name})" for sentence, name in pictures if name in names]
    if own is not None and metrics:
        parts += ["## Measured", _table(own, facts.recipe.expected.figures), *(f"- {md(note)}" for note in own.notes)]
    if facts.data.labels:
        parts += [
            "## Labels",
            md(", ".join(facts.data.labels[:100])) + (" ..." if len(facts.data.labels) > 100 else ""),
        ]
    parts += [
        "## Use",
        _fence("\n".join(f"# {what}\n{line}" for what, line in commands(facts)), "bash"),
        exactness(facts),
    ]
    parts += ["## Recipe", _fence(recipes.dump(facts.recipe).strip(), "toml")]
    trained = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.machine.items())
    if trained:
        parts += ["## Trained on", md(trained)]
    return mark(clean("\n\n".join(parts)) + "\n")


def check_license(license: str) -> None:
    """Raise UsageError when `license` is no identifier such as mit or cc-by-4.0."""
    if not LICENSE.fullmatch(license):
        raise UsageError(f"--license takes an identifier such as mit, apache-2.0 or cc-by-4.0, not '{license}'")


def front(facts: RunFacts, license: str, metrics: list[Metric]) -> str:
    """The YAML between the two lines of dashes. All text is in double quotes, where YAML reads JSON's escapes."""
    diffusion = facts.recipe.diffusion
    schedule = diffusion.schedule if isinstance(diffusion.schedule, str) else diffusion.schedule["name"]
    tags = dict.fromkeys([facts.kind, "diffusion", "diffusion-toolkit", schedule, f"{diffusion.prediction}-prediction"])
    lines = ["---", f"license: {_quote(license)}", 'library_name: "diffusion-toolkit"', "tags:"]
    lines += [f"- {_quote(word)}" for word in tags]
    names = list(dict.fromkeys(figure.name for figure in metrics)) or ["loss"]
    lines += ["metrics:", *(f"- {_quote(name)}" for name in names)]
    if metrics:
        data = facts.source or facts.kind
        lines += ["model-index:", f"- name: {_quote(facts.title)}", "  results:", "  - task:"]
        lines += [f"      type: {_quote(f'{facts.kind}-generation')}", "    dataset:"]
        lines += [f"      name: {_quote(data)}", f"      type: {_quote(data)}", "    metrics:"]
        for figure in metrics:
            lines += [f"    - type: {_quote(figure.name)}", f"      name: {_quote(figure.title)}"]
            lines += [f"      value: {json.dumps(figure.value)}"]
    return "\n".join([*lines, "---"])


def _quote(text: str) -> str:
    return json.dumps(clean(text), ensure_ascii=False)


def _table(one: Evaluation, expected: Mapping[str, ExpectedMetric]) -> str:
    headings, cells = one.cells(expected)
    rows = [[md(cell) for cell in row] for row in (headings, *cells)]
    rows.insert(1, ["---"] * len(headings))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def md(text: str) -> str:
    """`text` as Markdown that says the same: nothing in it is markup or HTML, and it stays on one line."""
    plain = " ".join(clean(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", plain)


def _fence(text: str, language: str) -> str:
    """A block of code, in more backticks than any row of them in it."""
    longest = max((len(row) for row in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"
