"""D2-D3: the exact weights of the variational bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from toolkit.diffusion import VP, WEIGHTINGS, Cosine, LinearChain, RectifiedFlow, Schedule
from toolkit.verify.check import Check, below, close
from toolkit.verify.oracle import DTYPE, GaussianDenoiser


def chain_terms() -> Iterator[Check]:
    """L_{t-1} = 1/2 (SNR_{t-1} - SNR_t) |x - x_hat|^2 against the divergence of the two Gaussians (Ho et al. 2020)."""
    for T in (100, 1000):
        chain = LinearChain(T)
        alpha_bar, beta = chain.log_alpha_bar.exp(), chain.betas
        now, before = alpha_bar[1:], alpha_bar[:-1]
        x, x_hat, x_t = 0.8, 0.3, -0.4
        c1 = beta * before.sqrt() / (1 - now)
        c2 = (1 - before) * (1 - beta).sqrt() / (1 - now)
        tilde = beta * (1 - before) / (1 - now)
        # equal variances: KL = (difference of means)^2 / (2 beta~); i = 1 has beta~ = 0 and is L_0
        divergence = (((c1 * x + c2 * x_t) - (c1 * x_hat + c2 * x_t)) ** 2 / (2 * tilde))[1:]
        t = torch.arange(1, T + 1, dtype=DTYPE) / T
        weight = WEIGHTINGS["vlb"]().on_x(t, chain) / T
        error = (weight[1:] * (x - x_hat) ** 2 / divergence - 1).abs().max()
        yield below(f"D2 chain of {T}: vlb weight against the divergence, relative", float(error), 1e-10)
        yield close(
            f"D2 chain of {T}: weight of the first step", float(weight[0]), 0.0, 0.0, "it is the reconstruction"
        )


def information() -> Iterator[Check]:
    """Every schedule has the same bound between two SNRs: 1/2 log[(1 + s^2 SNR_max) / (1 + s^2 SNR_min)] a number.

    Guo, Shamai and Verdu (2005), I-MMSE; Kingma et al. (2021), section 5.1.
    """
    s, lam_max, lam_min = 0.5, 6.0, -4.0
    exact = 0.5 * (math.log1p(s**2 * math.exp(lam_max)) - math.log1p(s**2 * math.exp(lam_min)))
    schedules: dict[str, Schedule] = {"vp": VP(), "cosine": Cosine(), "flow": RectifiedFlow()}
    for name, schedule in schedules.items():
        t, dt = _panels(*schedule.time(torch.tensor([lam_max, lam_min], dtype=DTYPE)).tolist())
        alpha, sigma = schedule(t)
        oracle = GaussianDenoiser(schedule, 0.0, s)
        # E|x - x_hat|^2 from the oracle's own gain, by its linearity: x_hat = g x_t
        gain = oracle(torch.ones(len(t), 1, dtype=DTYPE), t)[:, 0]
        loss = (1 - gain * alpha) ** 2 * s**2 + (gain * sigma) ** 2
        total = float((WEIGHTINGS["vlb"]().on_x(t, schedule) * loss * dt).sum())
        yield close(f"D3 {name}: bound in nats a number", total, exact, 1e-10)


def _panels(low: float, high: float, panels: int = 400) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a three-point Gauss rule on panels equal in log(t): noise falls fast near t = 0."""
    edges = torch.linspace(math.log(low), math.log(high), panels + 1, dtype=DTYPE)
    half, middle = edges.diff()[:, None] / 2, ((edges[1:] + edges[:-1]) / 2)[:, None]
    place = torch.tensor([-math.sqrt(0.6), 0.0, math.sqrt(0.6)], dtype=DTYPE)
    share = torch.tensor([5.0, 8.0, 5.0], dtype=DTYPE) / 9
    t = (middle + half * place).flatten().exp()
    return t, (half * share).flatten() * t


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "D2 chain": chain_terms,
    "D3 I-MMSE": information,
}
