"""The rules of docs/design.md about who may import whom, what is never called, and how long a file may be."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 300
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "__import__", "torch.load", "torch.save", "os.system", "os.popen"}
LOADS_USER_FILES = "toolkit/discovery.py"
"""The one documented place where a file that the user named is run: `--modality ./mine.py`."""


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Every module that an import statement anywhere in `tree` names; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> list[str]:
    return list(imported(ast.parse(path.read_text("utf-8")), module_of(path), path.name == "__init__.py"))


def wrong_imports(module: str, names: list[str]) -> list[str]:
    """Return those of `names` that `module` may not import."""
    wrong = []
    package = ".".join(module.split(".")[:2])
    for name in names:
        top = name.split(".")[0]
        if package in ("toolkit.diffusion", "toolkit.nn"):
            allowed = top in sys.stdlib_module_names or top == "torch" or f"{name}.".startswith(f"{package}.")
            allowed |= (module, top) == ("toolkit.diffusion.randomness", "numpy")  # for its Philox
        elif module.startswith("toolkit"):
            allowed = top != "modalities"
        else:
            allowed = top != "modalities" or name == package or name.startswith(f"{package}.")
        if not allowed or top in UNSAFE_MODULES:
            wrong.append(name)
    return wrong


def unsafe(tree: ast.AST, where: str) -> list[str]:
    """Calls that run text or unpickle. Methods such as model.eval() are not among them."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "exec_module" and where != LOADS_USER_FILES:
            found.append("exec_module")
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name.removeprefix("builtins.") in UNSAFE_CALLS:
            found.append(name)
        found.extend(
            f"{keyword.arg}={ast.unparse(keyword.value)}"
            for keyword in node.keywords
            if keyword.arg in ("shell", "allow_pickle")
            and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        )
    return found


@pytest.mark.parametrize("path", files("toolkit", "modalities"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_layers(path: Path) -> None:
    assert wrong_imports(module_of(path), imports_of(path)) == []


@pytest.mark.parametrize("path", files("toolkit", "modalities"), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_text_or_unpickles(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    assert unsafe(ast.parse(path.read_text("utf-8")), where) == []


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import statement, in functions too, but for what is imported for type checking alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        else:
            yield from statements(node)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle in `graph`, or []."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name not in done:
            for below in sorted(graph[name]):
                if found := visit(below, (*above, name)):
                    return found
            done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, ()))), [])


def test_nothing_imports_in_a_circle() -> None:
    modules = {module_of(path): path for path in files("toolkit", "modalities")}
    graph = {}
    for name, path in modules.items():
        tree = ast.Module(list(statements(ast.parse(path.read_text("utf-8")))), [])
        named = imported(tree, name, path.name == "__init__.py")
        graph[name] = {n if n in modules else n.rpartition(".")[0] for n in named} & modules.keys() - {name}
    assert circle(graph) == [] and sum(map(len, graph.values())) > len(modules)


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    late = "def f():\n    from toolkit import b\nif TYPE_CHECKING:\n    from toolkit import c\n"
    assert [ast.unparse(node) for node in statements(ast.parse(late))] == ["from toolkit import b"]


def test_no_file_is_longer_than_one_sitting() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in files("toolkit", "modalities", "tests", "benchmarks")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("toolkit.diffusion.loss", "import numpy", ["numpy"]),
        ("toolkit.diffusion.loss", "from toolkit.nn import UNet", ["toolkit.nn.UNet"]),
        ("toolkit.diffusion.loss", "from toolkit import errors", ["toolkit.errors"]),
        ("toolkit.diffusion.loss", "import math, torch\nfrom .schedule import VP", []),
        ("toolkit.nn.unet", "def f():\n    from modalities import image", ["modalities.image"]),
        ("toolkit.run.prepare", "import modalities.image", ["modalities.image"]),
        ("modalities.audio.data.dataset", "from modalities.image import data", ["modalities.image.data"]),
        ("modalities.audio.data.dataset", "from . import cache\nimport numpy", []),
        ("modalities.audio.data.dataset", "from ...image import data", ["modalities.image.data"]),
        ("toolkit.run.prepare", "import pickle", ["pickle"]),
    ],
)
def test_the_rule_sees_a_violation(module: str, source: str, expected: list[str]) -> None:
    assert wrong_imports(module, list(imported(ast.parse(source), module, is_package=False))) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("torch.load(path)", ["torch.load"]),
        ("eval(text)", ["eval"]),
        ("builtins.exec(text)", ["builtins.exec"]),
        ("model.eval()", []),
        ("subprocess.run(x, shell=True)", ["shell=True"]),
        ("subprocess.run(x, shell=False)", []),
        ("np.load(f, allow_pickle=flag)", ["allow_pickle=flag"]),
        ("spec.loader.exec_module(module)", ["exec_module"]),
    ],
)
def test_the_safety_rule_sees_a_violation(source: str, expected: list[str]) -> None:
    assert unsafe(ast.parse(source), "toolkit/elsewhere.py") == expected
