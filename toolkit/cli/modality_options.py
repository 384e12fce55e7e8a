"""Options that only a modality knows, typed as --NAME VALUE like any other: --rate 16000, --seconds 2, --mel FILE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import typer

from toolkit.errors import UsageError, unknown
from toolkit.modality import Options


def declared_options(context: typer.Context) -> list[str]:
    """The options that a command declares itself."""
    return [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]


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
    found: dict[str, Any] = {}
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
            found[key] = True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"--{name} needs a value")
            value = rest.pop(0)
        found[key] = value if key in texts else typed(value)
    return found
