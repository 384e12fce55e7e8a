"""The documents hold together: links and paths resolve, commands and options exist, code runs, no page is lost."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import toolkit
from tests.conftest import ROOT
from tests.run.test_generator import made
from toolkit.cli import app
from toolkit.diffusion.randomness import seeded_generator
from toolkit.discovery import built_in, find
from toolkit.evaluation.metrics import all as metrics

DOCS = ROOT / "docs"
SITE = sorted(DOCS.rglob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")), *SITE]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
FOLDERS = ("toolkit", "modalities", "tests", "benchmarks", "recipes", "docs", "assets")
MAX_PICTURE = 200_000
"""Bytes."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """Return Markdown without fenced blocks."""
    return FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Return the targets of links and pictures, outside code."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "code", prose(text)))


def anchors(text: str) -> set[str]:
    """Return what # may name in a page: headings in lower case, with hyphens and without punctuation."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere; of a page of the site also those that lead out of it."""
    for target in links(page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        outside = page in SITE and not file.is_relative_to(DOCS)
        if not file.exists() or outside or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_resolve(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading: `x`\n[a](#a-heading-x) [b](#other) ![c](no.png) [d](page.md#a-heading-x) `[e](f)`\n")
    assert list(broken(page)) == ["#other", "no.png"]


def missing(text: str) -> list[str]:
    """Return the files and folders of the repository that a page names in code and that are not there."""
    codes = re.findall(r"`([^`\n]+)`", prose(text))
    paths = chain.from_iterable(re.findall(rf"\b(?:{'|'.join(FOLDERS)})/[\w./-]*\w", code) for code in codes)
    return [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    assert missing(page.read_text("utf-8")) == []


def test_a_file_that_is_gone_is_seen() -> None:
    text = "`toolkit/nn/unet.py`, `python benchmarks/nosuch.py RUN`, `toolkit/session.py: clock`, `recipes/NAME`"
    assert missing(text) == ["benchmarks/nosuch.py", "toolkit/session.py"]


def test_the_site_has_every_page_once() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"([\w/-]+\.md)$", nav, re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in SITE)


def test_reference_pages_name_modules() -> None:
    modules = [
        line[4:]
        for page in (DOCS / "api").glob("*.md")
        for line in page.read_text("utf-8").splitlines()
        if line.startswith("::: ")
    ]
    assert {"toolkit", "toolkit.diffusion", "toolkit.modality", *(f"modalities.{name}" for name in built_in())} <= set(
        modules
    )
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every `toolkit ...` in code, without comments and what follows a pipe or &&."""
    lines = [line for _, _, block in FENCE.findall(text) for line in block.splitlines()]
    for line in (*lines, *re.findall(r"`([^`\n]+)`", prose(text))):
        for part in re.split(r"&&|;  |\|", line):
            words = shlex.split(part.strip(), comments=True) if part.count('"') % 2 == part.count("'") % 2 == 0 else []
            if words and words[0].rpartition("/")[2] == "toolkit":
                yield words[1:]


def unknown_options(words: list[str]) -> list[str]:
    """Return what a command line names and the toolkit does not have: its command, or options."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-") and words[0].islower():
        if words[0] not in command.commands:
            return [words[0]]
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    for kind in map(find, built_in()):
        further = {"sample": (kind.SampleOptions,), "evaluate": (kind.EvaluationOptions, kind.Data)}
        sections = further.get(str(command.name), (kind.Data, kind.Model))
        known |= {f"--{field}" for section in sections for field in section.model_fields}
    typed = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [option for option in typed if option not in known | {"--help"}]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_commands_and_their_options_exist(page: Path) -> None:
    unknown = {
        " ".join(words): found for words in commands(page.read_text("utf-8")) if (found := unknown_options(words))
    }
    assert unknown == {}


def test_a_wrong_option_is_seen() -> None:
    text = "```bash\n.venv/bin/toolkit train --modality x --datta y  # --z\n```\n"
    text += "`toolkit smple RUN`, `toolkit data inspect F --nope`"
    assert [unknown_options(words) for words in commands(text)] == [["--datta"], ["smple"], ["--nope"]]


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return [block for _, language, block in FENCE.findall((DOCS / page).read_text("utf-8")) if language == "python"]


def test_the_sampler_and_the_metric_of_extend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modality = (ROOT / "tests" / "points.py").read_text("utf-8")
    run = made(steps=8)
    program = tmp_path / "extend.py"
    program.write_text("\n".join(block for block in blocks("extend.md") if block != modality))
    names: dict[str, Any] = runpy.run_path(str(program), {"run": run})
    assert names["order"] == pytest.approx(2, abs=0.05)
    assert len(names["samples"]) == 4 and not torch.equal(names["samples"].x, run.sample(4, sampler="ddim", steps=10).x)

    monkeypatch.setattr(metrics, "MEASURES", (names["measure"],))
    draw = seeded_generator(0, "docs").manual_seed(0)
    real, other, made_ = (metrics.Features(torch.randn(400, 3, generator=draw).double()) for _ in range(3))
    half = metrics.Features(made_.values / 2)
    (figure,) = metrics.measure_all(half, real, [metrics.Group(real, [other])], 400, "judge")
    assert figure.value == pytest.approx(1 / 4, rel=0.2) and figure.floor == pytest.approx(1, rel=0.2)


def test_the_modality_of_extend_is_the_file() -> None:
    text = (ROOT / "tests" / "points.py").read_text("utf-8")
    assert text in blocks("extend.md"), "copy tests/points.py into docs/extend.md"


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    assert "strip.png" in sizes and max(sizes.values()) < MAX_PICTURE


def test_one_version_stands_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [toolkit.__version__]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'dynamic = ["version"]' in project and not re.search(r'^version = "', project, re.MULTILINE)


def test_the_tools_of_a_commit_are_those_of_the_tests() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    pinned = dict(re.findall(r'"(ruff|codespell)==([\d.]+)"', hooks))
    assert set(pinned) == {"ruff", "codespell"}
    for tool, version in pinned.items():
        bounds = re.findall(rf'"{tool}>=([\d.]+),<([\d.]+)"', project)
        assert bounds and all(number(low) <= number(version) < number(high) for low, high in bounds), tool


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
