"""The installed package works far from the checkout: the wheel has the recipes and assets, and finds them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    done = subprocess.run([*command, "-w", str(folder), str(ROOT)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("diffusion_toolkit-*.whl")
    return found


def test_the_wheel_has_code_recipes_assets_and_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {path.name for path in (ROOT / "recipes" / "image").glob("*.toml")}
    assert {Path(n).name for n in names if n.startswith("toolkit/recipes/image/")} == shipped
    assert "toolkit/assets/digits.npz" in names
    assert "toolkit/cli/__main__.py" in names and "modalities/image/__init__.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"toolkit", "modalities"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_wheel_names_its_command_and_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        entry = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
    assert "toolkit = toolkit.cli:main" in entry
    assert "Requires-Dist: torch<2.15,>=2.11" in metadata
    assert "Requires-Python: >=3.10" in metadata


def test_the_unpacked_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    done = run_python("-m", "toolkit.cli", "recipes", cwd=elsewhere, PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    assert "image/digits" in done.stdout
    code = "import toolkit.paths as p; print(p.shipped_folder('recipes'), p.shipped_folder('assets'))"
    found = run_python("-c", code, cwd=elsewhere, PYTHONPATH=str(site)).stdout.split()
    assert found == [str(site / "toolkit" / "recipes"), str(site / "toolkit" / "assets")]
