"""B1-B6: preconditionings, and the losses of their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from toolkit.diffusion import (
    PREDICTIONS,
    VE,
    Cosine,
    LinearChain,
    MinSNR,
    RectifiedFlow,
    RegressionDenoiser,
    weighted_loss,
)
from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.loss import WEIGHTINGS
from toolkit.diffusion.randomness import normal
from toolkit.verify.check import Check, below, close
from toolkit.verify.checks_schedules import every_schedule
from toolkit.verify.oracle import DTYPE, EmpiricalDenoiser

T_INNER = torch.linspace(0.02, 0.98, 49, dtype=DTYPE)


class Says(nn.Module):
    """A network that returns a fixed answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        return self.answer.expand_as(x)


class Bends(nn.Module):
    """A fixed nonlinear network, to compare denoisers that are made from it."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        return self.sign * torch.tanh(2 * x + c_noise.reshape(-1, *[1] * (x.ndim - 1))) * 0.7


def _draw(name: str, *shape: int) -> Tensor:
    return normal(0, name, range(shape[0]), shape[1:]).to(DTYPE)


def round_trips() -> Iterator[Check]:
    """Check that exact targets give exact data: c_skip alpha + c_out of_x = 1, c_skip sigma + c_out of_eps = 0."""
    x, eps = _draw("x", len(T_INNER), 5), _draw("eps", len(T_INNER), 5)
    for prediction in PREDICTIONS:
        worst = 0.0
        for schedule in every_schedule().values():
            alpha, sigma = (c[:, None] for c in schedule(T_INNER))
            c = PREDICTIONS[prediction](alpha, sigma, 0.5)
            x_t, target = alpha * x + sigma * eps, c.of_x * x + c.of_eps * eps
            scale = 1 + (c.c_skip * x_t).abs() + (c.c_out * target).abs()  # alpha is 1e-3 on some schedules
            worst = max(worst, float(((c.c_skip * x_t + c.c_out * target - x) / scale).abs().max()))
        yield below(f"B1 {prediction}: x -> target -> x on every schedule, relative", worst, 1e-14)


def loss_ratios() -> Iterator[Check]:
    """Check the loss of one error of x_hat in each target; and that a weighting gives one loss for all targets."""
    for name, schedule in {"cosine": Cosine(), "flow": RectifiedFlow()}.items():
        alpha, sigma = schedule(T_INNER)
        snr = (alpha / sigma) ** 2
        factors = {
            "eps": snr,
            "x0": torch.ones_like(snr),
            "v": 1 + snr if name == "cosine" else (alpha**2 + sigma**2) / sigma**2 * (alpha**2 + sigma**2),
            "flow": (1 + snr.sqrt()) ** 2,
            "edm": (sigma**2 / alpha**2 + 0.25) / (sigma / alpha * 0.5) ** 2,
        }
        for prediction, factor in factors.items():
            c_out = PREDICTIONS[prediction](alpha, sigma, 0.5).c_out
            yield below(
                f"B2 {name}, {prediction}: loss / |x - x_hat|^2, relative", _worst(1 / c_out**2 / factor - 1), 1e-13
            )
    yield from _same_weighted_loss()


def _same_weighted_loss() -> Iterator[Check]:
    schedule = Cosine()
    alpha, sigma = (c[:, None] for c in schedule(T_INNER))
    x, eps, guess = (_draw(k, len(T_INNER), 5) for k in ("x", "eps", "guess"))
    for weighting_name, weighting in {
        "min-snr": MinSNR(5.0),
        "edm": WEIGHTINGS["edm"](),
        "vlb": WEIGHTINGS["vlb"](),
    }.items():
        losses = []
        for prediction in PREDICTIONS:
            c = PREDICTIONS[prediction](alpha, sigma, 1.0)
            answer = (guess - c.c_skip * (alpha * x + sigma * eps)) / c.c_out  # the same x_hat from each network
            denoiser = RegressionDenoiser(Says(answer), schedule, "x0")
            denoiser.prediction = prediction  # cosine ends at alpha = 0, which eps refuses; the times here do not
            losses.append(weighted_loss(denoiser, weighting, x, T_INNER, eps))
        spread = torch.stack(losses)
        worst = float((spread / spread[1] - 1).abs().max())
        yield below(f"B2 {weighting_name}: the same loss from eps, x0, v, flow and edm, relative", worst, 1e-11)


def v_is_edm() -> Iterator[Check]:
    """Check that an edm network is a negated v network where alpha^2 + sigma^2 = 1 and sigma_data = 1."""
    x_t = 3 * _draw("x_t", len(T_INNER), 2, 3)
    for name, schedule in every_schedule().items():
        if "flow" in name or name in ("ve", "karras"):
            continue
        v = RegressionDenoiser(Bends(-1.0), schedule, "v", 1.0)
        edm = RegressionDenoiser(Bends(1.0), schedule, "edm", 1.0)
        yield below(f"B3 {name}: v net = edm net", _worst(v(x_t, T_INNER) - edm(x_t, T_INNER)), 1e-12)


def schedule_change() -> Iterator[Check]:
    """Check that x_hat depends on x_t / alpha and SNR only: one network, or one data set, under any path."""
    cosine, y = Cosine(), 2 * _draw("y", len(T_INNER), 4)
    lam = cosine.log_snr(T_INNER)
    data = _draw("data", 7, 4)
    for name, other in {"flow": RectifiedFlow(), "ve": VE(1e-3, 1e3)}.items():
        s = other.time(lam)
        first, second = cosine(T_INNER)[0][:, None] * y, other(s)[0][:, None] * y
        here, there = (RegressionDenoiser(Bends(), k, "edm", 0.5) for k in (cosine, other))
        yield below(f"B4 cosine to {name}: edm net", _worst(here(first, T_INNER) - there(second, s)), 1e-10)
        exact = EmpiricalDenoiser(cosine, data)(first, T_INNER) - EmpiricalDenoiser(other, data)(second, s)
        yield below(f"B4 cosine to {name}: empirical posterior", _worst(exact), 1e-10)


def ends() -> Iterator[Check]:
    """Check that every preconditioning but x0 returns x_t at sigma = 0."""
    one, zero = torch.ones((), dtype=DTYPE), torch.zeros((), dtype=DTYPE)
    for prediction in ("eps", "v", "flow", "edm"):
        c = PREDICTIONS[prediction](one, zero, 0.5)
        yield close(f"B5 {prediction}: c_skip at sigma = 0", float(c.c_skip), 1.0, 0.0)
        yield close(f"B5 {prediction}: c_out at sigma = 0", float(c.c_out), 0.0, 0.0)


def initial_losses() -> Iterator[Check]:
    """Check the losses of a network that returns 0, known before the first step; s is the data's deviation."""
    s, t = 0.5, torch.full((4,), 0.3, dtype=DTYPE)
    # all four signs of (x, eps), each of its own deviation: expectations without sampling
    x = s * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=DTYPE)[:, None]
    eps = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=DTYPE)[:, None]
    for name, schedule in {"linear-beta": LinearChain(), "flow": RectifiedFlow()}.items():
        alpha, sigma = (float(c) for c in schedule(t[0]))
        losses = {"eps": 1.0, "x0": s**2, "v": alpha**2 + sigma**2 * s**2, "flow": 1 + s**2, "edm": 1.0}
        for prediction, expected in losses.items():
            if prediction == "eps" and name == "flow":
                continue
            denoiser = RegressionDenoiser(Says(torch.zeros((), dtype=DTYPE)), schedule, prediction, s)
            yield close(
                f"B6 {name}, {prediction}: initial loss", float(denoiser.loss(x, t, eps).mean()), expected, 1e-12
            )


def _worst(difference: Tensor) -> float:
    return float(difference.abs().max())


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "B1 round trips": round_trips,
    "B2 loss ratios": loss_ratios,
    "B3 v is edm": v_is_edm,
    "B4 schedule change": schedule_change,
    "B5 ends": ends,
    "B6 initial losses": initial_losses,
}
