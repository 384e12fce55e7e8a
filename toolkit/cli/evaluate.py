"""`toolkit evaluate`: how good the samples of a run, of several, or of anyone are."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli import complete
from toolkit.cli.console import print_table
from toolkit.cli.modality_options import (
    declared_options,
    flags,
    modality_of,
    parse_modality_options,
    string_options,
    words_of,
)
from toolkit.cli.sample import Step, Width, folder_name, step_of
from toolkit.console import notify, one_line, track
from toolkit.errors import UsageError
from toolkit.paths import check_writable
from toolkit.recipe.check import validate

if TYPE_CHECKING:
    from toolkit.evaluation.table import Metric, Table
    from toolkit.modality import Examples, Modality, Options
    from toolkit.run.generator import Generator

SAMPLES = 1_000


def evaluate(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUNS]...", help="Folders of runs, e.g. runs/digits.", autocompletion=complete.runs),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Judge these files instead of a run's samples.")
    ] = None,
    reference: Annotated[str | None, typer.Option(metavar="DIR|NAME", help="Real examples to compare with.")] = None,
    modality: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.py", help="What the files are, or a run of your own modality.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", min=0, help=f"Samples of each run; default {SAMPLES}. 0: --likelihood alone.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the samples; default 0.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="1 = off; more follows the label closer.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, heun, dpm++2m, unipc, ...")] = None,
    restarts: Annotated[
        int | None, typer.Option(min=0, help="How often the last steps are taken again, with noise added.")
    ] = None,
    ema: Width = None,
    step: Step = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at once; changes speed, not samples.")] = 64,
    likelihood: Annotated[
        bool, typer.Option("--likelihood/--no-likelihood", help="What held-out examples cost in bits, too; slow.")
    ] = False,
    convergence: Annotated[
        bool, typer.Option("--convergence", help="Draw the loss over the noise levels, too: is it converged?")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: RUN/evaluation, or evaluation/NAME.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
) -> None:
    """Distances to real examples, diversity, agreement with the asked labels, and copies of training examples.

    Every figure stands beside what real examples and noise score. The judge is a small network that is trained once,
    on the real data. Folders of files can be judged too: --samples DIR --reference DIR; there, further options say
    how both are read: --size 32, --rate 8000. `toolkit evaluate RUN --help` shows the further options of a run.
    """
    from toolkit.evaluation.table import FORMAT

    say = (lambda line: print(one_line(line), file=sys.stderr)) if as_json else notify
    given = {"n": n, "seed": seed, "ema": ema, "steps": steps, "guidance": guidance, "sampler": sampler}
    given |= {"restarts": restarts, "step": step_of(step)}
    given = {key: value for key, value in given.items() if value is not None}
    if out is not None:
        check_writable(out.expanduser())
    folders, further = split([*(runs or []), *context.args])
    if samples is not None:
        if folders or reference is None:
            raise UsageError("--samples DIR goes with --reference DIR (or the name of a data set) and without runs")
        if given or likelihood or convergence:
            option = next(iter(given), "likelihood" if likelihood else "convergence")
            raise UsageError(f"{'-n' if option == 'n' else f'--{option}'} is for runs; --samples judges what is there")
        tables = [_folder(samples.expanduser(), reference, modality, further, declared_options(context), out, say)]
    else:
        if not folders or reference is not None:
            raise UsageError("which run? toolkit evaluate RUN, or toolkit evaluate --samples DIR --reference DIR")
        if out is not None and len(folders) > 1:
            raise UsageError("--out is for one run; leave it out to write into each run's own folder")
        paths = [Path(folder).expanduser() for folder in folders]
        ask: dict[str, Any] = {"batch": batch, "modality": modality, "device": device, "likelihood": likelihood}
        ask |= {"convergence": convergence, "further": further, "own": declared_options(context)}
        if n == 0 and not (likelihood or convergence):
            raise UsageError("-n 0 judges no samples, and asks for nothing else: add --likelihood or --convergence")
        if n == 0 and further:
            raise UsageError(f"-n 0 makes no samples, which {further[0]} is about; leave one out")
        tables = _runs(paths, given, ask, out, say)
    if as_json:
        whole = {"format": FORMAT, "tables": [table.to_mapping() for table in tables]}
        print(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False))
        return
    _print(tables)


def _print(tables: Sequence[Table]) -> None:
    from toolkit.evaluation.table import notes, rows

    headings, cells = rows(tables)
    print_table(cells, headings)
    for line in dict.fromkeys(line for table in tables for line in notes(table)):
        notify(line)
    if len({figure.judge for table in tables for figure in table.figures if figure.name == "KID"}) > 1:
        notify("these were judged by different judges, so only figures without a judge's name compare")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Runs, and options that only a modality knows: ["runs/a", "--size", "32", "runs/b"] -> a and b, --size 32."""
    from toolkit.discovery import built_in, find

    switches = set()
    if any(word.startswith("--") for word in arguments):
        for name in built_in():
            switches |= flags(find(name).EvaluationOptions)
    return words_of(arguments, switches)


