"""`toolkit sample`: pictures (or sounds, or text) from a run that was trained before."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from toolkit.cli import complete
from toolkit.cli.modality_options import declared_options, modality_of, parse_modality_options, string_options
from toolkit.console import notify, track
from toolkit.errors import StorageError, UsageError
from toolkit.modality import Options

Width = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="WIDTH",
        help="Which average of the weights: the run's two, or between; 0: the last weights.",
        autocompletion=complete.widths,
    ),
]
"""--ema"""
Step = Annotated[
    str | None, typer.Option(metavar="N|best", help="Which checkpoint; best: of the lowest held-out loss.")
]
"""--step"""
LONGEST = 150
"""Bytes of a folder's name, of 255 that most file systems take."""


def sample(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The run's folder, e.g. runs/digits.", autocompletion=complete.runs)],
    n: Annotated[int | None, typer.Option("-n", min=1, help="How many; 64 unless other options say it.")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Only these labels, in turn; otherwise all of them.",
            autocompletion=complete.labels,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="1 = off; more follows the label closer.")] = None,
    rescale: Annotated[
        float | None, typer.Option(min=0, max=1, help="How far guided samples keep the contrast of unguided ones.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Log-SNR between which guidance acts, or everywhere.")
    ] = None,
    clip: Annotated[
        bool | None, typer.Option("--clip/--no-clip", help="Limit each estimate to the range of the data.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|TABLE",
            help="ddim, heun, dpm++2m, ... or {name='ddpm', error='unit'}.",
            autocompletion=complete.samplers,
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|TABLE",
            help="log-snr, karras, uniform, ...: the times of the steps.",
            autocompletion=complete.grids,
        ),
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(min=0, help="How often the last steps are taken again, with noise added.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Samples at once; changes speed, not samples.")] = 64,
    ema: Width = None,
    step: Step = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: RUN/samples/...")] = None,
    modality: Annotated[str | None, typer.Option(metavar="FILE.py", help="For a run of your own modality.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", autocompletion=complete.devices)] = None,
) -> None:
    """Sample a trained run: one picture, single files, and a page to listen on where there is something to hear.

    Further options depend on the run's modality, such as --seconds 2 or --temperature 0.9: `toolkit sample RUN --help`
    shows those of a run.
    """
    from toolkit.recipe import typed
    from toolkit.recipe.check import validate
    from toolkit.run import sample_folder
    from toolkit.run.generator import load
    from toolkit.run.layout import refuse_links

    values: dict[str, Any] = {"label": label, "steps": steps, "guidance": guidance, "sampler": sampler}
    values |= {"restarts": restarts, "grid": grid, "rescale": rescale, "interval": interval, "clip": clip}
    overrides = {key: value for key, value in values.items() if value is not None}
    options = {key: typed(value) if key in ("sampler", "grid") else value for key, value in overrides.items()}
    if interval is not None:
        options["interval"] = between(interval)
    overrides |= {} if step is None else {"step": step}
    generator = load(run, device=device, ema=ema, step=step_of(step), notify=notify, modality=modality)
    kind = generator.modality
    further = parse_modality_options(
        context.args,
        kind.SampleOptions.model_fields,
        f"a run of modality '{kind.name}'",
        declared_options(context),
        string_options(kind.SampleOptions),
    )
    asked = validate(kind.SampleOptions, further, "sample", "--")
    n = n or kind.conditioning().count(asked) or 64
    folder = (
        out.expanduser() if out else run.expanduser() / "samples" / folder_name({**overrides, **further}, ema, seed)
    )
    refuse_links(run.expanduser(), folder)
    about = sample_folder.request(generator, n, seed, {**overrides, **further})
    folder = sample_folder.place(folder, about, exact=out is not None)
    start = time.monotonic()
    samples = track(generator.steps(n, seed=seed, batch=batch, **options, **further), "sampling").samples
    seconds = time.monotonic() - start
    try:
        sample_folder.record(folder, about)
        overviews = [path for path in samples.save(folder) if path.name in ("grid.png", "index.html")]
    except OSError as error:
        raise StorageError(f"cannot write the samples to {folder}: {error.strerror or error}") from None
    rate = f"{n} samples in {seconds:.2f} s, {n / max(seconds, 1e-9):.1f} samples/s"
    for line in kind.view().lines(samples.raw, samples.labels):
        print(line)
    print("; ".join(part for part in (rate, kind.view().rate(samples.raw, seconds)) if part))
    for path in overviews:
        notify(f"{'grid' if path.suffix == '.png' else 'page'}: {path}")
    notify(f"single files: {folder}")


def step_of(text: str | None) -> int | Literal["best"] | None:
    """Return the step that --step names. Raises UsageError."""
    if text is None or text == "best":
        return None if text is None else "best"
    if not text.isdecimal():
        raise UsageError(f"--step takes the number of a step, or best, not '{text}'")
    return int(text)


def further(typed: Sequence[str]) -> Iterator[tuple[str, type[Options]]]:
    """Yield the options of the run that a command line names, for its help. Raises UsageError."""
    kind = modality_of(typed)
    if kind is not None:
        yield f"a run of modality {kind.name}", kind.SampleOptions


def between(text: str) -> tuple[float, float]:
    """Return the ends of an interval of log-SNR typed as "-2,3" or "everywhere". Raises UsageError."""
    try:
        low, high = (-math.inf, math.inf) if text == "everywhere" else map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--interval takes LOW,HIGH, e.g. --interval=-2,3, or everywhere, not '{text}'") from None
    return low, high


def folder_name(options: dict[str, object], ema: float | None, seed: int) -> str:
    """A folder for these options: two different calls must not overwrite each other.

    What a name cannot hold, characters or more than `LONGEST` bytes, is told apart by a hash at its end.
    """
    settings = {**options, "seed": seed} if ema is None else {**options, "ema": ema, "seed": seed}
    text = "_".join(f"{key}-{value}" for key, value in settings.items())
    plain = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in text)
    if plain == text and len(plain.encode()) <= LONGEST:
        return plain
    short = plain.encode()[:LONGEST].decode(errors="ignore")
    return f"{short}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
