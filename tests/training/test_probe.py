"""The threads and the layout that a probe chooses, with speeds that are made up; a run keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.run.test_prepare import SMALL, quiet
from tests.training.test_loop import CONFIG, batches
from toolkit import recipe as recipes
from toolkit.diffusion import Denoiser, RectifiedFlow, RegressionDenoiser
from toolkit.run import prepare
from toolkit.run import train as toolkit_run
from toolkit.training import threads
from toolkit.training.loop import BatchSource, Config
from toolkit.training.probe import Probe, probe


def configure(steps: int, channels_last: bool) -> Config:
    return Config(steps=steps, batch=CONFIG.batch, channels_last=channels_last)


def choose(rates: dict[tuple[int, bool], float], counts: list[int], net: nn.Module) -> tuple[Probe, list[Any]]:
    """The probe of a machine with these rates for (threads, channels last), and what it asked for."""
    asked = []

    def rate(denoiser: Denoiser, source: BatchSource, config: Config, varied: bool) -> float:
        asked.append((torch.get_num_threads(), config.channels_last))
        return rates[asked[-1]]

    before = torch.get_num_threads()
    found = probe(RegressionDenoiser(net, RectifiedFlow()), batches, configure, quiet, None, counts, rate)
    assert torch.get_num_threads() == before
    return found, asked


def test_fewer_threads_are_taken_where_they_are_faster_and_the_layout_is_measured_with_them() -> None:
    rates = {(2, False): 1.0, (1, False): 7.0, (1, True): 8.0, (2, True): 1.1}
    found, asked = choose(rates, [2, 1], nn.Conv2d(1, 1, 3))
    assert asked == [(2, False), (1, False), (1, True)]
    assert (found.threads, found.channels_last, found.steps_per_second) == (1, True, 8.0)
    assert "1 of 2 threads, which was faster" in found.describe()
    found, asked = choose({(2, False): 3.0, (1, False): 2.0, (2, True): 2.5}, [2, 1], nn.Conv2d(1, 1, 3))
    assert (found.threads, found.channels_last, found.steps_per_second) == (2, False, 3.0)
    assert found.describe().endswith("2 threads")
    assert choose({(1, False): 3.0}, [1], nn.Linear(1, 1))[0].describe().endswith("1 thread")


def test_which_numbers_of_threads_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, said = torch.device("cpu"), list[str]()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for now, wanted in ((8, [8, 4]), (3, [3, 1]), (2, [2, 1]), (1, [1])):
        with threads.using(now):
            assert threads.candidates(None, cpu, said.append) == wanted
    with threads.using(4):
        assert threads.candidates(None, torch.device("cuda"), said.append) == [4]
        assert threads.candidates(2, cpu, said.append) == [2] and not said
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        assert threads.candidates(16, cpu, said.append) == [4] and "16 threads" in said[0]
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert threads.candidates(None, cpu, said.append) == [4]


def test_a_resumed_run_keeps_the_threads_that_it_began_with(tmp_path: Path) -> None:
    out, said = tmp_path / "r", list[str]()
    with threads.using(2):  # at least as many as are asked for, whatever this machine has
        plan = prepare.prepare(recipes.replace(SMALL, {"train.steps": 2}), out, "cpu", quiet, threads=2)
        during = {torch.get_num_threads() for _ in plan.run()}
    assert during == {2} and recipes.load(out / "recipe.toml").train.threads == 2
    with threads.using(1):
        again = prepare.prepare(recipes.replace(SMALL, {"train.steps": 2}), out, "cpu", said.append)
    wanted = min(2, max(1, prepare.candidates(2, torch.device("cpu"), quiet)[0]))
    assert again.probe.threads == wanted
    assert ("last digits may differ" in " ".join(said)) == (wanted == 1)
    # what the user asks for wins
    assert prepare.prepare(recipes.replace(SMALL, {"train.steps": 2}), out, "cpu", quiet, threads=1).probe.threads == 1


def test_threads_are_put_back_after_a_run_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    plan = prepare.prepare(SMALL, tmp_path / "r", "cpu", quiet, threads=1)
    monkeypatch.setattr(toolkit_run.loop, "fit", lambda *_: iter([1 / 0]))
    with threads.using(before), pytest.raises(ZeroDivisionError):
        list(plan.run())
    assert torch.get_num_threads() == before
