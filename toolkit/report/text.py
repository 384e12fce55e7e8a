"""The sentences and commands that the page and the card have in common."""

from __future__ import annotations

import shlex
from pathlib import Path

from toolkit import console
from toolkit.discovery import built_in
from toolkit.report.facts import RunFacts, of_modality, passes
from toolkit.view import View


def summary(facts: RunFacts) -> str:
    """Return a summary: network, data, duration and machine of the training."""
    train, data = facts.recipe.train, facts.data
    size = f" with {facts.parameters:,} parameters" if facts.parameters else ""
    source = f" of '{facts.source}'" if facts.source else ""
    labels = f" with {len(data.labels):,} label{'s' * (len(data.labels) != 1)}" if data.labels else ""
    first = (
        f"A diffusion model{size}, trained from scratch on {data.count:,} {facts.kind} examples{source}{labels}, "
        f"each of shape {' x '.join(map(str, data.shape))}."
    )
    examples = facts.step * train.batch
    often = passes(facts)
    took = "took" if facts.status == "finished" else "has taken"
    around = f", {often:,.3g} passes over the data" if often is not None and often >= 0.01 else ""
    time = f" in {duration(facts.seconds)} of optimiser time" if facts.seconds is not None else ""
    steps = f"{facts.step:,} steps of {train.batch:,} examples ({examples:,} in all{around})"
    second = f"Training {took} {steps}{time}{_where(facts)}."
    return f"{first} {second}" if facts.step else f"{first} It has not taken a step that was logged or saved yet."


def _where(facts: RunFacts) -> str:
    machine = facts.machine
    name = machine.get("gpu") if machine.get("device", "cpu").startswith("cuda") else machine.get("processor")
    parts = [f"on {name}"] if name else []
    if "threads" in machine:
        parts.append(
            f"with {machine['threads']} thread{'s' * (machine['threads'] != '1')} of torch {machine.get('torch', '?')}"
        )
    return " " + " ".join(parts) if parts else ""


def duration(seconds: float) -> str:
    """6.2 -> "6.2 s", 640 -> "10:40 min", 7200 -> "2:00:00 h"."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{console.duration(seconds)} {'min' if seconds < 3600 else 'h'}"


def unfinished(facts: RunFacts) -> str:
    """One line on a run that is not at its end; "" for one that is."""
    if facts.status == "finished":
        return ""
    of = f"step {facts.step:,}" + (f" of {facts.steps:,}" if facts.steps else "")
    if facts.status == "training":
        return f"This run is still training: {of}. What is missing here comes later; make the report again then."
    return f"This run stopped at {of}. The same `toolkit train` command goes on from its last checkpoint."


def commands(facts: RunFacts) -> list[tuple[str, str]]:
    """(what it does, command) for training it again, and for using it."""
    run = shlex.quote(facts.run.as_posix())
    foreign = "" if facts.recipe.modality in built_in() else f" --modality {shlex.quote(home(facts.recipe.modality))}"
    last = of_modality(facts, lambda modality: modality.view().counts[1], View.counts[1])
    again = shlex.quote(f"{facts.run.as_posix()}-again")
    rows = [
        ("train it again, from the same seed", f"toolkit train --recipe {run}/recipe.toml{foreign} --out {again}"),
        (
            "the samples of the last picture",
            f"toolkit sample {run}{foreign} -n {last} --seed {facts.recipe.train.seed}",
        ),
    ]
    if facts.data.labels:
        label = shlex.quote(facts.data.labels[0])
        rows.append(("samples of one label", f"toolkit sample {run}{foreign} -n 16 --label {label}"))
    if facts.recipe.expected.figures:
        rows.append(
            ("train, measure and compare with what is expected", f"toolkit reproduce {run}/recipe.toml{foreign}")
        )
    if any(not one.name for one in facts.judged):
        rows.append(("the figures above", f"toolkit evaluate {run}{foreign}"))
    rows.append(("this report again", f"toolkit report {run}"))
    return rows


def home(path: str) -> str:
    """A path without the name of the user's own folder."""
    own = str(Path.home())
    return f"~{path[len(own) :]}" if path.startswith(f"{own}/") else path


def exactness(facts: RunFacts) -> str:
    """Return how equal a repetition is."""
    train = facts.recipe.train
    length = f"{facts.steps:,} steps" if facts.steps else f"{train.minutes or 0:g} minutes"
    clocked = (
        " Where a run goes by the clock, its length is corrected on the way, and the learning rate with it: as many "
        "steps again follow the plain schedule, which is near it and not the same."
    )
    return (
        f"recipe.toml fixes every option, the {length} and the seed {train.seed}; all that "
        "is random follows from the seed. On another processor, with another number of threads or another torch, "
        f"the last digits differ.{clocked if train.minutes is not None else ''}"
    )


def size(count: int) -> str:
    """98783 -> "98.8 kB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"
