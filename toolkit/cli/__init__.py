"""The command line: one file a command. Nothing here imports torch before a command runs."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import toolkit
from toolkit.cli import (
    compare,
    data,
    doctor,
    evaluate,
    listen,
    recipes,
    report,
    reproduce,
    results,
    sample,
    train,
    verify,
)
from toolkit.cli.modality_options import with_help
from toolkit.console import one_line
from toolkit.errors import Interrupted, StorageError, ToolkitError

app = typer.Typer(
    name="toolkit",
    help="Train generative models from scratch, sample them, and check every formula behind them.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # [expected] in a sentence is no markup
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)
"""Torch's words for it on a processor, and on graphics processors."""
# options that only a modality knows are left in context.args, for toolkit/cli/modality_options.py
FURTHER = {"allow_extra_args": True, "ignore_unknown_options": True}
train_help, sample_help = with_help(train.further), with_help(sample.further)
evaluate_help = with_help(evaluate.further_options)
app.command(context_settings=FURTHER, cls=train_help)(train.train)
app.command(context_settings=FURTHER, cls=sample_help, short_help="Sample a trained run.")(sample.sample)
app.command(context_settings=FURTHER, cls=evaluate_help, short_help="Judge the samples of runs, or anybody's files.")(
    evaluate.evaluate
)
app.command(context_settings=FURTHER, short_help="Train a recipe and compare with its figures.")(reproduce.reproduce)
app.command(short_help="Compare two runs on held-out examples at the same noise.")(compare.compare)
app.command(short_help="Write a page of runs side by side with what is real, and blind tests.")(listen.listen)
app.command(short_help="Write a run as a page and a model card.")(report.report)
app.command(short_help="Print what every recipe came to when it was measured.")(results.results)
app.command(short_help="Show what this machine has, what does not fit, and the fix.")(doctor.doctor)
for name, group in (("data", data.app), ("recipes", recipes.app), ("verify", verify.app)):
    group.rich_markup_mode = None
    app.add_typer(group, name=name)


def _version(asked: bool) -> None:
    if asked:
        print(toolkit.__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. What goes wrong is one line on stderr; TOOLKIT_DEBUG=1 adds the traceback."""
    if sys.stdout is None or sys.stdout.closed:  # `toolkit train ... >&-`
        _no_output("standard output is closed; send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode is no reason to stop
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `toolkit recipes | head`
        _to_nowhere()
        code = 0
    except OSError as error:  # `toolkit recipes > /dev/full`
        _to_nowhere()
        _no_output(f"cannot write to standard output: {error.strerror or error}; make room, or send it elsewhere")
    sys.exit(code)


def _no_output(reason: str) -> NoReturn:
    """Say why there is no output, where that can be said, and exit as for any file that cannot be written."""
    if sys.stderr is not None:
        print(f"error: {reason}", file=sys.stderr)
    sys.exit(StorageError.exit_code)


def _to_nowhere() -> None:
    """Discard what is still to be printed, or Python would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = typer.main.get_command(app).main(
            list(sys.argv[1:] if arguments is None else arguments), prog_name="toolkit", standalone_mode=False
        )
        # typer catches Ctrl-C itself and returns 130, or raises Abort where it is older
        return _fail("interrupted", 130) if code == 130 else code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except Interrupted as error:  # no error: it is what the user wanted, and the message says how to go on
        return _fail(str(error), error.exit_code, prefix="")
    except ToolkitError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            sys.stdout.flush()  # raises where it was the output that failed, which main() says
        if callable(getattr(error, "format_message", None)):  # what typer raises for a wrong command line
            return _fail(error.format_message(), 2)  # type: ignore[attr-defined]
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
            return _fail("there is not enough memory for this; ask for fewer at once, or for a smaller network", 1)
        return _fail(f"{type(error).__name__}: {error}; TOOLKIT_DEBUG=1 shows the traceback", 1)


def _fail(message: str, code: int, prefix: str = "error: ") -> int:
    if os.environ.get("TOOLKIT_DEBUG"):
        traceback.print_exc()
    if sys.stderr is not None:
        print(prefix + one_line(message), file=sys.stderr)
    return code