def _folder(
    samples: Path,
    source: str,
    modality: str | None,
    further: Sequence[str],
    own: Sequence[str],
    out: Path | None,
    say: Callable[[str], None],
) -> Table:
    from toolkit.discovery import find
    from toolkit.evaluation import folders
    from toolkit.evaluation.evaluate import evaluator_of

    name = modality or folders.guess(samples)
    kind = find(name)
    judging = kind.EvaluationOptions
    known = [*(key for key in kind.Data.model_fields if key != "source"), *judging.model_fields]
    texts = string_options(kind.Data) | string_options(judging)
    typed = parse_modality_options(further, known, f"modality '{name}'", own, texts, flags(judging))
    options = validate(judging, {key: typed.pop(key) for key in judging.model_fields if key in typed}, "", "--")
    reading = evaluator_of(kind(kind.Data(), kind.Model())).reading(samples, source, typed)
    real = folders.reference(name, source, reading, say)
    examples = folders.collect(real, samples, say)
    shape = " x ".join(map(str, real.shape))
    say(f"both are read as {name} of {shape}")
    about = {"subject": str(samples), "modality": name, "data": source, "shape": shape}
    return _judge(real, examples, options, about, out or Path("evaluation") / (samples.name or "samples"), say)


def _runs(
    runs: Sequence[Path],
    given: dict[str, Any],
    ask: dict[str, Any],
    out: Path | None,
    say: Callable[[str], None],
) -> list[Table]:
    """given: n, seed, ema, step and the sampler's options, those that the user has set."""
    import toolkit
    from toolkit import paths
    from toolkit.evaluation.evaluate import about_run, bits, evaluator_of, examples, place
    from toolkit.run.data_block import changes
    from toolkit.run.layout import refuse_links

    how = {key: value for key, value in given.items() if key not in ("n", "seed", "ema", "step")}
    n, seed, ema, step = given.get("n", SAMPLES), given.get("seed", 0), given.get("ema"), given.get("step")
    asked = {key: value for key, value in given.items() if key not in ("seed", "ema", "step")}
    name = folder_name(asked, ema, seed) if given.keys() - {"step"} else ""
    opening = []
    for run in runs:  # all are looked at before the first is sampled, which takes long
        refuse_links(run, *([] if out is None else [out.expanduser()]))
        generator = toolkit.load(run, device=ask["device"], ema=ema, step=step, notify=say, modality=ask["modality"])
        real = generator.fresh_modality()
        evaluator_of(real)
        judging = real.EvaluationOptions
        whose = f"the evaluation of '{real.name}'"
        texts = string_options(judging)
        typed = parse_modality_options(ask["further"], judging.model_fields, whose, ask["own"], texts, flags(judging))
        options = validate(judging, typed, "", "--")
        opening.append((run, generator, real, options))
    made = []
    for run, generator, real, options in opening:
        real.open(paths.cache(), say)
        if n and real.splits is not None:
            evaluator_of(real).check(n, real.splits)  # better before sampling than after
        if changed := changes(generator.modality.facts, real.facts):
            say(f"the data changed since {run} was made ({', '.join(changed)}); it is judged beside what there is now")
        made.append((run, generator.on(real), real, options))
    tables = []
    for run, generator, real, options in made:
        about = about_run(run, generator, how) | {"seed": seed}
        sampled = None
        if n:
            say(f"sampling {run}")
            start = time.monotonic()
            sampled = examples(track(generator.steps(n, seed=seed, batch=ask["batch"], **how), "sampling").samples)
            about["sampling_seconds"] = round(time.monotonic() - start, 1)
        further = bits(generator, real, say) if ask["likelihood"] else []
        home = out or place(generator, name)
        tables.append(_judge(real, sampled, options, about, home, say, further))
        if ask["convergence"]:
            _show_convergence(run, generator, real, ask, home, say)
    return tables


def _show_convergence(
    run: Path, generator: Generator, real: Modality, ask: dict[str, Any], folder: Path, say: Callable[[str], None]
) -> None:
    import toolkit
    from toolkit.evaluation.loss_curve_view import view

    def other(width: float) -> Generator:
        return toolkit.load(run, ask["device"], width, generator.step, say, ask["modality"])

    say(f"picture: {view(generator, other, real, folder.expanduser())}")


def _judge(
    real: Modality,
    examples: Examples | None,
    options: Options,
    about: dict[str, Any],
    folder: Path,
    say: Callable[[str], None],
    further: Sequence[Metric] = (),
) -> Table:
    """Assess `examples`, unless they are None, and write metrics.json and pictures. further: figures known already."""
    from toolkit.evaluation.evaluate import judge_samples, write
    from toolkit.evaluation.table import EvaluationResult, Table

    table, result = (
        judge_samples(real, examples, about, options, say) if examples else (Table((), about), EvaluationResult([]))
    )
    table = replace(table, figures=(*table.figures, *further))
    for path in write(table, result, real, examples, folder.expanduser()):
        say(f"{'figures' if path.suffix == '.json' else 'picture'}: {path}")
    return table


def further_options(typed: Sequence[str]) -> Iterator[tuple[str, type[Options]]]:
    """The options of the runs that a command line names, for its help. Raises UsageError."""
    kind = modality_of(typed)
    if kind is not None:
        yield f"the evaluation of {kind.name}", kind.EvaluationOptions
