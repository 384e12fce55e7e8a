"""Samples and generators in Python and in notebooks: objects where names are, parts, and what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import toolkit
from tests.run.test_generator import made
from toolkit.diffusion import DDIM, GRIDS, Schedule
from toolkit.errors import UsageError


def test_objects_are_taken_where_names_are() -> None:
    generator = made(steps=6)
    named = generator.sample(5, sampler="ddim", grid="log-snr", steps=6, seed=3).x
    spread = generator.modality.facts.spread
    assert spread is None  # so the grid begins where its default does

    def mine(schedule: Schedule, n: int) -> Tensor:
        return GRIDS["log-snr"](schedule, n)

    times = GRIDS["log-snr"](generator.denoiser.schedule, 6)
    for grid in (mine, times, {"name": "log-snr"}):
        assert torch.equal(generator.sample(5, sampler=DDIM(), grid=grid, steps=6, seed=3).x, named)

    class Mine(DDIM):
        """A sampler that nobody registered."""

        def step(self, *args: object, **named: object) -> Tensor:
            return 2 * super().step(*args, **named)  # type: ignore[arg-type]

    assert not torch.allclose(generator.sample(5, sampler=Mine(), grid=times, seed=3).x, named)
    seen = [(step.index, step.total) for step in generator.steps(5, sampler="ddim", grid=times[:4])]
    assert seen == [(k, 4) for k in (1, 2, 3, 4)]  # the last takes out what noise is left there
    with pytest.raises(UsageError, match="unknown sampler 'nosuch'"):
        generator.sample(5, sampler="nosuch")


def test_some_of_them() -> None:
    samples = made(steps=2).sample(6, label=["upper", "lower"] * 3)
    one, some = samples[1], samples[[4, 0]]
    assert len(one) == 1 and one.labels == ("lower",) and torch.equal(one.x[0], samples.x[1])
    assert some.labels == ("upper", "upper") and torch.equal(some.x, samples.x[[4, 0]])
    assert torch.equal(samples[-2:].x, samples.x[-2:]) and samples[-1].labels == ("lower",)
    assert [s.labels[0] for s in samples] == list(samples.labels)
    with pytest.raises(IndexError):
        samples[6]
    assert repr(samples) == "<6 samples of points, 2, seed 0: upper, lower>"


def test_what_a_notebook_shows(tmp_path: Path) -> None:
    generator = made(steps=2)
    shown = generator.sample(3)._repr_html_()
    assert shown.startswith('<img alt="&lt;3 samples of points') and "data:image/png;base64," in shown
    assert repr(generator) == "<generator 'points' of points, 0 parameters, on cpu>"
    assert {"load", "train", "__version__"} <= set(dir(toolkit))
    for package in ("toolkit", "modalities"):
        assert (Path(toolkit.__file__).parents[1] / package / "py.typed").is_file()
