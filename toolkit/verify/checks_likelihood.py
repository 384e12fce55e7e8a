"""D1-D5: log-density by the ODE, the exact weights of the variational bound, and sources of known entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from toolkit.diffusion import VP, WEIGHTINGS, Cosine, LinearChain, LogNormal, RectifiedFlow, Schedule
from toolkit.diffusion.likelihood import Bins
from toolkit.diffusion.ode_likelihood import Hutchinson, log_density
from toolkit.diffusion.vlb import Continuous, Steps
from toolkit.verify.audit import audit
from toolkit.verify.check import Check, below, close
from toolkit.verify.measure import order
from toolkit.verify.oracle import DTYPE, GaussianDenoiser
from toolkit.verify.sources import Posterior, sources


def flow() -> Iterator[Check]:
    """Check log p by the probability-flow ODE for Gaussian data whose marginal is the prior; and orders 2 and 4."""
    std, low, high = 0.5, 0.05, 50.0
    x = torch.tensor([[0.3, -0.2], [1.1, 0.0]], dtype=DTYPE)
    v = std**2 + low**2
    exact = -(x.square() / v + math.log(2 * math.pi * v)).sum(1) / 2
    schedules: dict[str, Schedule] = {"cosine": Cosine(), "flow": RectifiedFlow()}
    for name, schedule in schedules.items():
        oracle = GaussianDenoiser(schedule, 0.0, std)
        nats = log_density(oracle, x, schedule, low, high, 100, prior_variance=std**2).nats
        yield below(f"D1 ode, {name}: error of log p, nats", float((nats - exact).abs().max()), 1e-6)
    # between levels where the slopes are not flat: where they are flat, the orders measured are too high
    counts, low, high = (8, 16, 32), 0.3, 1.0
    v = std**2 + low**2
    exact = -(x.square() / v + math.log(2 * math.pi * v)).sum(1) / 2
    methods: dict[Literal["heun", "rk4"], int] = {"heun": 2, "rk4": 4}
    for method, expected in methods.items():
        errors = []
        for n in counts:
            nats = log_density(oracle, x, schedule, low, high, n, method=method, prior_variance=std**2).nats
            errors.append(float((nats - exact).abs().max()))
        yield close(f"D1 ode, {method}: order", order(errors, counts), expected, 0.2)
    probes = Hutchinson(0, range(2), (2,), 4)
    spread = log_density(oracle, x, schedule, low, high, 12, probes, prior_variance=std**2).error
    yield below("D1 ode: error of +-1 probes, diagonal Jacobian", float(spread.max()), 1e-12)


def prior_mismatch() -> Iterator[Check]:
    """Check the cost of the prior N(0, S): (d (r - log(1 + r)) + |m|^2 / S) / 2, S = sigma_max^2, r = std^2 / S.

    The mean over Gaussian data of a quadratic in x is exact in three Gauss-Hermite nodes.
    """
    mean, std, low, high = 0.6, 0.5, 0.05, 2.0
    schedule = RectifiedFlow()
    spread = math.sqrt(std**2 + low**2)
    x = mean + spread * torch.tensor([[-math.sqrt(3.0)], [0.0], [math.sqrt(3.0)]], dtype=DTYPE)
    share = torch.tensor([1.0, 4.0, 1.0], dtype=DTYPE) / 6
    nats = log_density(GaussianDenoiser(schedule, mean, std), x, schedule, low, high, 100).nats
    exact = -((x[:, 0] - mean).square() / spread**2 + math.log(2 * math.pi * spread**2)) / 2
    r = (std / high) ** 2
    expected = -(r - math.log1p(r) + (mean / high) ** 2) / 2
    yield close("D1 prior mismatch: mean log p over data, nats", float((share * (nats - exact)).sum()), expected, 1e-7)


def bins() -> Iterator[Check]:
    """Check that all bins of a discretised Gaussian have mass 1 together, also when it lies far outside them."""
    pixels = Bins(256, -1.0, 1 / 127.5)
    means = torch.tensor([-9.0, -1.0, 0.1234, 3.0], dtype=DTYPE)[:, None, None]
    stds = torch.tensor([1e-4, 0.02, 1.0, 100.0], dtype=DTYPE)[:, None]
    mass = torch.logsumexp(pixels.log_mass(torch.arange(256, dtype=DTYPE), means, stds), -1)
    yield below("D2 bins: |log of the sum over 256 bins|", float(mass.abs().max()), 1e-11)


def chain_terms() -> Iterator[Check]:
    """Check L_{t-1} = 1/2 (SNR_{t-1} - SNR_t) |x - x_hat|^2 against the KL of two Gaussians (Ho et al. 2020)."""
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
    """Check the bound between two SNRs for every schedule: 1/2 log[(1 + s^2 SNR_max) / (1 + s^2 SNR_min)] a number.

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


