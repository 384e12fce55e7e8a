"""Options that only a modality knows, typed as --NAME VALUE like any other: --rate 16000, --seconds 2, --mel FILE.

`parse_modality_options` reads them, and `with_help` shows them in --help by what their docstrings say.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import types
import typing
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from typer.core import TyperCommand

from toolkit.console import one_line
from toolkit.errors import UsageError, unknown
from toolkit.modality import Options

if TYPE_CHECKING:
    from toolkit.modality import Modality

Further = Callable[[Sequence[str]], Iterable[tuple[str, type[Options]]]]
"""The command line as typed -> (whose, options) that it has beside the command's own."""
_TYPED = "toolkit.typed"


def modality_names() -> list[str]:
    """Return the names of the packages below `modalities`, none of which is imported."""
    spec = importlib.util.find_spec("modalities")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return sorted(module.name for module in pkgutil.iter_modules(places) if module.ispkg)


def declared_options(context: typer.Context) -> list[str]:
    """The options that a command declares itself."""
    return [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]


def words_of(arguments: Sequence[str], switches: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Return words and options apart: ["image", "--size", "32", "x"] -> (["image", "x"], ["--size", "32"]).

    `switches`: options, without their dashes, that take no value.
    """
    words: list[str] = []
    options: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        options.append(word)
        if word.startswith("--") and "=" not in word and word[2:].replace("-", "_") not in switches and rest:
            options.append(rest.pop(0))
    return words, options


def string_options(options: type[Options]) -> set[str]:
    """The fields that are text, so that what was typed is what is meant: 12 is no number there."""
    return {name for name, field in options.model_fields.items() if field.annotation in (str, str | None)}


def flags(options: type[Options]) -> set[str]:
    """The fields that are switches: --NAME alone turns one on."""
    return {name for name, field in options.model_fields.items() if field.annotation is bool and not field.default}


def parse_modality_options(
    arguments: Sequence[str],
    known: Iterable[str],
    whose: str,
    own: Iterable[str] = (),
    texts: Collection[str] = (),
    switches: Collection[str] = (),
) -> dict[str, Any]:
    """["--seconds", "2"] or ["--seconds=2"] -> {"seconds": 2}, values as TOML has them or else as text.

    `known`: the names there are, `whose` they are in messages; `own`: the command's own options, "--steps", which a
    misspelt one may have meant; `texts`: names whose values are text as it stands; `switches`:
    names that take no value. Raises UsageError.
    """
    from toolkit.recipe import typed

    names = list(known)
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise UsageError(f"'{argument}' belongs to no option; see --help")
        key = name.replace("-", "_")
        if key not in names:
            wrong = unknown("option", f"--{name}", [*own, *(f"--{n.replace('_', '-')}" for n in names)])
            raise UsageError(f"{wrong} ({whose} has {', '.join(f'--{n}' for n in names) or 'no options of its own'})")
        if key in switches and not equals:
            values[key] = True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"--{name} needs a value")
            value = rest.pop(0)
        values[key] = value if key in texts else typed(value)
    return values


def with_help(further: Further) -> type[TyperCommand]:
    """Return a command whose --help ends with the options that `further` finds."""

    class Helped(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            ctx.meta[_TYPED] = list(args)
            return super().parse_args(ctx, args)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            for whose, options in further(ctx.meta.get(_TYPED, [])):
                lines = [(f"{name} {type_}", text) for name, type_, text in rows(options)]
                if lines:
                    with formatter.section(one_line(f"Options of {whose}")):
                        formatter.write_dl(lines)

    return Helped


def rows(options: type[Options]) -> list[tuple[str, str, str]]:
    """Return (--name, type, what it does and its default) of every option but the source, which is --data."""
    lines = []
    for name, field in options.model_fields.items():
        if name == "source":
            continue
        text = " ".join((field.description or "").split())
        default = "" if field.default in (None, "") else f"[default: {field.default}]"
        option = f"--{name.replace('_', '-')}"
        lines.append((option, one_line(kind(field.annotation)), one_line(f"{text} {default}".strip())))
    return lines


def kind(annotation: Any) -> str:
    """Return a type as help shows it: int, a|b, true|false."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, inside))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind(part) for part in inside if part is not type(None))
    if annotation is bool:
        return "true|false"
    return getattr(annotation, "__name__", str(annotation)).lower()


def value_of(option: str, typed: Sequence[str]) -> str | None:
    """Return what stands behind an option in a command line, `--option value` or `--option=value`."""
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
    from toolkit.discovery import find
    from toolkit.recipe.trust import may_run
    from toolkit.run.layout import read_run

    runs = [word for word in typed if not word.startswith("-") and Path(word).expanduser().is_dir()]
    name = value_of("--modality", typed)
    if runs and name is None:
        recipe, _ = read_run(Path(runs[0]).expanduser())
        name = recipe.modality if may_run(recipe) else None
    return None if name is None else find(name)
