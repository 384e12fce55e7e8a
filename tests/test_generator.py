"""Restarts: the last steps taken again from a sample with noise added."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import RectifiedFlow, Sqrt
from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.schedule import expand
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


@pytest.mark.parametrize("sampler", ["heun", "sde-dpm++2m"])
def test_restarts_leave_the_distribution_as_it_is(sampler: str) -> None:
    """Of a denoiser that is exact; and points are moved: how far is known, x' = c x + noise keeps E[x x'] = c S^2."""
    generator, n = made(sampler=sampler, steps=80, back=40), 1_500
    plain, once, thrice = (generator.sample(n, restarts=r, batch=n).x.double() for r in (0, 1, 3))
    # the standard error of a variance of 3,000 numbers is 2.6 %
    for x in (plain, once, thrice):
        assert float(x.mean()) == pytest.approx(0, abs=0.04) and float(x.var()) == pytest.approx(S**2, rel=0.1)
    # x_t at t = 1/2 is (x + eps) / 2; what is found from it has a correlation with x of S^2 / (S^2 + 1) when the way
    # back is random, and its root when it is not
    correlation = S**2 / (S**2 + 1)
    wanted = correlation**0.5 if sampler == "heun" else correlation
    assert float((plain * once).mean() / S**2) == pytest.approx(wanted, abs=0.08)


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


def test_a_restart_goes_back_to_the_beginning_at_most() -> None:
    generator, seen = made(sampler="ddim", steps=2, back=6, restarts=1), []
    generator.sample(1, progress=lambda done, total: seen.append((done, total)))
    assert calls(generator) == [1.0, 0.5, 1.0, 0.5] and seen[-1] == (4, 4)


def test_where_a_grid_ends_with_noise_each_restart_takes_it_out() -> None:
    """By one more call each time, so that what is noised again has none of the noise of before."""
    generator = made(sampler="ddim", steps=3, back=1, restarts=2)
    generator.denoiser.schedule = Sqrt()
    steps = list(generator.trajectory([0]))
    assert [step.index for step in steps] == list(range(len(steps)))
    ends = [step for step in steps if step.t == step.s]
    assert len(ends) == 3 and all(torch.equal(step.x, step.x_hat) for step in ends)


class Recalling(Gaussian):
    """x_hat is how many calls in a row were told the one before."""

    recalls = True

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        known = (cond or {}).get("estimate", torch.zeros_like(x_t))
        return known + 1


def test_estimates_are_of_a_trajectory_and_of_a_restart() -> None:
    """Also in the call that takes the last noise out, and of no other trajectory that is under way."""
    generator = made(sampler="ddim", steps=3, back=2, restarts=1)
    generator.denoiser = Recalling()
    generator.denoiser.schedule = Sqrt()
    wanted = [1, 2, 3, 4, 1, 2, 3]
    one, other = generator.trajectory([0, 1]), generator.trajectory([2])
    found = [(float(a.x_hat[0, 0]), float(b.x_hat[0, 0])) for a, b in zip(one, other, strict=True)]
    assert found == [(k, k) for k in wanted]
    assert not any(step.x.requires_grad for step in generator.trajectory([0]))
