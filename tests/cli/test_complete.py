"""The tab key: what bash is offered, by the real program, without torch and whatever a run's files say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from tests.report.runs import make_run
from toolkit import recipe as recipes
from toolkit.cli import complete


@pytest.fixture
def offered(toolkit_command: Command, tmp_path: Path) -> object:
    """A function: command line -> what bash offers for its last word. The import of torch fails and leaves a file."""
    trap = tmp_path.parent / f"{tmp_path.name}-trap"
    for name in ("torch", "numpy", "PIL", "matplotlib", "librosa"):
        (trap / name).mkdir(parents=True, exist_ok=True)
        (trap / name / "__init__.py").write_text(f"open({str(trap / 'loaded')!r}, 'w'); raise ImportError")

    def ask(line: str) -> list[str]:
        done = toolkit_command(
            _TOOLKIT_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1),
            PYTHONPATH=f"{trap}:{ROOT}",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), line
        assert not (trap / "loaded").exists(), line
        return [line for line in done.stdout.split("\n") if line]

    return ask


def test_the_program_offers_what_there_is(offered, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = make_run(tmp_path / "runs" / "cats", facts={"labels": ["siam", "tabby", "sphynx", "a\nb"]})
    make_run(tmp_path / "runs" / "dogs", whole=False)
    (tmp_path / "own.toml").write_text("")
    (tmp_path / "mine.py").write_text("open('ran', 'w')")
    (tmp_path / "runs" / "deep" / "er").mkdir(parents=True)
    assert sorted(offered("toolkit rep")) == ["report", "reproduce"]
    assert offered("toolkit sample ") == ["runs/cats", "runs/deep/", "runs/dogs"]
    assert offered("toolkit report runs/c") == ["runs/cats"]
    assert offered("toolkit evaluate runs/cats ") == ["runs/cats", "runs/deep/", "runs/dogs"]
    assert offered("toolkit sample runs/cats --label s") == ["siam", "sphynx"]
    assert offered("toolkit sample runs/cats --ema ") == ["0.05", "0.1"]
    assert offered("toolkit sample runs/cats --sampler dpm") == ["dpm++2s", "dpm++2m", "dpm++3m"]
    assert offered("toolkit train --recipe image/m") == ["image/mnist", "image/mnist-ddpm", "image/mnist-ddpm-cosine"]
    assert offered("toolkit train --recipe o") == ["own.toml"]
    assert offered("toolkit train --modality ") == ["audio", "image", "text", "mine.py", "runs/"]
    assert offered("toolkit train --set train.w") == ["train.warmup=", "train.weight_decay="]
    assert offered("toolkit train --device ") == ["cpu", "cuda", "mps", "gpu"]
    assert {"text", "text/names"} <= set(offered("toolkit train te"))
    assert offered("toolkit verify --only win") == ["windows"]
    assert not (tmp_path / "ran").exists()
    (run / "facts.json").write_text(json.dumps({"labels": 7}))
    assert offered("toolkit sample runs/cats --label s") == []
    (run / "facts.json").write_text("[" * 100_000)
    assert offered("toolkit sample runs/cats --label s") == []


def test_samplers_are_those_of_the_core_and_recipes_those_that_are_shipped() -> None:
    from toolkit.diffusion import GRIDS, SAMPLERS

    assert complete.samplers("") == list(SAMPLERS) and complete.samplers("zzz") == []
    assert complete.grids("") == list(GRIDS)
    offered = complete.recipes("")
    assert set(recipes.list_recipes()) <= set(offered) and "digits" in offered and "folder" not in offered
    assert all(recipes.locate(name) for name in complete.recipes("dr"))


def test_settings_are_keys_of_a_recipe() -> None:
    known = complete.settings("")
    assert "sample.guidance=" in known and not [key for key in known if key.startswith(("data.", "expected."))]
    small = recipes.from_mapping({"name": "x", "modality": "image"})
    for key in known:
        recipes.override(small, {key[:-1]: ""})


def test_paths_that_a_shell_would_trip_over_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\nb").mkdir()
    (tmp_path / "ab").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").touch()
    assert complete.runs("") == ["ab/"] and complete.runs(".h") == [".hidden/"] and complete.runs("nosuch/") == []
    assert complete.runs(f"{tmp_path}/a") == [f"{tmp_path}/ab/"]


def test_completion_can_be_installed(toolkit_command: Command) -> None:
    shown = toolkit_command(_TOOLKIT_COMPLETE="source_bash")  # what --show-completion prints, whatever shell runs this
    assert shown.returncode == 0 and "_TOOLKIT_COMPLETE=complete_bash" in shown.stdout
    assert "--install-completion" in toolkit_command("--help").stdout
