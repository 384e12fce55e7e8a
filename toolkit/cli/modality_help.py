"""--help with the options that only a modality has, by what their docstrings say."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typer.core import TyperCommand

from toolkit.cli.console import print_table
from toolkit.modality import Options

if TYPE_CHECKING:
    from toolkit.modality import Modality

Further = Callable[[Sequence[str]], Iterable[tuple[str, type[Options]]]]
"""The command line as typed -> (whose, options) that it has beside the command's own."""
_TYPED = "toolkit.typed"


def helped(further: Further) -> type[TyperCommand]:
    """A command whose --help ends with the options that `further` finds."""

    class Helped(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            ctx.meta[_TYPED] = list(args)
            return super().parse_args(ctx, args)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            for whose, options in further(ctx.meta.get(_TYPED, [])):
                print(f"Options of {whose}:")
                print_table(rows(options))

    return Helped


def rows(options: type[Options]) -> list[tuple[str, str, str]]:
    """(--name, kind, what it does and its default) of every option but the source, which is --data."""
    found = []
    for name, field in options.model_fields.items():
        if name == "source":
            continue
        text = " ".join((field.description or "").split())
        default = "" if field.default in (None, "") else f"[default: {field.default}]"
        found.append((f"--{name.replace('_', '-')}", kind(field.annotation), f"{text} {default}".strip()))
    return found


def kind(annotation: Any) -> str:
    """A type as help shows it: int, a|b, true|false."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, inside))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind(part) for part in inside if part is not type(None))
    if annotation is bool:
        return "true|false"
    return getattr(annotation, "__name__", str(annotation)).lower()


def value_of(option: str, typed: Sequence[str]) -> str | None:
    """What stands behind an option in a command line, `--option value` or `--option=value`."""
    for i, word in enumerate(typed):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and i + 1 < len(typed):
            return typed[i + 1]
    return None


def modality_of(typed: Sequence[str]) -> type[Modality] | None:
    """Return the modality that a command line names, or that of its first run, if it is one of ours.

    Raises UsageError.
    """
    from toolkit.discovery import built_in, find
    from toolkit.run.generator import read_run

    runs = [word for word in typed if not word.startswith("-") and Path(word).expanduser().is_dir()]
    name = value_of("--modality", typed)
    if runs and name is None:
        name = read_run(Path(runs[0]).expanduser())[0].modality
        if name not in built_in():
            return None  # it may be a stranger's, and its modality is code
    return None if name is None else find(name)
