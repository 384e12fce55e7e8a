"""From a denoiser to samples: restarts, guidance and what it goes with, labels, and the sampler's steps one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import ROOT
from toolkit.diffusion import RectifiedFlow, Sqrt
from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.schedule import expand
from toolkit.diffusion.variance import VarianceMeter
from toolkit.discovery import find
from toolkit.errors import UsageError
from toolkit.modality import Request
from toolkit.recipe import from_mapping
from toolkit.run.compose import Guide, Sampling, denoise
from toolkit.run.generator import Generator

FILE = str(ROOT / "tests" / "points.py")
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
    """The denoiser is exact. Points are moved by a known amount: x' = c x + noise keeps E[x x'] = c S^2."""
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
    generator = made(sampler="ddim", steps=5, back=2, restarts=2)
    seen = [(step.index, step.total) for step in generator.steps(2)]
    assert calls(generator) == [1.0, 0.8, 0.6, 0.4, 0.2, 0.4, 0.2, 0.4, 0.2]
    assert seen == [(k + 1, 9) for k in range(9)]
    steps = list(generator.trajectory([0, 1], restarts=1))
    assert [step.index for step in steps] == list(range(7)) and {step.total for step in steps} == {7}
    assert [round(step.s, 9) for step in steps] == [0.8, 0.6, 0.4, 0.2, 0.0, 0.2, 0.0]


def test_none_is_as_before_and_a_sample_does_not_depend_on_the_batch() -> None:
    generator = made(sampler="ddpm", steps=5, back=2)
    plain = generator.sample(6).x
    torch.testing.assert_close(generator.sample(6, restarts=0).x, plain, rtol=0, atol=0)
    again = generator.sample(6, restarts=2).x
    assert float((again - plain).abs().min()) > 0
    torch.testing.assert_close(generator.sample(4, restarts=2, batch=1).x, again[:4])


def test_a_restart_goes_back_to_the_beginning_at_most() -> None:
    generator = made(sampler="ddim", steps=2, back=6, restarts=1)
    *_, last = generator.steps(1)
    assert calls(generator) == [1.0, 0.5, 1.0, 0.5] and (last.index, last.total) == (4, 4)


def test_where_a_grid_ends_with_noise_each_restart_takes_it_out() -> None:
    """By one more call each time, so that what is noised again has none of the noise of before."""
    generator = made(sampler="ddim", steps=3, back=1, restarts=2)
    generator.denoiser.schedule = Sqrt()
    steps = list(generator.trajectory([0]))
    assert [step.index for step in steps] == list(range(len(steps))) and steps[0].total == len(steps)
    ends = [step for step in steps if step.t == step.s]
    assert len(ends) == 3 and all(torch.equal(step.x, step.x_hat) for step in ends)


class Recalling(Gaussian):
    """x_hat is how many calls in a row were told the one before."""

    self_conditioning = True

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


class Told(Denoiser):
    """x_hat depends on neighbours, on the label and on a condition that runs along the example."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.net = RectifiedFlow(), nn.Identity()

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        assert cond is not None
        along = cond["along"].reshape(x_t.shape) if "along" in cond else 0.0
        label = expand(cond["label"], x_t) if "label" in cond else -1.0
        return torch.tanh(x_t + 0.3 * x_t.roll(1, -1) * (1 + label) + along)

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        raise NotImplementedError


X_T, HALF = torch.linspace(-1, 1, 24).reshape(3, 8), torch.tensor(0.5, dtype=torch.float64)
ALONG = {"along": torch.linspace(-1, 0, 24).reshape(3, 1, 8)}
BORDERS = [(0, 4), (2, 6), (4, 8)]


def with_facts(generator: Generator, **facts: object) -> Generator:
    """The same of other data."""
    of = generator.modality
    modality = type(of)(of.data, of.model, of.facts.model_copy(update=facts))
    return Generator(generator.recipe, modality, generator.denoiser, generator.device)


def what_it_says(
    generator: Generator, labels: list[int] | None, w: float | Guide, window: int | None = None, **options: object
) -> Tensor:
    request = Request((0, 1, 2), (1, 8), ALONG, window)
    how = Sampling.of(generator.recipe.sample, {"guidance": w, **options})
    return denoise(generator, request, labels, how)(X_T[:, None], HALF)[:, 0]


