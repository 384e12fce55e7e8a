"""`toolkit reproduce` and `toolkit results` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from toolkit import recipe as recipes
from toolkit.errors import DataError, UsageError
from toolkit.evaluation import results

POINTS = str(ROOT / "tests" / "points.py")
RECIPE = f"""
name = "moons"
modality = "{POINTS}"
[train]
steps = 100
previews = 0
batch = 64
[sample]
sampler = "heun"
grid = "uniform"
steps = 4
[smoke]
n = 8
changes = {{"train.steps" = 30, "sample.steps" = 2}}
[smoke.figures]
"held-out loss" = {{value = 1.0, HELD}}
"sample loss" = {{value = 1.0, at_least = 0.01}}
"""


def recipe_file(folder: Path, held: str) -> str:
    (folder / "moons.toml").write_text(RECIPE.replace("HELD", held))
    return "moons.toml"


def test_a_smoke_that_passes_and_one_that_falls_short(tmp_path: Path, toolkit_command: Command) -> None:
    ours = recipe_file(tmp_path, "at_most = 1.9")
    done = toolkit_command("reproduce", ours, "--smoke", "--modality", POINTS, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "points/moons: pass (2 of 2 figures compared)"
    assert "at most 1.9" in done.stdout and "30/30" in done.stdout
    (run,) = (tmp_path / "runs" / "reproduce").glob("moons-smoke-*")
    written = json.loads((run / "evaluation" / "reproduction.json").read_text("utf-8"))
    assert written["passed"] and written["machine"]["torch"]
    assert {path.name for path in (run / "evaluation" / "reproduction").iterdir()} == {"metrics.json", "samples.png"}
    # what was expected of the smoke is no part of the run
    assert not recipes.load(run / "recipe.toml").smoke.figures

    theirs = recipe_file(tmp_path, "within = 1e-9")
    done = toolkit_command("reproduce", theirs, "--smoke", "--modality", POINTS, "--out", str(run))
    assert done.returncode == 1 and done.stderr == ""
    assert "goes on from step 30" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("points/moons: falls short (held-out loss 1.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which recipe?"),
        (["moons.toml", "--smoke"], "if you trust that, name it: --modality"),
        (["moons.toml", "--modality", POINTS], "no figures to compare with in [expected] yet; --smoke has"),
        (["digits", "--minutes", "1"], "--minutes would make it another recipe"),
        (["digits", "--set", "train.lr=1"], "--set would make it another recipe"),
        (["digits", "--steps=3", "--smoke"], "--steps would make it another recipe"),
        (["digits", "--smke"], "did you mean '--smoke'?"),
        (["digts"], "did you mean 'digits'?"),
        (["--all"], "--all goes with --smoke"),
        (["digits", "--all", "--smoke"], "--all goes with --smoke"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, toolkit_command: Command, arguments: list[str], said: str) -> None:
    recipe_file(tmp_path, "at_most = 1.5")
    done = toolkit_command("reproduce", *arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_documents_say_what_the_recipes_say(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert results.rewritten(text, results.shipped_recipes(), page) == text, f"run: toolkit results --write {page}"


def measured() -> list[tuple[str, recipes.Recipe]]:
    figures = {
        "agreement": {
            "value": 0.992,
            "within": 0.02,
            "unit": "share",
            "interval": [0.984, 0.996],
            "beside": "99.1 % of real | digits",
        },
        "copies|near": {"value": 0.0, "at_most": 0.01},
        "bits/dim": {"value": 3.5, "within": 0.1, "unit": "bits/dim"},
    }
    said = {"machine": "2 cores", "date": "2026-11-26", "toolkit": "0.1.0", "steps": 3213, "minutes": 10.3}
    base = {"name": "x", "modality": "image"}
    one = recipes.from_mapping({**base, "expected": {**said, "figures": figures}})
    bits = {key: value for key, value in said.items() if key != "minutes"} | {
        "figures": {"bits/dim": figures["bits/dim"]}
    }
    other = recipes.from_mapping({**base, "train": {"minutes": 5}, "expected": bits})
    return [("image/x", one), ("image/y", recipes.from_mapping(base)), ("image/z", other)]


def test_a_row_for_each_recipe_that_was_measured() -> None:
    head, line, *rows = results.markdown(measured()).splitlines()
    assert head.count("|") == line.count("|") == 6
    assert rows == [
        "| image/x | 10.3 | agreement 99.2 % (98.4 % to 99.6 %) | 99.1 % of real \\| digits |"
        " `toolkit reproduce image/x` |",
        "| image/z | 5 planned | bits/dim 3.5 |  | `toolkit reproduce image/z` |",
    ]
    assert results.markdown([]) == ""


def test_all_figures_and_what_a_reproduction_must_come_to() -> None:
    head, line, *rows = results.markdown_in_full(measured()).splitlines()
    assert head.count("|") == line.count("|") == 5
    assert rows == [
        "| image/x | 10.3 (3,213 steps) | agreement 99.2 % (98.4 % to 99.6 %), +- 2 %<br>copies\\|near 0, at most 0.01"
        "<br>bits/dim 3.5, +- 0.1 | 2 cores; 2026-11-26, version 0.1.0 |",
        "| image/z | 3,213 steps | bits/dim 3.5, +- 0.1 | 2 cores; 2026-11-26, version 0.1.0 |",
    ]
    assert results.markdown_in_full([]) == ""


def test_only_what_is_between_the_markers_is_rewritten() -> None:
    known = measured()
    short, full = results.markdown(known), results.markdown_in_full(known)
    text = f"a\n{results.BEGIN}\nold\n\\1 lines\n{results.END}\nb\n"
    once = results.rewritten(text, known)
    assert once == f"a\n{results.BEGIN}\n{short}\n{results.END}\nb\n"
    assert results.rewritten(once, known) == once
    other = f"a\n{results.BEGIN_FULL}\n\n{results.END}\nb\n"
    assert results.rewritten(other, known) == f"a\n{results.BEGIN_FULL}\n{full}\n{results.END}\nb\n"
    both = results.rewritten(text + other, iter(known))
    assert short in both and full in both and "old" not in both
    for wrong in ("a\nb\n", text + text, other + other, text + text + other):
        with pytest.raises(UsageError, match="must have one line '<!-- results"):
            results.rewritten(wrong, known)


def test_the_command_writes_the_file_and_nothing_when_it_cannot(tmp_path: Path, toolkit_command: Command) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"a\n{results.BEGIN}\nformer\n{results.END}\nb\n")
    done = toolkit_command("results", "--write", "README.md")
    assert done.returncode == 0 and "rewritten" in done.stdout, done.stderr
    assert page.read_text("utf-8").startswith("a\n") and "former" not in page.read_text("utf-8")
    page.write_text("no markers")
    done = toolkit_command("results", "--write", "README.md")
    assert done.returncode == 2 and page.read_text() == "no markers"


def test_an_evaluated_run_as_a_section(tmp_path: Path) -> None:
    from toolkit.evaluation.table import Metric, Table, omission

    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    recipe = recipes.from_mapping({"name": "x", "modality": "image", "train": {"steps": 9}})
    (run / "recipe.toml").write_text(recipes.dump(recipe))
    (run / "facts.json").write_text('{"shape": [1, 4, 4]}')
    figures = (
        Metric("judge accuracy", 0.99, 0.98, 1.0),
        Metric("agreement", 0.95, 0.93, 0.97, floor=0.991, unit="share", judge="x-1"),
        Metric("agreement/3", 0.9, 0.8, 1.0),
        omission("FD", "too few"),
    )
    (run / "evaluation" / "metrics.json").write_text(Table(figures, {"samples": 400, "seed": 2}).to_json())
    said = recipes.tomllib.loads(results.section(run))
    found = recipes.from_mapping({**recipes.tomllib.loads(recipes.dump(recipe)), **said}).expected
    assert (found.steps, found.n, found.seed) == (9, 400, 2) and "torch" in found.machine
    assert list(found.figures) == ["agreement"]
    agreement = found.figures["agreement"]
    assert (agreement.value, agreement.within, agreement.interval) == (0.95, 0.04, (0.93, 0.97))
    assert (agreement.judge, agreement.unit, agreement.beside) == ("x-1", "share", "99.1 % of real data")
    for step in (5, 9):
        (run / "evaluation" / "metrics.json").write_text(
            Table(figures, {"samples": 400, "seed": 2, "step": step}).to_json()
        )
        if step == 9:
            assert recipes.tomllib.loads(results.section(run)) == said
        else:
            with pytest.raises(DataError, match="is of step 5, and the run ends at step 9; evaluate it again"):
                results.section(run)