def levels() -> Iterator[Check]:
    """Check that `Levels` have the exact integral for any schedule and times; many steps approach it from above."""
    s, low, high, n = 0.5, 0.05, 20.0, 4000
    exact = 0.5 * (math.log1p((s / low) ** 2) - math.log1p((s / high) ** 2))
    u = (torch.arange(n, dtype=DTYPE) + 0.5) / n
    schedules: dict[str, Schedule] = {"vp": VP(), "cosine": Cosine(), "flow": RectifiedFlow()}
    for name, schedule in schedules.items():
        for label, distribution in {"uniform": None, "log-normal": LogNormal()}.items():
            t, weight = Continuous(schedule, low, high, distribution).draw(u)
            total = float((weight * s**2 / (1 + s**2 * schedule.log_snr(t).exp())).mean())
            yield close(f"D3 levels, {name}, {label}: nats a number", total, exact, 1e-5)
        times = schedule.time(-2 * torch.linspace(math.log(high), math.log(low), n + 1, dtype=DTYPE))
        t, weight = Steps(schedule, times).draw(u)
        total = float((weight * s**2 / (1 + s**2 * schedule.log_snr(t).exp())).mean())
        yield close(f"D3 levels, {name}, {n} steps: over the integral", total / exact, 1.001, 1e-3)


def entropies() -> Iterator[Check]:
    """Check that the bound under the exact posterior is the symbols' cost, and their mean cost the entropy, in bits.

    Shannon (1948). The bound is compared with the cost of the same rows, so that only its own noise is random.
    """
    for source in sources():
        rows = source.draw(4000, 1)
        sizes, cost = (rows >= 0).sum(1).double(), source.cost(rows) / math.log(2)
        mean = float(cost.sum() / sizes.sum())
        error = float((cost - mean * sizes).square().sum().sqrt() / sizes.sum())
        yield close(f"D5 {source.name}: what rows cost", mean, source.entropy, 3.5 * error, "bits a symbol")
        result = audit(Posterior(source), source, rows=64, draws=64, seed=1)
        tolerance = 3.5 * result.error + result.prior
        yield close(f"D5 {source.name}: bound", result.bits, result.truth, tolerance, f"+- {result.error:.3f}")


def _panels(low: float, high: float, panels: int = 400) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of a three-point Gauss rule on panels equal in log(t): noise falls fast near t = 0."""
    edges = torch.linspace(math.log(low), math.log(high), panels + 1, dtype=DTYPE)
    half, middle = edges.diff()[:, None] / 2, ((edges[1:] + edges[:-1]) / 2)[:, None]
    place = torch.tensor([-math.sqrt(0.6), 0.0, math.sqrt(0.6)], dtype=DTYPE)
    share = torch.tensor([5.0, 8.0, 5.0], dtype=DTYPE) / 9
    t = (middle + half * place).flatten().exp()
    return t, (half * share).flatten() * t


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "D1 ode": flow,
    "D1 prior mismatch": prior_mismatch,
    "D2 bins": bins,
    "D2 chain": chain_terms,
    "D3 I-MMSE": information,
    "D3 levels": levels,
    "D5 sources": entropies,
}
