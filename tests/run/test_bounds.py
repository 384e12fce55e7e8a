"""A small file asks for little: what a run or a recipe would allocate is counted, and refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import run_python
from tests.run.points_run import POINTS, finished, forget_copies, quiet
from tests.run.tiny_runs import SMALL, made
from toolkit import memory
from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.errors import UsageError
from toolkit.run import layout, weights
from toolkit.run.compose import require_room
from toolkit.run.generator import load
from toolkit.training.storage.manifest import Manifest

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and sparse files as on Linux")
MB = 1 << 20
HUGE = 60 << 30
"""Bytes of a sparse file, which takes none on the disk."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made(tmp_path_factory.mktemp("bounds"))


def forged(run: Path, out: Path, recipe: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> Path:
    """A copy of a run with other values in its files, as a stranger could write them: with no copy that knows better.

    They are not checked here, as `recipes.replace` would do.
    """
    shutil.copytree(run, out)
    forget_copies(out)
    if recipe:
        text = (out / layout.RECIPE).read_text()
        tree = recipes.tomllib.loads(text)
        for key, value in recipe.items():
            section, _, name = key.partition(".")
            tree.setdefault(section, {})[name] = value
        (out / layout.RECIPE).write_text(recipes.tomli_w.dumps(tree))
    if facts:
        content = json.loads((out / layout.FACTS).read_text())
        for key, value in facts.items():
            (content["extra"] if key in content["extra"] else content)[key] = value
        (out / layout.FACTS).write_text(json.dumps(content))
    return out


def large_weights(run: Path) -> None:
    """A file of weights of 60 GB, with a manifest that agrees about its size."""
    folder = next((run / "checkpoints").iterdir())
    os.truncate(folder / "model.safetensors", HUGE)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    files = dict(manifest.files)
    files["model.safetensors"] = files["model.safetensors"].model_copy(update={"size": HUGE})
    (folder / "manifest.json").write_bytes(manifest.model_copy(update={"files": files}).encode())


CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    # kind, changes of recipe.toml, of facts.json, arguments of sample, and what is said
    ("text", {"model.width": 4096, "model.depth": 64}, {}, {}, "parameters would take at least"),
    ("text", {"model.width": 1024, "model.depth": 8}, {}, {}, "does not fit the recipe beside it"),
    ("text", {"sample.steps": 10**9}, {}, {}, "1,000,000,000 steps"),
    ("text", {"sample.steps": 10**18}, {}, {}, "at most 100,000"),
    ("text", {"sample.restarts": 10**15}, {}, {}, "at most 100,000"),
    ("text", {"sample.restarts": 10**15, "sample.back": 10**15}, {}, {}, "at most 100,000"),
    ("text", {"diffusion.time": {"name": "adaptive", "bins": 10**12}}, {}, {}, "bins <= 4096"),
    ("text", {}, {"shape": [1 << 26]}, {}, "no length of up to 4,096 tokens"),
    ("text", {}, {"lengths": [1e12, 1e12]}, {}, "lengths of items"),
    ("text", {}, {"vocabulary": json.dumps({"kind": "bpe", "known": "", "merges": [[97, 97]] + [
        [i, i] for i in range(256, 300)]})}, {}, "token is too long"),
    ("text", {}, {}, {"n": 10**9, "batch": 10**9}, "1,000,000,000 samples"),
    ("image", {}, {"shape": [1, 8192, 8192]}, {}, "sides up to 1024"),
    ("image", {}, {"shape": [3, 1024, 1024]}, {"n": 1000, "batch": 1000}, "would take at least"),
    ("image", {}, {"mean": float("nan"), "std": float("inf")}, {}, "finite"),
    ("image", {"train.batch": 10**15}, {}, {}, "train.batch"),
    ("audio", {}, {"durations": [8000.0] * 17}, {}, "extra.durations"),
    ("audio", {}, {"rate": 10**9}, {}, "extra.rate"),
    ("audio", {}, {}, {"n": 640, "seconds": 600.0, "join": "whole"}, "sounds would take at least"),
    ("audio", {}, {"shape": [1, 1 << 25], "durations": [16000.0] * 17}, {"n": 64}, "samples of 1 x 33554432"),
]  # fmt: skip
SCRIPT = """
import json, os, resource, sys, time
import torch, toolkit
from toolkit.errors import ToolkitError
from toolkit.run.generator import load
jobs = json.load(open("jobs.json"))
load(jobs[0]["good"], "cpu", notify=lambda line: None).sample(1, steps=1)  # what a run takes anyway
taken = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (taken + 3 * 2**30,) * 2)
for job in jobs:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        load(job["run"], "cpu", step=job["step"], notify=lambda line: None).sample(**job["how"])
        said = "sampled"
    except ToolkitError as error:
        said = str(error)
    except BaseException as error:
        said = f"foreign {type(error).__name__}: {error}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([said, grown // 1024, time.process_time() - start]))
"""


