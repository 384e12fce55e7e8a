"""Completions for the shell: runs, recipes, modalities, samplers, labels. Loads no torch and runs no code.

`toolkit --install-completion` turns it on.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from toolkit import paths
from toolkit.cli.modality_options import modality_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SMALL = 4 << 20
"""Bytes of a file of a run that are read."""
DEVICES = ("cpu", "cuda", "mps", "gpu")


def runs(incomplete: str) -> list[str]:
    """Return run folders that begin with `incomplete`, and folders on the way to one; at first those below runs/."""
    if not incomplete and Path("runs").is_dir():
        incomplete = "runs/"
    folders = [(path, (path / "recipe.toml").is_file()) for path in _below(incomplete) if path.is_dir()]
    return _without_odd_names(f"{path.as_posix()}{'' if is_run else '/'}" for path, is_run in folders)


def recipes(incomplete: str) -> list[str]:
    """Return names of recipes, the full ones behind the short, and .toml files and folders."""
    root = paths.shipped_folder("recipes")
    full = sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*/*.toml"))
    short = [name.partition("/")[2] for name in full]
    return _beginning([*(name for name in short if short.count(name) == 1), *full], incomplete) + _files(
        incomplete, ".toml"
    )


def modalities(incomplete: str) -> list[str]:
    """Return names of modalities, and .py files and folders."""
    return _beginning(modality_names(), incomplete) + _files(incomplete, ".py")


def things_to_train(incomplete: str) -> list[str]:
    """Return what `toolkit train WORD` takes: modalities, recipes, folders."""
    return list(dict.fromkeys([*modalities(incomplete), *recipes(incomplete)]))


def samplers(incomplete: str) -> list[str]:
    """Return names of samplers."""
    return _beginning(_table("SAMPLERS"), incomplete)


def grids(incomplete: str) -> list[str]:
    """Return names of grids of times."""
    return _beginning(_table("GRIDS", "grid.py"), incomplete)


def devices(incomplete: str) -> list[str]:
    """Return names of devices, whether they are here or not."""
    return _beginning(DEVICES, incomplete)


def labels(context: typer.Context, incomplete: str) -> list[str]:
    """Return the labels of the run that the command line names."""
    known = _list(_content(context, "facts.json"), "labels")
    return _beginning([name for name in known if isinstance(name, str)], incomplete)


def widths(context: typer.Context, incomplete: str) -> list[str]:
    """Return the widths of averages of the run that the command line names."""
    recipe = _content(context, "recipe.toml")
    kept = _list(recipe.get("train") if isinstance(recipe, dict) else None, "ema")
    return _beginning([str(width) for width in kept if isinstance(width, float)], incomplete)


def checks(incomplete: str) -> list[str]:
    """Return groups of checks."""
    from toolkit.verify import GROUPS

    return _beginning(GROUPS, incomplete)


def settings(incomplete: str) -> list[str]:
    """Return keys of a recipe with an equals sign, for --set; those of [data] and [model] are options themselves."""
    from toolkit.recipe import Recipe
    from toolkit.recipe.check import keys

    inner = [
        key for key in keys(Recipe) if key.count(".") == 1 and key.split(".")[0] in ("diffusion", "train", "sample")
    ]
    return _beginning([f"{key}=" for key in inner], incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return _without_odd_names(name for name in names if name.startswith(incomplete))


def _without_odd_names(names: Iterable[str]) -> list[str]:
    """Drop names that a shell would trip over."""
    return [name for name in names if name.isprintable()]


def _below(incomplete: str) -> Iterator[Path]:
    """Return the entries of the folder that `incomplete` is in which begin with its last part."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else "."))
    try:
        entries = sorted(place.expanduser().iterdir())
    except OSError:
        return
    for path in entries:
        if path.name.startswith(start) and not (path.name.startswith(".") and not start):
            yield place / path.name


def _files(incomplete: str, ending: str) -> list[str]:
    paths = [path for path in _below(incomplete) if path.is_dir() or path.suffix == ending]
    return _without_odd_names(f"{path.as_posix()}{'/' if path.is_dir() else ''}" for path in paths)


def _content(context: typer.Context, name: str) -> Any:
    """Return the content of a file of the run in the command line, or nothing."""
    # an option without its value yet leaves the whole command line unparsed, in context.args
    for word in (context.params.get("run"), *context.args):
        try:
            with (Path(str(word)).expanduser() / name).open("rb") as file:
                text = file.read(_SMALL).decode("utf-8")
            return json.loads(text) if name.endswith(".json") else tomllib.loads(text)
        except (OSError, ValueError, RecursionError):
            continue
    return None


def _list(content: Any, key: str) -> list[Any]:
    """Return the list at a key, or [] where `content` is no table or has no list there."""
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, list) else []


def _table(name: str, file: str = "__init__.py") -> list[str]:
    """The keys of a table of the core, read from its source: to import it would load torch."""
    tree = ast.parse((Path(paths.__file__).parent / "diffusion" / file).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and isinstance(node.value, ast.Dict):
            return [
                key.value for key in node.value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            ]
    return []