def test_what_the_recipe_says_is_done_in_its_order() -> None:
    """Guided, then within the interval, then clipped; the label behind the last is none. log-SNR is 0 at t = 1/2."""
    model, labels = Told(), [0, 1, 1]
    yes = model(X_T, HALF, {**ALONG, "label": torch.tensor(labels)})
    no = model(X_T, HALF, {**ALONG, "label": torch.tensor([2, 2, 2])})
    plain = model(X_T, HALF, ALONG)
    for settings, expected in (
        ({}, no + 3 * (yes - no)),
        ({"rescale": 1.0}, (no + 3 * (yes - no)) * (yes.std(1) / (no + 3 * (yes - no)).std(1))[:, None]),
        ({"interval": [-1.0, 1.0]}, no + 3 * (yes - no)),
        ({"interval": [0.5, 1.0]}, yes),
        ({"interval": [-1.0, -0.5]}, yes),
    ):
        generator = made(**settings)
        generator.denoiser = model
        torch.testing.assert_close(what_it_says(generator, labels, 3.0), expected)
        torch.testing.assert_close(what_it_says(generator, labels, 1.0), yes)
        unguided = settings.get("interval") in ([0.5, 1.0], [-1.0, -0.5])
        torch.testing.assert_close(what_it_says(generator, labels, 0.0), yes if unguided else no)
        if "rescale" not in settings:
            torch.testing.assert_close(what_it_says(generator, labels, 2.0), yes if unguided else 2 * yes - no)
        torch.testing.assert_close(what_it_says(generator, None, 3.0), plain)
    for clipped in (True, False):
        generator = made(clip=clipped)
        generator.denoiser = model
        torch.testing.assert_close(what_it_says(generator, labels, 3.0), no + 3 * (yes - no))  # no bounds are known
        generator = with_facts(generator, bounds=(-0.5, 0.25))
        wanted = (no + 3 * (yes - no)).clamp(-0.5, 0.25) if clipped else no + 3 * (yes - no)
        torch.testing.assert_close(what_it_says(generator, labels, 3.0), wanted)


def test_windows_are_cut_with_their_conditions_and_guided_each() -> None:
    generator, labels = made(), torch.tensor([0, 1, 1])
    generator.denoiser = model = Told()
    weight = torch.sin(torch.pi * (torch.arange(4) + 0.5) / 4) ** 2
    total, said = torch.zeros(8), torch.zeros(3, 8)
    for start, end in BORDERS:
        along = ALONG["along"][..., start:end]
        yes = model(X_T[:, start:end], HALF, {"along": along, "label": labels})
        no = model(X_T[:, start:end], HALF, {"along": along, "label": torch.full((3,), 2)})
        total[start:end] += weight
        said[:, start:end] += weight * (no + 3 * (yes - no))
    torch.testing.assert_close(what_it_says(generator, labels.tolist(), 3.0, window=4), said / total)


def test_a_weak_generator_is_led_away_from() -> None:
    strong, weak = made(rescale=0.0), made()
    strong.denoiser, labels = Told(), [0, 1, 1]
    cond = {**ALONG, "label": torch.tensor(labels)}
    good, bad = strong.denoiser(X_T, HALF, cond), weak.denoiser(X_T, HALF, cond)
    request, how = Request((0, 1, 2), (8,), ALONG), Sampling(guidance=3.0)
    torch.testing.assert_close(denoise(strong, request, labels, how, weak)(X_T, HALF), bad + 3 * (good - bad))
    for facts in ({"shape": (3,)}, {"labels": ("upper",)}):
        other = with_facts(weak, **facts)
        with pytest.raises(UsageError, match="makes other examples"):
            denoise(strong, request, labels, how, other)


def test_its_calls_build_no_graph_and_run_in_its_precision() -> None:
    generator = made()
    generator.denoiser = model = Learning()
    for dtype, expected in ((torch.bfloat16, torch.bfloat16), (None, torch.float32)):
        generator.dtype = dtype
        said = denoise(generator, Request((0, 1, 2), (8,)), None, Sampling())(X_T, HALF)
        assert not said.requires_grad and model.ran_in == expected and torch.is_grad_enabled()


class Learning(Told):
    """Has a layer that autocast knows."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.ran_in = nn.Linear(8, 8), torch.float32

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        made: Tensor = self.net(x_t)
        self.ran_in = made.dtype
        return made.to(x_t)


def test_the_error_that_training_measured_gives_few_steps_their_variance() -> None:
    """A run of N(0, S^2) points whose network is exact: ddpm in four steps, without and with what was measured."""
    generator, n = made(steps=4, sampler="ddpm", grid="log-snr"), 4_000
    schedule, meter = generator.denoiser.schedule, VarianceMeter(horizon=10_000)
    for step in range(200):
        t = torch.sigmoid(3 * torch.randn(256, generator=torch.Generator().manual_seed(step), dtype=torch.float64))
        alpha, sigma = schedule(t)
        meter.observe(t, S**2 * sigma**2 / (alpha**2 * S**2 + sigma**2), schedule)
    learned = {"name": "ddpm", "error": "learned"}
    with pytest.raises(UsageError, match="needs a run that measured it"):
        generator.sample(2, sampler=learned)
    generator.error = meter.table()
    short = float(generator.sample(n, batch=n).x.double().var()) / S**2
    right = float(generator.sample(n, batch=n, sampler=learned).x.double().var()) / S**2
    assert short < 0.5 and right == pytest.approx(1, abs=0.07)  # the standard error of 8,000 numbers is 1.6 %
