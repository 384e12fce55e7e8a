"""Versions of torch, torchvision and torchaudio that fit together, and what is said when they do not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import toolkit
from tests.conftest import run_python
from toolkit import imports
from toolkit.errors import ToolkitError


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_the_built_for_pairs_fit(minor: int) -> None:
    versions = {"torch": f"2.{minor}.0", "torchvision": f"0.{minor + 15}.0", "torchaudio": "2.11.0"}
    assert imports.skew(versions) == []


@pytest.mark.parametrize(
    ("versions", "fixes"),
    [
        ({"torch": "2.14.1", "torchvision": "0.28.0"}, ["pip install 'torchvision==0.29.*'"]),
        ({"torch": "2.11.0+cpu", "torchvision": "0.29.1"}, ["pip install 'torchvision==0.26.*'"]),
        ({"torch": "2.14.1", "torchvision": "0.29.1", "torchaudio": "2.9.1"}, ["pip install 'torchaudio==2.11.*'"]),
        ({"torch": "2.10.0", "torchvision": "0.25.0"}, ["pip install 'torch>=2.11,<2.15'"]),
        ({"torch": "2.15.0a0+git", "torchvision": None}, ["pip install 'torch>=2.11,<2.15'"]),
        ({"torch": None, "torchvision": "0.29.1"}, ["pip install 'torch>=2.11,<2.15'"]),
        ({}, ["pip install 'torch>=2.11,<2.15'"]),
        (
            {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cu130"},
            ["pip install --force-reinstall --no-deps torchvision"],
        ),
        ({"torch": "2.14.1+cu130", "torchvision": "0.29.1"}, []),
        (
            {"torch": "2.12.0", "torchvision": "0.29.1", "torchaudio": "2.8.0"},
            ["pip install 'torchvision==0.27.*'", "pip install 'torchaudio==2.11.*'"],
        ),
    ],
)
def test_each_skew_has_one_line_with_its_fix(versions: dict[str, str | None], fixes: list[str]) -> None:
    lines = imports.skew(versions)
    assert len(lines) == len(fixes)
    for line, fix in zip(lines, fixes, strict=True):
        assert fix in line and "\n" not in line


def test_versions_of_what_is_and_is_not_installed() -> None:
    found = imports.versions(("pydantic", "no-such-distribution-here"))
    assert found["no-such-distribution-here"] is None
    assert str(found["pydantic"]).startswith("2.")


def test_require_gives_the_module() -> None:
    assert imports.require("json.decoder").JSONDecoder().decode("[1]") == [1]


def test_a_missing_package_is_one_line_with_the_fix() -> None:
    with pytest.raises(ToolkitError, match=r"^no_such_package is not installed: pip install no_such_package$"):
        imports.require("no_such_package.part")


@pytest.mark.parametrize("fault", ["RuntimeError('operator torchvision::nms does not exist')", "OSError('x.so')"])
def test_a_package_that_breaks_on_import_is_one_line_with_the_fix(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{fault[:7].lower()}"
    (tmp_path / f"{name}.py").write_text(f"raise {fault}")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ToolkitError) as caught:
        imports.require(name)
    assert fault.split("'")[1] in str(caught.value) and "pip install --force-reinstall" in str(caught.value)


def test_an_installed_package_of_the_wrong_version_names_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchaudio.py").write_text("raise OSError('undefined symbol')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "torchaudio", raising=False)
    monkeypatch.setattr(imports, "versions", lambda: {"torch": "2.14.1", "torchaudio": "2.9.1"})
    with pytest.raises(ToolkitError, match=r"undefined symbol.*pip install 'torchaudio==2\.11\.\*'"):
        imports.require("torchaudio")


def loaded_after(code: str, folder: Path) -> set[str]:
    done: subprocess.CompletedProcess[str] = run_python(
        "-c", f"import sys\n{code}\nprint(*sorted(m.split('.')[0] for m in sys.modules))", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


HEAVY = {"torch", "torchvision", "torchaudio", "librosa", "matplotlib", "numpy"}


@pytest.mark.parametrize(
    "code",
    [
        "import toolkit",
        "import toolkit.recipe; toolkit.recipe.load('image/mnist')",
        "import toolkit.imports; toolkit.imports.versions()",
        "import toolkit.modality",
    ],
)
def test_light_imports_stay_light(code: str, tmp_path: Path) -> None:
    assert loaded_after(code, tmp_path) & HEAVY == set()


def test_an_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = toolkit.lod
