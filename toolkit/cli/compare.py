"""`toolkit compare`: which of two runs is better on held-out examples, at the same noise, and how sure that is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.console import print_table
from toolkit.cli.sample import step_of
from toolkit.console import notify, one_line
from toolkit.errors import UsageError

Widths = Annotated[
    str | None, typer.Option(metavar="WIDTH[,WIDTH]", help="Average of the weights: of both, or of A and of B.")
]
"""--ema of two runs"""
Steps = Annotated[str | None, typer.Option(metavar="N|best[,N|best]", help="Checkpoint: of both, or of A and of B.")]
"""--step of two runs"""


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A run's folder, e.g. runs/digits.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another run's, or the same.")],
    n: Annotated[int, typer.Option("-n", min=4, help="Held-out examples, where there are so many.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the examples' noise.")] = 0,
    ema: Widths = None,
    step: Steps = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    modality: Annotated[str | None, typer.Option(metavar="FILE.py", help="For runs of your own modality.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
) -> None:
    """The difference of two runs in held-out loss, on the same examples, times and noise, with its 95 % interval.

    Runs of the same data compare whatever they predict, under any schedule and weighting: the error of the denoised
    example is compared at equal noise. Two averages or checkpoints of one run compare too: toolkit compare RUN RUN
    --ema 0.05,0.1
    """
    say = (lambda line: print(one_line(line), file=sys.stderr)) if as_json else notify
    widths, steps = pair(ema, "--ema"), pair(step, "--step")
    names = tuple(name_of(run, width, at) for run, width, at in zip((a, b), widths, steps, strict=True))

    import toolkit
    from toolkit.evaluation.paired import compare as paired

    runs = [
        toolkit.load(run, device, width_of(width), step_of(at), say, modality)
        for run, width, at in zip((a, b), widths, steps, strict=True)
    ]
    comparison = paired(runs[0], runs[1], (names[0], names[1]), n, seed, notify=say)
    if as_json:
        print(json.dumps(comparison.to_mapping(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    print_table(
        comparison.rows(), ("noise, sigma / alpha", f"A: {names[0]}", f"B: {names[1]}", "B - A", "95 % interval")
    )
    print(f"\n{comparison.what}; in all, the {comparison.weighted}; {comparison.overall.n:,} held-out examples")
    print(one_line(comparison.sentence))


def pair(text: str | None, option: str) -> tuple[str | None, str | None]:
    """One value for both runs, or one for each: "0.05,0.1". Raises UsageError."""
    parts = [None] if text is None else [part.strip() for part in text.split(",")]
    if len(parts) > 2 or "" in parts:
        raise UsageError(f"{option} takes one value for both runs or two, as 0.05,0.1; not '{text}'")
    return parts[0], parts[-1]


def width_of(text: str | None) -> float | None:
    """Return the width that --ema names. Raises UsageError."""
    try:
        return None if text is None else float(text)
    except ValueError:
        raise UsageError(f"--ema takes the width of an average, e.g. 0.05, not '{text}'") from None


def name_of(run: Path, width: str | None, step: str | None) -> str:
    """Return the name of a network in a table: "runs/a, EMA 0.05, step best"."""
    parts = [str(run), f"EMA {width}" if width else "", f"step {step}" if step else ""]
    return ", ".join(part for part in parts if part)
