"""Shared by all tests: no network, a cache of their own, fixed hypothesis examples, the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ROOT / "tests" / "offline"
CHILD_PATH = f"{OFFLINE}{os.pathsep}{ROOT}"
"""PYTHONPATH of a Python that a test starts: the checkout, and no network."""

sys.path.insert(0, str(OFFLINE))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(OFFLINE), os.environ.get("PYTHONPATH"))))

import network_guard  # noqa: E402

# The same examples every time, and no deadline: these tests share two cores with each other.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """A test that reached for another machine fails, even where what it ran went on without."""
    network_guard.ATTEMPTS.clear()
    yield
    assert network_guard.ATTEMPTS == [], "the network was used"


def run_python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """This Python with the checkout importable, from folder `cwd`, output captured."""
    clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "TOOLKIT_DEBUG", "FORCE_COLOR")}
    path = environment.pop("PYTHONPATH", None)
    clean |= {"PYTHONPATH": CHILD_PATH if path is None else f"{OFFLINE}{os.pathsep}{path}"}
    clean |= {"PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=clean, capture_output=True, text=True, encoding="utf-8", timeout=300
    )


@pytest.fixture
def toolkit_command(tmp_path: Path) -> Command:
    """`toolkit ARGUMENTS...` in an empty folder; keywords are environment variables."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "toolkit.cli", *arguments, cwd=tmp_path, **environment)

    return run
