"""The loss at fixed noise against closed forms, what it costs, and the floor that a training set allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toolkit.diffusion import VP, Denoiser, LogitNormal, RectifiedFlow, RegressionDenoiser, Uniform
from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.loss import EDM, MinSNR, TimeDistribution, Unweighted, Weighting
from toolkit.diffusion.randomness import Draws
from toolkit.modality import Conditioning, Dataset, Examples, Facts, InMemory, Modality, Splits
from toolkit.training import held_out
from toolkit.training.floor import least_losses
from toolkit.training.held_out import DRAWS, MAX_DRAWS, FixedNoise, amounts
from toolkit.verify.oracle import EmpiricalDenoiser, GaussianDenoiser


class Masked(Conditioning):
    """A mask for examples of unequal length."""

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        if "length" not in examples.cond:
            return examples
        mask = (torch.arange(examples.raw.shape[-1]) < examples.cond["length"][:, None]).float()[:, None]
        return Examples(examples.raw, {"mask": mask})


class Vectors(Modality):
    """Raw examples as they are: (B, d)."""

    name = "vectors"
    default_recipe = {}

    def __init__(self, raw: Tensor, labels: Tensor | None = None, lengths: Tensor | None = None) -> None:
        names = () if labels is None else tuple("abcdef"[: int(labels.max()) + 1])
        super().__init__(self.Data(), self.Model(), Facts(shape=tuple(raw.shape[1:]), labels=names, count=len(raw)))
        self.examples = InMemory(raw, {} if labels is None else {"label": labels})
        self.examples.lengths = lengths

    def load(self, cache, notify):  # type: ignore[no-untyped-def]
        return Splits("vectors", self.examples, self.examples, self.facts)

    def dataset(self, split: str) -> Dataset:
        return self.examples

    def network(self) -> nn.Module:
        raise NotImplementedError

    def write(self, raw, folder, stems, options=None):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def preview(self, raw, labels=()):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def conditioning(self) -> Conditioning:
        return Masked(self.shape)


class Net(nn.Module):
    """The best x_hat of N(0, 1), as a network that predicts x."""

    def __init__(self, add: float = 0.0) -> None:
        super().__init__()
        self.add = nn.Parameter(torch.tensor(add))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        ratio = torch.exp(4 * c_noise).reshape(-1, *[1] * (x.ndim - 1))
        alpha = 1 / (1 + ratio)  # of a straight path
        # c_in x_t, whose variance is 1, times alpha / sqrt(alpha^2 + sigma^2)
        return x * alpha / (alpha**2 + (1 - alpha) ** 2).sqrt() + self.add


def drawn(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def fixed(
    modality: Modality, n: int = 64, draws: int = 4, law: TimeDistribution | None = None,
    weighting: Weighting | None = None, purpose: str = "held-out", seed: int = 0,
) -> FixedNoise:  # fmt: skip
    return FixedNoise(
        modality, modality.dataset("test"), n, draws, seed, purpose, law or LogitNormal(), weighting or Unweighted()
    )


def exact(add: float = 0.0, prediction: str = "x0") -> RegressionDenoiser:
    return RegressionDenoiser(Net(add), RectifiedFlow(), prediction)


def test_the_loss_of_the_exact_denoiser_and_of_one_that_is_off() -> None:
    measured = fixed(Vectors(drawn(4000, 8)), 2000, 8, Uniform(0.0))
    losses = measured.losses(exact())
    # the mean over t in [0, 1] of sigma^2 / (alpha^2 + sigma^2), which is 1/2
    error = float(losses.mean(1).std()) / 2000**0.5
    assert float(losses.mean()) == pytest.approx(0.5, abs=4 * error) and error < 0.005
    off = measured.losses(exact(0.3))
    difference = (off - losses).mean(1)
    assert float(difference.mean()) == pytest.approx(0.09, abs=4 * float(difference.std()) / 2000**0.5)
    # the same examples and noise: what the two have in common is in neither
    assert float(difference.std()) < 0.5 * float((off.mean(1) - losses.mean(1).flip(0)).std())


def test_a_measurement_is_a_function_of_its_seed_and_purpose_alone() -> None:
    data = Vectors(drawn(300, 5))
    torch.manual_seed(1)
    first = fixed(data).losses(exact())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(fixed(data).losses(exact()), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(fixed(data, purpose="trained").losses(exact()), first)
    assert not torch.equal(fixed(data, seed=1).losses(exact()), first)
    # fewer examples are the first of more
    assert torch.equal(fixed(data, 20).losses(exact()), first[:20])


@pytest.mark.parametrize("weighting", [EDM(), MinSNR()])
def test_weights_are_those_of_training(weighting: Weighting) -> None:
    data = Vectors(drawn(300, 5))
    plain = fixed(data).losses(exact())
    t = fixed(data).time_distribution.time(fixed(data).quantiles().flatten(), RectifiedFlow())
    weight = weighting.on_x(t, RectifiedFlow()).view_as(plain)
    torch.testing.assert_close(fixed(data, weighting=weighting).losses(exact()), plain * weight, rtol=1e-5, atol=0)


def test_examples_of_unequal_length_are_measured_as_if_alone() -> None:
    raw, lengths = drawn(50, 1, 12), torch.arange(50) % 12 + 1
    data = Vectors(raw, lengths=lengths)
    data.examples.cond["length"] = lengths
    losses = fixed(data, 50).losses(exact())
    measured = fixed(data, 50)
    row = 17
    number, length = int(measured.rows[row]), int(lengths[measured.rows[row]])
    t = measured.time_distribution.time(measured.quantiles()[row], RectifiedFlow())
    eps = torch.cat([measured.noise([row], (1, 12), k) for k in range(4)])[..., :length]
    alone = exact().loss(raw[number : number + 1, :, :length].expand(4, -1, -1), t, eps)
    torch.testing.assert_close(losses[row], alone.double(), rtol=1e-5, atol=1e-6)


def test_levels_add_up_to_the_whole() -> None:
    measured = fixed(Vectors(drawn(400, 5)), 400, 8)
    losses = measured.losses(exact())
    by_level = measured.by_level(losses)
    assert sum(value or 0.0 for value in by_level) / held_out.BINS == pytest.approx(float(losses.mean()))
    noise = held_out.levels(measured.time_distribution, RectifiedFlow())
    assert noise == sorted(noise) and by_level == sorted(by_level)  # less is known where there is more noise
    assert fixed(Vectors(drawn(400, 5)), 1, 4).by_level(losses[:1, :4]).count(None) == 4


@pytest.mark.parametrize("batch", [8, 64, 256])
@pytest.mark.parametrize("held", [0, 4, 5, 30, 100_000])
def test_measuring_costs_two_hundredths_of_the_training_at_most(batch: int, held: int) -> None:
    seen = set()
    for steps in (1, 12, 100, 300, 1000, 5000, 40_000, 10**6):
        found = amounts(steps, batch, held, 50_000)
        training = 3 * batch * steps
        assert (found.times + 1) * found.calls <= 0.02 * training
        assert 2 * found.times <= steps and DRAWS <= found.draws <= MAX_DRAWS
        assert (found.held_out == 0) == (held < held_out.LEAST_HELD_OUT or found.times == 0)
        assert found.held_out <= held and (found.trained > 0) == (found.times > 0)
        seen.add(found.times)
    assert {0, 30} <= seen <= {0, 4, 10, 20, 30}


def floor_of(modality: Modality, denoiser: Denoiser, weighting: Weighting | None = None, n: int = 40) -> Tensor | None:
    return least_losses(fixed(modality, n, weighting=weighting, purpose="trained"), denoiser)


@pytest.mark.parametrize("weighting", [Unweighted(), MinSNR()])
@pytest.mark.parametrize("prediction", ["x0", "flow", "v"])
def test_the_floor_is_the_loss_of_the_exact_posterior(prediction: str, weighting: Weighting) -> None:
    raw = 0.7 * drawn(40, 3)
    modality, schedule = Vectors(raw), VP()
    regression = RegressionDenoiser(Net(), schedule, prediction)
    floor = floor_of(modality, regression, weighting)
    assert floor is not None and floor.shape == (40, 4)
    measured = fixed(modality, 40, purpose="trained")
    oracle = EmpiricalDenoiser(schedule, raw.double())
    for draw in range(4):
        t = measured.time_distribution.time(measured.quantiles()[:, draw], schedule)
        eps = measured.noise(list(range(40)), (3,), draw).double()
        squared = oracle.loss(raw[measured.rows].double(), t, eps)
        loss = squared / regression.coefficients(t).c_out ** 2 * weighting.on_target(t, regression)
        torch.testing.assert_close(floor[:, draw], loss, rtol=1e-4, atol=1e-8)


def test_labels_lower_the_floor_and_what_is_not_known_has_none() -> None:
    raw, label = drawn(60, 2), torch.arange(60) % 3
    plain, told = floor_of(Vectors(raw), exact()), floor_of(Vectors(raw, label), exact())
    assert plain is not None and told is not None and float(told.mean()) < float(plain.mean())
    assert floor_of(Vectors(raw, lengths=torch.full((60,), 2)), exact()) is None
    assert least_losses(fixed(Vectors(raw)), GaussianDenoiser(RectifiedFlow())) is None
    assert floor_of(Vectors(drawn(40, 1_000_000)), exact()) is None  # too dear


@pytest.mark.parametrize("n", [30, 100])
def test_the_best_denoiser_of_all_is_above_the_mean_floor_of_data_sets(n: int) -> None:
    """The exact denoiser of what data sets of n are drawn from, whose loss is the least that held-out examples have."""
    above = []
    for seed in range(40):
        data = Vectors(drawn(n, 2, seed=seed))
        measured = fixed(data, 30, purpose="trained")
        floor = least_losses(measured, exact())
        assert floor is not None
        above.append(float((measured.losses(exact()) - floor[:30]).mean()))
    gap, error = sum(above) / 40, float(torch.tensor(above).std()) / 40**0.5
    assert gap > 3 * error
    assert n * gap == pytest.approx(1.0, rel=0.4)  # of two dimensions, about as measured: the more data, the nearer


def test_noise_levels_once_chosen_stay_and_the_cost_still_holds() -> None:
    assert amounts(1000, 64, 10, 50).draws == 8 and amounts(1000, 64, 10, 50, 16).draws == 16
    for steps in (400, 1000, 100_000):
        found = amounts(steps, 64, 1000, 5000, 16)
        assert found.draws == 16 and (found.times + 1) * found.calls <= 0.02 * 3 * 64 * steps
    assert amounts(10**6, 64, 1000, 5000, 4).draws == 4


def test_another_loss_is_measured_and_has_no_floor() -> None:
    data = Vectors(drawn(64, 4))
    noise = fixed(data), FixedNoise(
        data, data.dataset("test"), 64, 4, 0, "held-out", LogitNormal(), Unweighted(),
        lambda denoiser, *arguments: 2 * denoiser.loss(*arguments),
    )  # fmt: skip
    own, twice = (part.losses(exact()) for part in noise)
    torch.testing.assert_close(twice, 2 * own)
    assert least_losses(noise[0], exact()) is not None and least_losses(noise[1], exact()) is None