def refusals(folder: Path, jobs: list[dict[str, Any]]) -> list[list[Any]]:
    """Return each job's message, megabytes more, and seconds; all run in one process that may take 3 GB more."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = run_python("-c", SCRIPT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@linux
@pytest.mark.parametrize("kind", list(SMALL))
def test_a_run_that_asks_for_much_is_refused_for_little(kind: str, runs: dict[str, Path], tmp_path: Path) -> None:
    cases = [case for case in CASES if case[0] == kind]
    jobs = [
        {"run": str(forged(runs[kind], tmp_path / str(i), recipe, facts)), "how": how, "good": str(runs[kind]),
         "step": None}
        for i, (_, recipe, facts, how, _) in enumerate(cases)
    ]  # fmt: skip
    found = refusals(tmp_path, jobs)
    assert len(found) == len(cases)
    for (_, recipe, facts, how, expected), (said, grown, seconds) in zip(cases, found, strict=True):
        assert expected in said and "\n" not in said and not said.startswith("foreign"), (recipe, facts, how, said)
        assert grown < 200 and seconds < 10, (said, grown, seconds)


@linux
def test_files_that_are_too_large_are_not_read(runs: dict[str, Path], tmp_path: Path) -> None:
    jobs = []
    for name in (layout.FACTS, layout.RECIPE, layout.METRICS, "weights"):
        run = forged(runs["image"], tmp_path / name)
        large_weights(run) if name == "weights" else os.truncate(run / name, HUGE)
        step = "best" if name == layout.METRICS else None
        jobs.append({"run": str(run), "how": {"n": 1}, "good": str(runs["image"]), "step": step})
    for name, (said, grown, seconds) in zip(("facts", "recipe", "held-out", "model"), refusals(tmp_path, jobs)):
        assert name in said and "\n" not in said and not said.startswith(("foreign", "sampled")), said
        assert grown < 200 and seconds < 5, (said, grown, seconds)


TRAINED = [
    ("text", {"model.width": 4096, "model.depth": 64}, "training a network of 12,8"),
    ("image", {"train.batch": 1 << 24, "data.size": 512}, "a batch of 16,777,216 examples"),
    ("audio", {"train.batch": 10**12}, "train.batch"),
]


@linux
@pytest.mark.parametrize(("kind", "changes", "expected"), TRAINED, ids=[case[0] for case in TRAINED])
def test_a_recipe_that_asks_for_much_is_not_trained(
    kind: str, changes: dict[str, Any], expected: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    tree = recipes.tomllib.loads((runs[kind] / layout.RECIPE).read_text())
    for key, value in changes.items():
        section, _, name = key.partition(".")
        tree[section][name] = value
    (tmp_path / "strange.toml").write_text(recipes.tomli_w.dumps(tree))
    script = SCRIPT.replace("import load\n", "import load\nfrom toolkit.run.prepare import prepare\n").replace(
        'load(job["run"], "cpu", step=job["step"], notify=lambda line: None).sample(**job["how"])',
        'prepare(job["run"], "new", "cpu", notify=lambda line: None)',
    )
    job = {"run": str(tmp_path / "strange.toml"), "good": str(runs[kind]), "how": {}, "step": None}
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    done = run_python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said, grown, _ = json.loads(done.stdout)
    assert expected in said and "\n" not in said and grown < 200, (said, grown)


def test_the_runs_themselves_are_sampled(runs: dict[str, Path]) -> None:
    """Otherwise the tests above would show nothing."""
    for run in runs.values():
        assert len(load(run, "cpu", notify=quiet).sample(2, steps=1)) == 2


@pytest.mark.parametrize("kind", list(SMALL))
def test_every_network_of_ours_is_counted_without_its_numbers(kind: str, runs: dict[str, Path]) -> None:
    recipe, facts = layout.read_run(runs[kind])
    modality = find(kind)
    presets = modality.Model.model_fields["preset"].annotation.__args__  # type: ignore[union-attr]
    variants: list[dict[str, Any]] = [{"preset": preset} for preset in presets]
    variants += [{"preset": presets[0], "condition": "mel"}] if kind == "audio" else []
    for options in variants:
        opened = modality(modality.Data(), modality.Model(**options), facts)
        net = weights.without_numbers(opened)
        assert net is not None and all(p.is_meta for p in net.parameters()), options
        if options["preset"] == presets[0]:
            real = opened.network()
            assert {k: v.shape for k, v in net.state_dict().items()} == {
                k: v.shape for k, v in real.state_dict().items()
            }
            whole = weights.spans(net, 2)
            size = sum(p.numel() for p in real.parameters()) * 4
            assert whole["model"].least < size < whole["model"].most
            assert whole["ema"].least < 2 * size < whole["ema"].most
    assert recipe.modality == kind


def test_a_checkpoint_is_within_its_spans(runs: dict[str, Path]) -> None:
    for kind, run in runs.items():
        recipe, facts = layout.read_run(run)
        modality = find(kind)
        net = weights.without_numbers(modality(*recipes.validate_for(recipe, modality), facts))
        assert net is not None
        spans = weights.spans(net, len(recipe.train.ema))
        folder = next((run / "checkpoints").iterdir())
        sizes = {path.stem: path.stat().st_size for path in folder.glob("*.safetensors")}
        assert set(sizes) <= set(spans)
        assert all(spans[name].least <= size <= spans[name].most for name, size in sizes.items())


def test_a_network_of_the_users_own_code_is_not_counted(tmp_path: Path) -> None:
    """It has been named, and is trained and loaded as before, though it may look at its numbers."""
    finished(tmp_path / "run")
    _, facts = layout.read_run(tmp_path / "run")
    kind = find(POINTS)
    assert weights.without_numbers(kind(kind.Data(), kind.Model(), facts)) is None
    assert len(load(tmp_path / "run", "cpu", notify=quiet, modality=POINTS).sample(2, steps=1)) == 2


def test_what_there_is_and_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10**8 < memory.total() < 1 << 50
    monkeypatch.setattr(memory, "total", lambda device=None: 2 * 10**9)
    memory.require(2 * 10**9, "a thing", "take less")
    with pytest.raises(UsageError) as error:
        memory.require(51_540_000_000, "a thing", "take less")
    assert str(error.value) == "a thing would take at least 51.5 GB of memory, and there are 2.0 GB here; take less"
    require_room(64, 64, (3, 256, 256), torch.device("cpu"))
    with pytest.raises(UsageError, match=r"a batch of 64 samples of 3 x 1024 x 1024 would take at least 6\.4 GB"):
        require_room(64, 64, (3, 1024, 1024), torch.device("cpu"))
    with pytest.raises(UsageError, match=r"1,000,000 samples of 3 x 64 x 64 would take at least 98\.4 GB"):
        require_room(10**6, 1, (3, 64, 64), torch.device("cpu"))


def test_a_limit_of_the_shell_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: 8 << 30)
    monkeypatch.setattr(memory, "_container", lambda: 5 << 30)
    monkeypatch.setattr(memory, "_limit", lambda: 3 << 30)
    assert memory.total() == 3 << 30
    monkeypatch.setattr(memory, "_limit", lambda: 1 << 62)
    assert memory.total(torch.device("cpu")) == 5 << 30
