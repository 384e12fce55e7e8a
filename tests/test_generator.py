"""Restarts: the last steps taken again from a sample with noise added."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import RectifiedFlow
from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.schedule import expand
from toolkit.errors import UsageError
from toolkit.generator import Generator
from toolkit.modality import find
from toolkit.recipe import from_mapping

FILE = str(Path(__file__).parent / "points.py")
S = 0.5


class Gaussian(Denoiser):
    """E[x | x_t] of points that are N(0, S^2), exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.net = RectifiedFlow(), nn.Identity()
        self.times: list[float] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        self.times.append(float(t))
        alpha, sigma = (expand(c, x_t) for c in self.schedule(t.expand(len(x_t))))
        return (alpha * S**2 / (alpha**2 * S**2 + sigma**2) * x_t).float()

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


def made(**sample: object) -> Generator:
    kind = find(FILE)
    points = kind(kind.Data(), kind.Model())
    points.open(Path("unused"), lambda line: None)
    assert not isinstance(kind.default_recipe, str)
    recipe = from_mapping({**kind.default_recipe, "sample": {"grid": "uniform", "clip": False, **sample}}, FILE)
    return Generator(recipe, points, Gaussian(), torch.device("cpu"))


def calls(generator: Generator) -> list[float]:
    assert isinstance(generator.denoiser, Gaussian)
    return [round(t, 9) for t in generator.denoiser.times]


@pytest.mark.parametrize("sampler", ["heun", "ddpm"])
def test_restarts_leave_the_distribution_as_it_is(sampler: str) -> None:
    """Of a denoiser that is exact; and points are moved: how far is known, x' = c x + noise keeps E[x x'] = c S^2."""
    generator = made(sampler=sampler, steps=200, back=100, restarts=3)
    few, many = (generator.sample(4_000, restarts=r, batch=4_000).x.double() for r in (0, 3))
    # the standard error of a variance of 8,000 numbers is 1.6 %
    for x in (few, many):
        assert float(x.mean()) == pytest.approx(0, abs=0.03) and float(x.var()) == pytest.approx(S**2, rel=0.07)
    # x_t at t = 1/2 is (x + eps) / 2; what is found from it has a correlation with x of S^2 / (S^2 + 1) when the way
    # back is random, and its root when it is not
    once = generator.sample(4_000, restarts=1, batch=4_000).x.double()
    correlation = S**2 / (S**2 + 1)
    wanted = correlation if sampler == "ddpm" else correlation**0.5
    assert float((few * once).mean() / S**2) == pytest.approx(wanted, abs=0.06)


def test_the_last_steps_are_taken_again() -> None:
    generator, seen = made(sampler="ddim", steps=5, back=2, restarts=2), []
    generator.sample(2, progress=lambda done, total: seen.append((done, total)))
    assert calls(generator) == [1.0, 0.8, 0.6, 0.4, 0.2, 0.4, 0.2, 0.4, 0.2]
    assert seen == [(k + 1, 9) for k in range(9)]
    steps = list(generator.trajectory([0, 1], restarts=1))
    assert [step.index for step in steps] == list(range(7))
    assert [round(step.s, 9) for step in steps] == [0.8, 0.6, 0.4, 0.2, 0.0, 0.2, 0.0]


def test_none_is_as_before_and_a_sample_does_not_depend_on_the_batch() -> None:
    generator = made(sampler="ddpm", steps=5, back=2)
    plain = generator.sample(6).x
    torch.testing.assert_close(generator.sample(6, restarts=0).x, plain, rtol=0, atol=0)
    again = generator.sample(6, restarts=2).x
    assert float((again - plain).abs().min()) > 0
    torch.testing.assert_close(generator.sample(4, restarts=2, batch=1).x, again[:4])


def test_a_restart_from_before_the_beginning_is_refused() -> None:
    generator = made(sampler="ddim", steps=5, back=6)
    generator.sample(1)
    with pytest.raises(UsageError, match="a restart goes 6 steps back"):
        generator.sample(1, restarts=1)
    assert len(generator.sample(1, restarts=1, steps=6)) == 1


def test_where_a_grid_ends_with_noise_each_restart_takes_it_out() -> None:
    """One more call at the end of each: what is noised again has none of the noise of before."""
    generator = made(sampler="ddim", grid="karras", steps=4, back=1, restarts=1)
    generator.sample(1)
    assert len(calls(generator)) >= 5
    (*_, last) = generator.trajectory([0])
    assert torch.equal(last.x, last.x_hat)
