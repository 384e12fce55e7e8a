"""The sampler's steps one by one, and what a call can say otherwise than the recipe."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.run.test_generator import ALONG, HALF, X_T, Told, made, what_it_says
from toolkit.diffusion import Denoise, autoguidance
from toolkit.errors import UsageError
from toolkit.run.samples import SampleStep


def test_the_last_step_has_what_sample_returns() -> None:
    """In several batches, whose samples come one batch after the other, under their numbers and labels."""
    generator = made(sampler="ddpm", steps=3)
    whole = generator.sample(5, label=["upper", "lower"], seed=2)
    steps = list(generator.steps(5, label=["upper", "lower"], seed=2, batch=2))
    assert [(step.index, step.total) for step in steps] == [(k, 9) for k in range(1, 10)]
    assert [step.which for step in steps[::3]] == [(0, 1), (2, 3), (4,)]
    assert [len(step.samples) for step in steps] == [2, 2, 2, 4, 4, 4, 5, 5, 5]
    last = steps[-1].samples
    torch.testing.assert_close(last.x, whole.x)
    assert last.labels == whole.labels == ("upper", "lower", "upper", "lower", "upper")
    between = steps[4].samples  # two are finished, of two others it is what the denoiser took them for
    assert between.labels == ("upper", "lower", "upper", "lower")
    torch.testing.assert_close(between.x[:2], whole.x[:2])
    torch.testing.assert_close(between.x[2:], steps[4].x_hat.float())
    assert not torch.allclose(between.x[2:], whole.x[2:4])
    torch.testing.assert_close(steps[5].x.float(), whole.x[2:4])
    assert repr(steps[0]) == "<step 1 of 9 for 2 samples, t = 1 to 0.6667>"


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    generator = made(sampler="ddim", steps=8)
    plain = generator.sample(2, steps=3, guidance=2.0, label="upper").x
    assert torch.equal(generator.sample(2, "upper", np.int64(3), torch.tensor(2.0)).x, plain)  # type: ignore[arg-type]


def test_whoever_iterates_may_stop() -> None:
    generator = made(sampler="ddim", steps=8)
    for step in generator.steps(4):
        if step.index == 3:
            break
    assert isinstance(step, SampleStep) and len(generator.denoiser.times) == 3  # type: ignore[arg-type]
    assert len(step.samples) == 4 and step.samples.modality is generator.modality


def test_nothing_is_sampled_before_the_options_are_right() -> None:
    generator = made(steps=2)
    for options, message in (
        ({"guidnce": 2}, "unknown option 'guidnce'; did you mean 'guidance'"),
        ({"ema": 0.05}, "unknown option 'ema'"),
        ({"progress": print}, "unknown option 'progress'"),
        ({"guidance": -1}, "sample: guidance: is a number, 0 or more, or a function"),
        ({"guidance": "high"}, "sample: guidance: is a number"),
        ({"steps": 0}, "sample: steps: "),
        ({"restarts": -1}, "sample: restarts: "),
        ({"rescale": 2.0}, "sample: rescale: "),
        ({"interval": (1.0, -1.0)}, "sample: interval: goes from a low to a high log-SNR, not from 1 to -1"),
        ({"interval": 3}, "sample: interval: "),
        ({"clip": "no"}, "sample: clip: "),
        ({"sampler": 3}, "sample: sampler: must be a name"),
        ({"grid": object()}, "grid: builtins.object is no function"),
        ({"n": 0}, "at least one sample is needed"),
    ):
        with pytest.raises(UsageError) as caught:
            generator.sample(**options)  # type: ignore[arg-type]
        assert message in str(caught.value) and "\n" not in str(caught.value)
    assert generator.denoiser.times == []  # type: ignore[comparison-overlap]


def test_a_call_says_otherwise_what_the_recipe_says() -> None:
    """rescale, interval and clip; None leaves the recipe's, and an interval of everything is as none."""
    model, labels = Told(), [0, 1, 1]
    yes, no = (model(X_T, HALF, {"label": torch.tensor(at), **ALONG}) for at in (labels, [2, 2, 2]))
    guided = no + 3 * (yes - no)
    for settings in ({}, {"interval": [0.5, 1.0], "rescale": 1.0}):
        generator = made(**settings)
        generator.denoiser = model
        everywhere = (-math.inf, math.inf)
        torch.testing.assert_close(
            what_it_says(generator, labels, 3.0, interval=everywhere, rescale=0.0, clip=False), guided
        )
        torch.testing.assert_close(what_it_says(generator, labels, 3.0, interval=[0.5, 1.0], rescale=0.0), yes)
        expected = guided * (yes.std(1) / guided.std(1))[:, None]
        torch.testing.assert_close(what_it_says(generator, labels, 3.0, interval=everywhere, rescale=1.0), expected)
    torch.testing.assert_close(what_it_says(generator, labels, 3.0, interval=None), yes)


def test_guidance_may_be_a_function_of_two_denoisers() -> None:
    """The two are the model under the label and without it; the interval and clipping apply as with a number."""
    generator, labels = made(), [0, 1, 1]
    generator.denoiser = Told()
    by_number = what_it_says(generator, labels, 3.0)

    def mine(strong: Denoise, weak: Denoise) -> Denoise:
        def guided(x_t: Tensor, t: Tensor) -> Tensor:
            return weak(x_t, t) + 3 * (strong(x_t, t) - weak(x_t, t))

        return guided

    for guide in (mine, functools.partial(autoguidance, w=3.0)):
        torch.testing.assert_close(what_it_says(generator, labels, guide), by_number)
    plain = what_it_says(generator, labels, 1.0)
    torch.testing.assert_close(what_it_says(generator, labels, mine, interval=[0.5, 1.0]), plain)
    # where there is no label, both are the model
    torch.testing.assert_close(what_it_says(generator, None, mine), what_it_says(generator, None, 1.0))
    torch.testing.assert_close(
        generator.sample(3, guidance=mine, steps=2, label="lower").x, generator.sample(3, "lower", 2, 3.0).x
    )
    weak = made()
    torch.testing.assert_close(
        generator.sample(2, guidance=mine, steps=2, weak=weak).x, generator.sample(2, None, 2, 3.0, weak=weak).x
    )


def test_gradients_may_be_taken_inside_a_guide() -> None:
    """As classifier guidance does; the model itself is called without."""
    generator = made(sampler="ddim", steps=2)

    def pulled(strong: Denoise, weak: Denoise) -> Denoise:
        def guided(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x_t.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(-(x - 1).square().sum() / 2, x)
            return strong(x_t, t) + slope

        return guided

    pushed, plain = generator.sample(4, guidance=pulled).x, generator.sample(4).x
    assert float((pushed - plain).abs().min()) > 0 and not pushed.requires_grad
