"""The format number of recipe.toml and facts.json in a run folder, and the version of the toolkit that wrote them.

Recipes that people write need no number. A run without one is from before there were any, and is read as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import toolkit
from toolkit.errors import ToolkitError, UsageError
from toolkit.training.storage.files import read_capped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
"""One more whenever an earlier toolkit would misread a run of this one, or this one an earlier run."""
MAX_BYTES = 4 << 20
"""Size of the largest file that is looked at for its format."""
_KEYS = ("format", "toolkit")


def stamp(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run's file with its format and our version in front."""
    return {"format": FORMAT, "toolkit": toolkit.__version__, **content}


def unstamp(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the content of a file without format and version, which it need not have.

    Raises UsageError, which begins with `where`, when the format is newer than ours, or no number.
    """
    number = content.get("format", FORMAT)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UsageError(f"{where}: format must be a whole number from 1, not {number!r:.40}")
    if number > FORMAT:
        raise UsageError(
            f"{where} has format {number}, of toolkit {content.get('toolkit', '?')!s:.40}; this is toolkit "
            f"{toolkit.__version__}, which reads formats up to {FORMAT}: pip install --upgrade diffusion-toolkit"
        )
    return {key: value for key, value in content.items() if key not in _KEYS}


@contextmanager
def explain(path: Path) -> Iterator[None]:
    """Add to an error about a run which version of the toolkit wrote it, unless it was this one.

    `path`: its recipe.toml or facts.json.
    """
    try:
        yield
    except ToolkitError as error:
        if writer := _writer(path):
            message = f"{error}; this run was written {writer}: train it again, or use the version that wrote it"
            raise type(error)(message) from error.__cause__
        raise


def ours(path: Path) -> bool:
    """Return True for a recipe.toml or facts.json that a run of ours wrote, by its format number and version."""
    try:
        content = _content(path)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(key in content for key in _KEYS)


def _content(path: Path) -> Any:
    text = read_capped(path, MAX_BYTES).decode("utf-8")
    return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)


def _writer(path: Path) -> str:
    """Say who wrote a file; nothing when it was this version, or when the file is damaged or newer, which is said."""
    try:
        content = _content(path)
        if "format" not in content:
            return "before runs had a format number, by a development version of toolkit 0.1.0"
        newer, version = content["format"] > FORMAT, content.get("toolkit")
    except (OSError, ValueError, TypeError, RecursionError):
        return ""
    return "" if newer or version == toolkit.__version__ else f"by toolkit {version!s:.40}"
