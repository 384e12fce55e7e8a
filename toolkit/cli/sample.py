"""`toolkit sample`: pictures (or sounds, or text) from a run that was trained before."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from toolkit.cli.console import console, notify
from toolkit.cli.modality_help import value_of
from toolkit.cli.modality_options import declared_options, parse_modality_options, string_options
from toolkit.errors import StorageError, UsageError
from toolkit.modality import Options

LONGEST = 150
"""Bytes of a folder's name, of 255 that most file systems take."""


def sample(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The run's folder, e.g. runs/digits.")],
    n: Annotated[int | None, typer.Option("-n", min=1, help="How many; 64 unless other options say it.")] = None,
    label: Annotated[str | None, typer.Option(help="Only this label; otherwise all of them in turn.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="1 = off; more follows the label closer.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, heun, dpm++2m, unipc, ...")] = None,
    restarts: Annotated[
        int | None, typer.Option(min=0, help="How often the last steps are taken again, with noise added.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Samples at once; changes speed, not samples.")] = 64,
    ema: Annotated[
        float | None, typer.Option(metavar="WIDTH", help="Which average of the weights: the run's two, or between.")
    ] = None,
    step: Annotated[
        str | None, typer.Option(metavar="N|best", help="Which checkpoint; best: of the lowest held-out loss.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: RUN/samples/...")] = None,
    modality: Annotated[str | None, typer.Option(metavar="FILE.py", help="For a run of your own modality.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
) -> None:
    """Sample a trained run: one picture, single files, and a page to listen on where there is something to hear.

    Further options depend on the run's modality, such as --seconds 2 or --temperature 0.9: `toolkit sample RUN --help`
    shows those of a run.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    import toolkit
    from toolkit.recipe.check import checked

    given = {"label": label, "steps": steps, "guidance": guidance, "sampler": sampler, "restarts": restarts}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    generator = toolkit.load(run, device=device, ema=ema, step=step_of(step), notify=notify, modality=modality)
    kind = generator.modality
    further = parse_modality_options(
        context.args,
        kind.Ask.model_fields,
        f"a run of modality '{kind.name}'",
        declared_options(context),
        string_options(kind.Ask),
    )
    asked = checked(kind.Ask, further, "sample", "--")
    n = n or kind.count(asked) or 64
    screen = console()
    columns = (TextColumn("sampling"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        start = time.monotonic()
        samples = generator.sample(n, seed=seed, batch=batch, progress=progress, **options, **further)
        seconds = time.monotonic() - start
    if step is not None:
        options["step"] = step
    folder = out.expanduser() if out else run.expanduser() / "samples" / folder_name({**options, **further}, ema, seed)
    try:
        overviews = [path for path in samples.save(folder) if path.name in ("grid.png", "index.html")]
    except OSError as error:
        raise StorageError(f"cannot write the samples to {folder}: {error.strerror or error}") from None
    rate = f"{n} samples in {seconds:.2f} s, {n / max(seconds, 1e-9):.1f} samples/s"
    for line in kind.lines(samples.raw, samples.labels):
        print(line)
    print("; ".join(part for part in (rate, kind.rate_note(samples.raw, seconds)) if part))
    for path in overviews:
        print(f"{'grid' if path.suffix == '.png' else 'page'}: {path}")
    print(f"single files: {folder}")


def step_of(text: str | None) -> int | Literal["best"] | None:
    """What --step means. Raises UsageError."""
    if text is None or text == "best":
        return None if text is None else "best"
    if not text.isdecimal():
        raise UsageError(f"--step takes the number of a step, or best, not '{text}'")
    return int(text)


def further(typed: Sequence[str]) -> Iterator[tuple[str, type[Options]]]:
    """What can be asked of the run that a command line names, for its help. Raises UsageError."""
    from toolkit.modality import BUILT_IN, find
    from toolkit.run.generator import read_run

    runs = [word for word in typed if not word.startswith("-") and Path(word).expanduser().is_dir()]
    name = value_of("--modality", typed)
    if runs and name is None:
        name = read_run(Path(runs[0]).expanduser())[0].modality
        if name not in BUILT_IN:
            return  # it may be a stranger's, and its modality is code
    if name is not None:
        yield f"a run of modality {name}", find(name).Ask


def folder_name(options: dict[str, object], ema: float | None, seed: int) -> str:
    """A folder for these options: two different calls must not overwrite each other.

    What a name cannot hold, characters or more than `LONGEST` bytes, is told apart by a hash at its end.
    """
    given = {**options, "seed": seed} if ema is None else {**options, "ema": ema, "seed": seed}
    text = "_".join(f"{key}-{value}" for key, value in given.items())
    string_options = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in text)
    if string_options == text and len(string_options.encode()) <= LONGEST:
        return string_options
    short = string_options.encode()[:LONGEST].decode(errors="ignore")
    return f"{short}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
