"""Evaluation of samples into a table on disk, for `toolkit evaluate` and for scripts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolkit.errors import DataError, UsageError
from toolkit.evaluation.evaluator import Evaluator
from toolkit.evaluation.nearest_picture import nearest_picture
from toolkit.evaluation.table import EvaluationResult, Metric, Table
from toolkit.modality import Examples, Modality, Options
from toolkit.run.layout import EVALUATION, refuse_links
from toolkit.training.storage.files import make_folder, write_stream_atomic, write_text_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

    from toolkit.run.generator import Generator
    from toolkit.run.samples import Samples

METRICS = "metrics.json"
OVERVIEW = 64
"""Samples in samples.png."""
MAX_STEP = 10**18
"""Steps are below it."""
HELD_OUT = 128
"""Held-out examples whose bits are counted."""


def examples(samples: Samples) -> Examples:
    """Return samples as raw examples with their labels, numbered as the data's; "none" is the null label."""
    names = {name: i for i, name in enumerate(samples.modality.labels)}
    numbers = torch.tensor([names.get(label, len(names)) for label in samples.labels], dtype=torch.int64)
    return Examples(samples.raw, {"label": numbers} if samples.labels else {})


def judge_samples(
    real: Modality,
    samples: Examples,
    about: dict[str, Any],
    options: Options | None = None,
    notify: Callable[[str], None] = print,
) -> tuple[Table, EvaluationResult]:
    """Return the metrics of samples beside an opened data set. `options`: `EvaluationOptions` of the modality.

    Raises UsageError, DataError.
    """
    start = time.monotonic()
    evaluator, data = evaluator_of(real), real.splits
    assert data is not None
    result = evaluator.metrics(samples, data, options or real.EvaluationOptions(), notify)
    counts = {"train": len(data.train), "test": len(data.test), "samples": len(samples.raw)}
    about = {**about, **counts, "judging_seconds": round(time.monotonic() - start, 1)}
    return Table(tuple(result.figures), about), result


def bits(generator: Generator, real: Modality, notify: Callable[[str], None] = print) -> list[Metric]:
    """Return the bits of held-out examples of an opened data set, with the terms. Raises UsageError, DataError."""
    evaluator = evaluator_of(real)
    if not evaluator.counts_bits:
        raise UsageError(f"modality '{real.name}' has no likelihood: its evaluator counts no bits")
    assert real.splits is not None
    return evaluator.likelihood(generator.denoiser, generator.time_distribution, real.splits, HELD_OUT, notify)


def evaluator_of(modality: Modality) -> Evaluator:
    """Return the evaluator of a modality. Raises UsageError where it has none."""
    if (evaluator := modality.evaluator()) is None:
        raise UsageError(f"modality '{modality.name}' cannot be evaluated: it has no evaluator")
    return evaluator


def about_run(run: Path, generator: Generator, how: dict[str, Any]) -> dict[str, Any]:
    """Return how samples of a run are drawn: by the recipe's settings, or those in `how`."""
    recipe, usual = generator.recipe, generator.recipe.sample
    return {
        "subject": str(run),
        "modality": recipe.modality,
        "data": str(recipe.data.get("source", recipe.modality)),
        "step": generator.step,
        "ema": generator.ema,
        "sampler": _text(how.get("sampler", usual.sampler)),
        "grid": _text(usual.grid),
        "steps": int(how.get("steps", usual.steps)),
        "restarts": int(how.get("restarts", usual.restarts)),
        "guidance": float(how.get("guidance", usual.guidance)),
    }


def place(generator: Generator, name: str) -> Path:
    """Return the folder for the results of a loaded run: RUN/evaluation/NAME for those of its end, else NAME_step-N.

    Of a run that has gone on, results of its earlier end move to their own folder first. Raises UsageError where a
    folder of the run is a link.
    """
    assert generator.run is not None and generator.step is not None
    home = generator.run / EVALUATION
    refuse_links(generator.run, home / name)
    if generator.step != generator.recipe.train.steps:
        return home / _of_step(name, generator.step)
    try:
        table = Table.read(home / name / METRICS)
    except DataError:
        return home / name  # nothing to keep
    before = table.about.get("step")
    if type(before) is int and 0 <= before < MAX_STEP and before != generator.step:
        old = home / _of_step(name, before)
        again = 2
        while old.exists():
            old, again = home / f"{_of_step(name, before)}-{again}", again + 1
        old.mkdir()
        for path in [path for path in (home / name).iterdir() if path.is_file()]:
            path.rename(old / path.name)
    return home / name


def _of_step(name: str, step: int) -> str:
    return f"{name}_step-{step}".lstrip("_")


def write(table: Table, result: EvaluationResult, real: Modality, samples: Examples | None, folder: Path) -> list[Path]:
    """Write metrics.json and pictures into `folder`, in place of earlier ones; return their paths.

    Raises StorageError.
    """
    make_folder(folder)
    paths = [folder / METRICS]
    write_text_atomic(paths[0], table.to_json())
    if samples is None:
        return paths
    paths.append(folder / "samples.png")
    _save(real.preview(samples.raw[:OVERVIEW]), paths[1])
    if result.nearest is not None and result.distance is not None:
        paths.append(folder / "nearest.png")
        _save(nearest_picture(real, samples.raw, result.nearest, result.distance), paths[2])
    return paths


def _save(picture: Image, path: Path) -> None:
    write_stream_atomic(path, lambda stream: picture.save(stream, "PNG"))


def _text(spec: str | dict[str, Any]) -> str:
    """Return a name, with its options if it has any: "heun", "karras rho=5"."""
    if isinstance(spec, str):
        return spec
    return " ".join([str(spec["name"]), *(f"{key}={value}" for key, value in spec.items() if key != "name")])
