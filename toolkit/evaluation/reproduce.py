"""Train a recipe as it is, evaluate it as `toolkit evaluate` does, and compare with what the recipe expects."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import toolkit
from toolkit import recipe as recipes
from toolkit.errors import UsageError
from toolkit.evaluation.evaluate import about_run, bits, examples, judge_samples, place, write
from toolkit.evaluation.self_loss import OWN, self_loss_metrics
from toolkit.evaluation.table import EvaluationResult, Metric, Table, omission
from toolkit.modality import Modality
from toolkit.recipe import Recipe
from toolkit.recipe.expected import Expected, ExpectedMetric, Smoke
from toolkit.run.generator import load
from toolkit.run.prepare import prepare
from toolkit.run.train import TrainingRun
from toolkit.training.precision import features
from toolkit.training.storage.files import write_json_atomic

FORMAT = 1
FILE = "reproduction.json"

Verdict = Literal["pass", "falls short", "not compared"]


@dataclass(frozen=True)
class Row:
    """One expected metric, and the measured one."""

    band: ExpectedMetric
    figure: Metric
    verdict: Verdict
    note: str = ""

    @property
    def value_text(self) -> str:
        """Measured value with its interval."""
        metric, show = self.figure, self.band.text_of
        if metric.value is None:
            return "not measured"
        if metric.low is None or metric.high is None:
            return show(metric.value)
        return f"{show(metric.value)} ({show(metric.low)} to {show(metric.high)})"


@dataclass(frozen=True)
class Reproduction:
    """Measured metrics beside the expected ones."""

    recipe: str
    smoke: bool
    run: Path
    rows: tuple[Row, ...]
    expected: Expected | Smoke
    minutes: float
    """Duration from start to end; of a run that was resumed, of the last part."""

    @property
    def passed(self) -> bool:
        """True where all metrics that could be compared pass, and there is one."""
        verdicts = {row.verdict for row in self.rows}
        return "pass" in verdicts and "falls short" not in verdicts

    @property
    def line(self) -> str:
        """Verdict in one line."""
        compared = [row for row in self.rows if row.verdict != "not compared"]
        if self.passed:
            return f"{self.recipe}: pass ({len(compared)} of {len(self.rows)} figures compared)"
        missed = [row for row in compared if row.verdict != "pass"]
        short = [f"{row.figure.name} {row.value_text}, expected {row.band.text}" for row in missed]
        return f"{self.recipe}: falls short ({'; '.join(short) or 'no figure could be compared'})"

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of reproduction.json."""
        rows = []
        for row in self.rows:
            low, high = (end if abs(end) != float("inf") else None for end in row.band.ends)
            expected = {"value": row.band.value, "at_least": low, "at_most": high, "judge": row.band.judge}
            rows.append({"figure": asdict(row.figure), "expected": expected, "verdict": row.verdict, "note": row.note})
        origin = self.expected.model_dump(include={"machine", "date", "toolkit", "steps", "minutes", "n", "seed"})
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "smoke": self.smoke,
            "passed": self.passed,
            "toolkit": toolkit.__version__,
            "date": f"{date.today():%Y-%m-%d}",
            "minutes": round(self.minutes, 2),
            "machine": features(),
            "expected": origin,
            "figures": rows,
        }


def target_of(recipe: Recipe, smoke: bool = False) -> tuple[Recipe, Expected | Smoke]:
    """Return the recipe to train, and what is expected of it. Raises UsageError when the recipe does not say."""
    section: Expected | Smoke = recipe.smoke if smoke else recipe.expected
    if not section.figures:
        what = "smoke" if smoke else "expected"
        other = "" if smoke or not recipe.smoke.figures else "; --smoke has"
        raise UsageError(f"recipe '{recipe.name}' has no figures to compare with in [{what}] yet{other}")
    if isinstance(section, Smoke):
        # figures of the whole recipe do not hold for the small one, and its run must not claim them
        return recipes.replace(recipe, {**section.changes, **dict.fromkeys(recipes.MEASURED)}), section
    if recipe.train.steps is not None:
        return recipe, section
    if section.steps is None:
        raise UsageError(f"recipe '{recipe.name}' trains by the clock; [expected] must say how many steps that was")
    # as many as the measured run took: minutes would mean fewer on a slower machine
    return recipes.replace(recipe, {"train.steps": section.steps}), section


