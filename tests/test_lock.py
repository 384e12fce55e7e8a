"""The lock file: it fits pyproject.toml, has all that the tests need, and says nothing of where it was made."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

if not (ROOT / ".ci" / "lock.txt").is_file():
    pytest.skip("no lock file, as in the source distribution", allow_module_level=True)

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SYSTEMS = ("linux", "darwin", "win32")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@cache
def lines() -> list[str]:
    """The lines that pip sees: no comments, and what was continued joined."""
    text = (ROOT / ".ci" / "lock.txt").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@cache
def locked() -> list[tuple[str, str, Requirement, int]]:
    """Name, version, requirement and number of hashes of each line."""
    entries = []
    for line in lines():
        if line.startswith("--"):
            continue
        text, *hashes = re.split(r"\s+(?=--hash)", line.strip())
        requirement = Requirement(text)
        (pin,) = requirement.specifier
        assert pin.operator == "==" and all(HASH.fullmatch(each) for each in hashes), line
        entries.append((canonicalize_name(requirement.name), pin.version, requirement, len(hashes)))
    return entries


def project() -> list[Requirement]:
    """The requirements of pyproject.toml, those of the tests included."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(text) for text in (*table["dependencies"], *table["optional-dependencies"]["test"])]


def environment(python: str, system: str) -> dict[str, str]:
    machine = "arm64" if system == "darwin" else "x86_64"
    own = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
    return {**default_environment(), **own, "platform_machine": machine, "implementation_name": "cpython"}


def test_every_line_has_hashes_and_no_place() -> None:
    assert len(locked()) > 80 and all(count >= 1 for *_, count in locked())
    assert [line for line in lines() if line.startswith("-")] == ["--only-binary :all:"]
    text = (ROOT / ".ci" / "lock.txt").read_text("utf-8")
    assert re.findall(r"://|file:|index-url|find-links|\s/\w|[A-Za-z]:\\|@|\.(?:org|com|net|io)\b", text) == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_it_has_one_version_of_each_and_all_that_is_asked_for(python: str, system: str) -> None:
    here = environment(python, system)
    versions: dict[str, str] = {}
    for name, version, requirement, _ in locked():
        if requirement.marker is None or requirement.marker.evaluate(here):
            assert name not in versions, f"{name} twice"
            versions[name] = version
    for asked in project():
        if asked.marker is None or asked.marker.evaluate(here):
            version = versions.get(canonicalize_name(asked.name))
            assert version and asked.specifier.contains(version), f"{asked} and {version}; run `bash .ci/lock`"


def test_it_is_closed() -> None:
    """All that its packages need here is in it too, or a line would be refused for want of a hash."""
    here = {**default_environment(), "extra": ""}
    versions = {name: v for name, v, need, _ in locked() if need.marker is None or need.marker.evaluate(here)}
    missing = set()
    for name, version in versions.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if distribution.version != version:
            continue  # another version may need others
        for text in distribution.requires or []:
            need = Requirement(text)
            if (need.marker is None or need.marker.evaluate(here)) and canonicalize_name(need.name) not in versions:
                missing.add(f"{name}: {text}")
    assert missing == set()


def test_what_checks_the_code_is_of_the_locked_kind() -> None:
    """.pre-commit-config.yaml has versions of its own; they differ in the last number at most."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    versions = {name: version for name, version, *_ in locked()}
    for name, version in set(re.findall(r'"(ruff|codespell)==([\d.]+)"', hooks)):
        assert version.split(".")[:2] == versions[name].split(".")[:2]


def test_actions_are_named_by_commits() -> None:
    """A tag can be moved to other code; the version stands beside the commit for people."""
    folder = ROOT / ".github" / "workflows"
    uses = [use for path in folder.glob("*.y*ml") for use in re.findall(r"uses:\s*(.*)", path.read_text("utf-8"))]
    assert uses and [use for use in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []
