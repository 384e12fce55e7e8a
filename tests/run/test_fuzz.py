"""Every kind of file of a run, changed in any way, through every reader: it ends well or in an error of ours.

`READERS` has what reads each, as the commands do. A recipe or facts that say something
else are a stranger's, so the run has no copies that know better (tests/run/test_protected.py has those).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.run.points_run import forget_copies, quiet
from tests.run.tiny_runs import made
from tests.training.test_checkpoint_hostile import forge
from toolkit import recipe as recipes
from toolkit.discovery import find
from toolkit.errors import ToolkitError
from toolkit.evaluation import results
from toolkit.evaluation.evaluate import place
from toolkit.evaluation.table import Metric, Table
from toolkit.report import report
from toolkit.run import data_block, layout, prepare
from toolkit.run.generator import load
from toolkit.training import measurement
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.storage.metrics import Metrics

KINDS = ("image", "audio", "text")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    found = made(tmp_path_factory.mktemp("fuzz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda fd: None)
        for run in found.values():
            forget_copies(run)
            table = Table(
                (Metric("FD", 2.0, 1.0, 3.0, 64, 0.5, 9.0, judge="x"),), {"step": 1, "samples": 64, "seed": 0}
            )
            (run / "evaluation").mkdir()
            (run / "evaluation" / "metrics.json").write_text(table.to_json())
            (run / "evaluation" / "reproduction.json").write_text('{"format": 1, "figures": []}')
            line = {"step": 1, "held_out": 1.0, "floor": None, "levels": [], "draws": 2}
            each = {"held_out": [1.0, 2.0], "trained": [1.0], "floor": []}
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({**line, "each": each}) + "\n")
        yield found


def loading(run: Path) -> None:
    load(run, "cpu", notify=quiet)


def sampling(run: Path) -> None:
    load(run, "cpu", notify=quiet).sample(1, steps=1, restarts=0, back=1, guidance=1.0)


def reporting(run: Path) -> None:
    report(run, notify=quiet)


def resuming(run: Path) -> None:
    """Read what `toolkit train` reads of a run before it looks at the data."""
    before = prepare._earlier(recipes.load(run / "recipe.toml"), run, quiet)
    assert before is not None
    data_block.check_same(before[1], before[1], run, False)
    CheckpointStore(run / "checkpoints").load(notify=quiet)
    with Metrics(run / "metrics.jsonl", 1) as metrics:
        metrics.take_notes()


def measuring(run: Path) -> None:
    measurement.best_step(run / "metrics.jsonl", [1])


def evaluating(run: Path) -> None:
    place(load(run, "cpu", notify=quiet), "")


def filing(run: Path) -> None:
    results.section(run)


READERS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "recipe.toml": (loading, resuming, sampling, reporting),
    "facts.json": (loading, resuming, sampling, reporting),
    "metrics.jsonl": (resuming, measuring, reporting),
    "machine.json": (reporting,),
    "data.json": (reporting,),
    "manifest.json": (loading, resuming, sampling),
    "state.json": (loading, resuming, sampling),
    "evaluation/metrics.json": (evaluating, filing, reporting),
    "evaluation/reproduction.json": (reporting,),
}

NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**18, 10**400, 1e-300, 1e300, float("nan"), float("inf")])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CHANGES = st.tuples(st.sampled_from(["value", "value", "value", "flip", "cut", "bytes", "gone", "nested", "json"]),
                    st.integers(0, 2**32), VALUES, st.binary(max_size=40))  # fmt: skip
Change = tuple[str, int, Any, bytes]


def changed(path: Path, change: Change) -> bytes | None:
    """The content of a file after a change; None: it is gone."""
    how, number, value, raw = change
    good = path.read_bytes() if path.exists() else b"{}"
    if how == "gone":
        return None
    if how == "flip":
        place = number % max(1, len(good))
        return good[:place] + bytes([good[place] ^ (1 << number % 8)]) + good[place + 1 :] if good else raw
    if how == "cut":
        return good[: number % (len(good) + 1)]
    if how == "bytes":
        place = number % (len(good) + 1)
        return good[:place] + raw + good[place:]
    if how == "nested":
        return b"[" * 100_000 if number % 2 else b'{"a":' * 100_000
    if how == "json":
        return json.dumps(value).encode()
    try:
        return with_value(path, good, number, value)
    except (TypeError, ValueError, RecursionError):  # TOML has no null, and JSON no surrogates
        return raw


def with_value(path: Path, good: bytes, number: int, value: Any) -> bytes:
    """The same content with another value at one of its places."""
    lines = good.splitlines() if path.suffix == ".jsonl" else [good]
    line = number % len(lines)
    toml = path.suffix == ".toml"
    content = recipes.tomllib.loads(good.decode()) if toml else json.loads(lines[line])
    places = [(content, key) for key in content]
    for table, key in places:
        inside = table[key]
        keys = inside if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
        places += [(inside, key) for key in keys]
    table, key = places[(number // 7) % len(places)]
    table[key] = value
    lines[line] = tomli_w.dumps(content).encode() if toml else json.dumps(content).encode()
    return b"\n".join(lines)


def survive(run: Path, name: str, change: Change, readers: Sequence[Callable[[Path], None]]) -> list[str]:
    """Change a file of a run, and read it by all that reads it; returns what was said by each. The run is as before."""
    folder = next((run / "checkpoints").iterdir())
    inside = name in ("manifest.json", "state.json")
    path = (folder if inside else run) / name
    kept = path.with_name(path.name + ".kept") if not inside else run / "kept"
    shutil.copyfile(path, kept)
    manifest = (folder / "manifest.json").read_bytes()
    said = []
    try:
        data = changed(path, change)
        path.unlink()
        if data is not None:
            path.write_bytes(data)
            if name == "state.json":
                forge(folder, lambda about: None)
        for reader in readers:
            try:
                reader(run)
                said.append("")
            except ToolkitError as error:
                assert "\n" not in str(error) and 0 < len(str(error)) < 2000
                said.append(str(error))
    finally:
        path.unlink(missing_ok=True)
        shutil.copyfile(kept, path)
        kept.unlink()
        (folder / "manifest.json").write_bytes(manifest)
    return said


def test_a_run_that_is_not_changed_is_read_by_all(runs: dict[str, Path]) -> None:
    """Otherwise the tests below would show nothing."""
    for run in runs.values():
        for reader in {reader for readers in READERS.values() for reader in readers} - {filing}:
            reader(run)
        facts = layout.read_run(run)[1]
        assert find(run.name)(*recipes.validate_for(layout.read_run(run)[0], find(run.name)), facts).wrong_facts() == ""


def quick(cases: int) -> settings:
    return settings(
        max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )


CASES = {"recipe.toml": 90, "facts.json": 110, "metrics.jsonl": 50, "machine.json": 10, "data.json": 10}
CASES |= {"manifest.json": 110, "state.json": 80, "evaluation/metrics.json": 30, "evaluation/reproduction.json": 10}


def test_five_hundred_are_tried() -> None:
    assert sum(CASES.values()) == 500 and set(CASES) == set(READERS)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_file_ends_in_an_error_of_ours(name: str, runs: dict[str, Path]) -> None:
    """Files that are read quickly get more cases; every ninth of the cases is sampled from and reported too."""
    refused = 0

    @quick(CASES[name])
    @given(kind=st.sampled_from(KINDS), change=CHANGES)
    def run_all(kind: str, change: Change) -> None:
        nonlocal refused
        readers = READERS[name]
        refused += any(survive(runs[kind], name, change, readers if change[1] % 9 == 0 else readers[:2]))

    run_all()
    assert refused > CASES[name] / 10 or readers_forgive(name)


def readers_forgive(name: str) -> bool:
    """True for files that are left out where they are damaged, and refused by none."""
    return name in ("machine.json", "data.json", "evaluation/reproduction.json", "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ten_thousand_changed_files_end_in_errors_of_ours(name: str, runs: dict[str, Path]) -> None:
    """1,200 of each of nine kinds: 10,800."""

    @quick(1200)
    @given(kind=st.sampled_from(KINDS), change=CHANGES)
    def run_all(kind: str, change: Change) -> None:
        survive(runs[kind], name, change, READERS[name])

    run_all()