def finish(plan: TrainingRun) -> None:
    """Train to the end without output."""
    deque(plan.run(), maxlen=0)


def reproduce(
    recipe: Recipe,
    out: Path,
    smoke: bool = False,
    device: str | None = None,
    notify: Callable[[str], None] = print,
    train: Callable[[TrainingRun], None] = finish,
    threads: int | None = None,
) -> Reproduction:
    """Train into `out`, or go on there; evaluate, compare, and write OUT/evaluation/reproduction.json.

    `train` runs the training and may show its progress. Raises UsageError, DataError, and what a run raises.
    """
    start = time.monotonic()
    target, section = target_of(recipe, smoke)
    plan = prepare(target, out, device, notify, threads)
    train(plan)
    table = measure(plan, section, device, notify)
    name = f"{Path(recipe.modality).stem}/{recipe.name}"
    minutes = (time.monotonic() - start) / 60
    result = Reproduction(name, smoke, out, tuple(compare(table, section.figures)), section, minutes)
    write_json_atomic(out / "evaluation" / FILE, result.to_mapping())
    return result


def measure(
    plan: TrainingRun, section: Expected | Smoke, device: str | None = None, notify: Callable[[str], None] = print
) -> Table:
    """Measure the expected metrics of a run; write metrics.json and pictures where `toolkit evaluate` puts them, or to
    RUN/evaluation/reproduction where it would not measure like this by default.

    Only expected metrics are computed: for bits alone, which are called bits/..., nothing is sampled, and without
    metrics of a judge none is trained. Raises StorageError.
    """
    run, real = plan.out, plan.modality
    generator = load(run, device, section.sample.ema, notify=notify, modality=plan.recipe.modality).on(real)
    how = section.sample.model_dump(include={"steps", "guidance", "sampler"}, exclude_none=True) | section.sample.ask
    about = {**about_run(run, generator, how), "seed": section.seed}
    names = set(section.figures)
    of_samples = {name for name in names if not name.startswith("bits/")}
    batch, result = None, EvaluationResult([])
    table, further = Table((), {**about, "samples": 0}), []
    if of_samples:
        notify(f"sampling {section.n:,} to judge")
        start = time.monotonic()
        samples = generator.sample(section.n, seed=section.seed, **how)
        about["sampling_seconds"] = round(time.monotonic() - start, 1)
        batch = examples(samples)
        table = Table((), {**about, "samples": len(samples)})
        if of_samples - set(OWN):
            table, result = judge_samples(real, batch, about, notify=notify)
        if of_samples & set(OWN):
            further = self_loss_metrics(generator, real, samples, section.seed)
    if names - {metric.name for metric in (*table.figures, *further)} and _counts_bits(real):
        further = [*further, *bits(generator, real, notify)]
    table = Table((*table.figures, *further), table.about)
    usual = Expected()
    like_evaluate = (section.n, section.seed, section.sample) == (usual.n, usual.seed, usual.sample)
    home = place(generator, "" if like_evaluate else "reproduction")
    write(table, result, real, batch, home)
    return table


def _counts_bits(real: Modality) -> bool:
    evaluator = real.evaluator()
    return evaluator is not None and evaluator.counts_bits


def compare(table: Table, expected: dict[str, ExpectedMetric]) -> list[Row]:
    """Return the measured beside the expected metrics, in the order of `expected`."""
    return [_row(name, band, table) for name, band in expected.items()]


def _row(name: str, band: ExpectedMetric, table: Table) -> Row:
    if name not in table:
        return Row(band, omission(name, "was not measured"), "falls short", "this version measures no such figure")
    metric = table[name]
    if band.judge and metric.judge != band.judge:
        here = metric.judge or "none"
        return Row(band, metric, "not compared", f"expected under judge {band.judge}, and here it is {here}")
    if metric.value is None:
        return Row(band, metric, "falls short", metric.note)
    if band.holds(metric.value):
        return Row(band, metric, "pass")
    better = metric.better == ("lower" if metric.value < band.value else "higher")
    return Row(band, metric, "falls short", "better than was measured, which is no reproduction" if better else "")
