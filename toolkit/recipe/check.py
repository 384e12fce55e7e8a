"""Checking what a user wrote against what there is: a table against a model, a name and options against a signature.

Every mistake is a UsageError of one line: where, which key, what is wrong, the nearest key that exists.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from toolkit.errors import UsageError, unknown
from toolkit.recipe.objects import absent, is_object

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], mapping: Mapping[str, Any], where: str, prefix: str = "") -> M:
    """`mapping` as a `model`. In messages `where` comes first, and `prefix` before each key."""
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        at = f"{where}: " if where else ""
        raise UsageError(at + _first(error, model, prefix)) from None


def _first(error: ValidationError, model: type[BaseModel], prefix: str) -> str:
    """Return the first mistake in one line. Unknown keys come first: a misspelt key often makes another one missing."""
    first = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")[0]
    key = prefix + ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return str(unknown("recipe key", key, keys(model, prefix)))
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
    elif first["type"] == "missing":
        message = "is missing"
    else:
        message = f"{first['msg'][:1].lower()}{first['msg'][1:]} (found {first['input']!r:.60})"
    return f"{key.rstrip('.')}: {message}".removeprefix(": ")


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All dotted keys of a model and of the models in it."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = field.annotation
        # before Python 3.11, dict[str, int] passes for a class
        if typing.get_origin(section) is None and inspect.isclass(section) and issubclass(section, BaseModel):
            yield from keys(section, f"{prefix}{name}.")


def instantiate(registry: Mapping[str, Callable[..., Any]], spec: Any, kind: str) -> Any:
    """Return what a `Named` stands for: the object of a class, a function with its options bound, or itself, an object.

    Options are the parameters that have a default; they are checked against its names and types.
    `kind` names the thing in messages, e.g. "schedule". Raises UsageError.
    """
    if is_object(spec):
        return spec
    if (description := absent(spec)) is not None:
        raise UsageError(f"the {kind} was an object in Python ({description}), which no file can hold: pass it again")
    options = {} if isinstance(spec, str) else {k: v for k, v in spec.items() if k != "name"}
    name = spec if isinstance(spec, str) else str(spec.get("name"))
    if name not in registry:
        raise unknown(kind, name, registry)
    make = registry[name]
    accepted = [p.name for p in inspect.signature(make).parameters.values() if p.default is not p.empty]
    hints = _hints(make)
    for option, value in options.items():
        if option not in accepted:
            raise UsageError(f"{kind} '{name}': {unknown('option', option, accepted)}")
        if option in hints:
            options[option] = _as_type(hints[option], value, f"{kind} '{name}': {option}")
    if not inspect.isclass(make):
        return functools.partial(make, **options)
    try:
        return make(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{kind} '{name}': {error}") from error


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(make.__init__ if inspect.isclass(make) else make)
    except (NameError, TypeError, AttributeError):  # names imported only for type checking
        return {}


def _as_type(hint: Any, value: Any, what: str) -> Any:
    """`value` as the annotated type, where pydantic knows the type: lists become tuples, ints floats."""
    try:
        return TypeAdapter(hint).validate_python(value)
    except PydanticUserError:
        return value
    except ValidationError as error:
        raise UsageError(f"{what}: {error.errors()[0]['msg'].lower()} (found {value!r:.60})") from None
