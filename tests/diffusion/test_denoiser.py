"""Preconditionings for any alpha and sigma, any rank, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toolkit.diffusion import PREDICTIONS, Cond, Cosine, LinearChain, RectifiedFlow, RegressionDenoiser, ZeroTerminalSNR
from toolkit.verify.checks_losses import Bends
from toolkit.verify.oracle import EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser

F64 = torch.float64
value = st.floats(-5, 5)
level = st.floats(1e-3, 50)


@settings(max_examples=100, deadline=None)
@given(alpha=st.floats(1e-2, 1), sigma=level, d=st.floats(0.1, 5), x=value, eps=value)
def test_every_prediction_gives_back_x(alpha: float, sigma: float, d: float, x: float, eps: float) -> None:
    a, s = torch.tensor(alpha, dtype=F64), torch.tensor(sigma, dtype=F64)
    x_t = alpha * x + sigma * eps
    for prediction in PREDICTIONS.values():
        c = prediction(a, s, d)
        parts = [float(c.c_skip) * x_t, float(c.c_out * c.of_x) * x, float(c.c_out * c.of_eps) * eps]
        assert abs(sum(parts) - x) < 1e-12 * (1 + sum(map(abs, parts)))


@settings(max_examples=50, deadline=None)
@given(lam=st.floats(-8, 8), x=value, eps=value)
def test_v_and_eps_recover_each_other_on_the_circle(lam: float, x: float, eps: float) -> None:
    schedule = Cosine()
    t = schedule.time(torch.tensor(lam, dtype=F64))
    alpha, sigma = (float(c) for c in schedule(t))
    c = PREDICTIONS["v"](*schedule(t), 1.0)
    x_t, v = alpha * x + sigma * eps, float(c.of_x) * x + float(c.of_eps) * eps
    assert abs(v - (alpha * eps - sigma * x)) < 1e-12
    assert abs(alpha * x_t - sigma * v - x) < 1e-11 and abs(sigma * x_t + alpha * v - eps) < 1e-11


@pytest.mark.parametrize("schedule", [RectifiedFlow(), Cosine(), ZeroTerminalSNR(LinearChain())], ids=repr)
def test_eps_needs_some_signal_at_the_end(schedule: RectifiedFlow) -> None:
    with pytest.raises(ValueError, match="undefined where alpha = 0"):
        RegressionDenoiser(Bends(), schedule, "eps")
    for prediction in ("x0", "v", "flow", "edm"):
        denoiser = RegressionDenoiser(Bends(), schedule, prediction)
        assert bool(denoiser(torch.ones(2, 3, dtype=F64), torch.ones((), dtype=F64)).isfinite().all())


def test_v_at_zero_terminal_snr_is_minus_x() -> None:
    c = RegressionDenoiser(Bends(), ZeroTerminalSNR(LinearChain()), "v").coefficients(torch.ones((), dtype=F64))
    assert (float(c.of_x), float(c.of_eps), float(c.c_skip), float(c.c_out)) == (-1.0, 0.0, 0.0, -1.0)


def test_unknown_prediction() -> None:
    with pytest.raises(ValueError, match="one of eps, x0, v, flow, edm; got 'score'"):
        RegressionDenoiser(Bends(), Cosine(), "score")


class Flat(nn.Module):
    """Acts on each number alone, so the rank cannot matter."""

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        assert c_noise.shape == (len(x),) and c_noise.dtype == x.dtype
        return torch.tanh(x + c_noise.reshape(-1, *[1] * (x.ndim - 1)))


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4)])
@pytest.mark.parametrize("prediction", ["x0", "v", "flow", "edm"])
def test_rank_does_not_matter(prediction: str, shape: tuple[int, ...]) -> None:
    denoiser = RegressionDenoiser(Flat(), RectifiedFlow(), prediction)
    x, eps = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = torch.linspace(0.1, 0.9, 5, dtype=F64)
    assert torch.equal(denoiser(x.reshape(5, *shape), t).flatten(1), denoiser(x, t))
    loss = denoiser.loss(x.reshape(5, *shape), t, eps.reshape(5, *shape))
    torch.testing.assert_close(loss, denoiser.loss(x, t, eps), rtol=1e-14, atol=0)
    assert loss.shape == (5,)
    # one t for all, and each its own
    torch.testing.assert_close(denoiser(x[:1], t[0]), denoiser(x, t)[:1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_oracles_are_rank_free(shape: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    data, x, t = torch.randn(7, 6, generator=g, dtype=F64), torch.randn(5, 6, generator=g, dtype=F64), torch.tensor(0.4)
    mixture = MixtureDenoiser(RectifiedFlow(), torch.ones(3), data[:3], torch.full((3,), 0.5))
    empirical = EmpiricalDenoiser(RectifiedFlow(), data.reshape(7, *shape))
    for oracle, flat in (
        (mixture, mixture(x, t)),
        (empirical, EmpiricalDenoiser(RectifiedFlow(), data)(x, t)),
        (GaussianDenoiser(RectifiedFlow(), 0.3, 0.5), GaussianDenoiser(RectifiedFlow(), 0.3, 0.5)(x, t)),
    ):
        torch.testing.assert_close(oracle(x.reshape(5, *shape), t).flatten(1), flat, rtol=0, atol=1e-14)


def test_half_precision_networks_give_x_hat_in_the_state_s_own_type() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
            return x.bfloat16()

    x_hat = RegressionDenoiser(Half(), RectifiedFlow(), "flow")(torch.ones(2, 3), torch.tensor(0.5))
    assert x_hat.dtype == torch.float32


def test_c_noise_is_edm_s() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
            seen.append(c_noise)
            return x

    t = torch.tensor([0.2, 0.7], dtype=F64)
    RegressionDenoiser(Spy(), RectifiedFlow(), "edm")(torch.ones(2, 3, dtype=F64), t)
    torch.testing.assert_close(seen[0], torch.log(t / (1 - t)) / 4, rtol=1e-12, atol=0)


def test_padding_is_known_to_be_zero_and_not_counted() -> None:
    """Under a mask the loss is that of the part that is there, x_hat is 0 elsewhere, and the network sees 0."""
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
            seen.append(x)
            return 0.3 * x

    denoiser = RegressionDenoiser(Spy(), RectifiedFlow(), "edm")
    x, eps, t = torch.randn(2, 3, 10), torch.randn(2, 3, 10), torch.tensor([0.2, 0.7], dtype=torch.float64)
    mask = (torch.arange(10) < torch.tensor([[[4]], [[10]]])).float()
    loss = denoiser.loss(x * mask, t, eps, {"mask": mask})
    assert float(seen[-1][0, :, 4:].abs().max()) == 0
    alone = denoiser.loss(x[:1, :, :4], t[:1], eps[:1, :, :4])
    assert torch.allclose(loss[0], alone[0]) and torch.allclose(loss[1], denoiser.loss(x[1:], t[1:], eps[1:])[0])
    x_hat = denoiser(x, t, {"mask": mask})
    assert float(x_hat[0, :, 4:].abs().max()) == 0
    assert torch.equal(x_hat[1], denoiser(x[1:], t[1:])[0])


def test_what_a_network_sees_has_unit_variance_for_any_sigma_data() -> None:
    """c_in = 1 / sqrt(alpha^2 sigma_data^2 + sigma^2) (Karras et al. 2022, table 1)."""
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
            seen.append(x)
            return x

    draw = torch.Generator().manual_seed(0)
    denoiser = RegressionDenoiser(Watch(), RectifiedFlow(), "edm", 0.5)
    for t in (0.1, 0.4, 0.9):
        x, eps = (torch.randn(20_000, 1, generator=draw, dtype=F64) for _ in range(2))
        denoiser.loss(0.5 * x, torch.full((20_000,), t, dtype=F64), eps)
        assert abs(float(seen[-1].var()) - 1) < 4 * (2 / 20_000) ** 0.5


def test_c_noise_is_finite_at_both_ends() -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
            seen.append(c_noise)
            return x

    denoiser = RegressionDenoiser(Watch(), RectifiedFlow(), "flow")
    for t, end in ((0.0, -2.5), (1.0, 2.5)):
        denoiser(torch.ones(2, 3, dtype=F64), torch.tensor(t, dtype=F64))
        assert seen[-1].tolist() == [end, end]


def test_an_example_that_is_all_padding_costs_nothing() -> None:
    denoiser = RegressionDenoiser(Bends(), RectifiedFlow(), "flow")
    x, t = torch.ones(2, 1, 4, dtype=F64), torch.full((2,), 0.5, dtype=F64)
    mask = torch.tensor([[[0.0, 0, 0, 0]], [[1.0, 1, 0, 0]]], dtype=F64)
    loss = denoiser.loss(x * mask, t, torch.ones_like(x), {"mask": mask})
    assert float(loss[0]) == 0 and float(loss[1]) > 0


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_is_unknown_is_the_square_of_the_error(prediction: str) -> None:
    denoiser = RegressionDenoiser(Bends(), RectifiedFlow(), prediction) if prediction != "eps" else None
    denoiser = denoiser or RegressionDenoiser(Bends(), LinearChain(), prediction)
    draw = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(3, 5, generator=draw, dtype=F64) for _ in range(2))
    t = torch.tensor([0.2, 0.5, 0.8], dtype=F64)
    alpha, sigma = (c[:, None] for c in denoiser.schedule(t))
    square = (x - denoiser(alpha * x + sigma * eps, t)).square().mean(1)
    torch.testing.assert_close(denoiser.uncertainty(denoiser.loss(x, t, eps), t), square, rtol=1e-9, atol=0)
