"""Log-density by the probability-flow ODE (Song et al. 2021, section 4.3), the same for every schedule.

With l = log(sigma / alpha), n^2 = alpha^2 + sigma^2 and y = x_t / n, which keeps a variance of about 1, it is

    dy/dl = alpha^2 / n^2 y - alpha / n x_hat        d log p(y)/dl = -(d alpha^2 / n^2 - alpha tr dx_hat/dx_t)

Both slopes are 0 for standard normal data, where the solver is exact; elsewhere its error falls with their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from toolkit.diffusion.likelihood import ends, prior_log_density, total
from toolkit.diffusion.randomness import normal
from toolkit.diffusion.sampler import Denoise, Point, at, call
from toolkit.diffusion.schedule import Schedule, wide, widest

Trace = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, *) that requires grad, x_hat (B, *)) -> estimates of tr dx_hat/dx_t: (probes, B), float64."""


class LogDensity(NamedTuple):
    """log p(x) in nats, float64."""

    nats: Tensor
    """(B,)."""
    error: Tensor
    """Standard error over probes, (B,): 0 for the exact trace, nan for a single probe."""


def exact_trace(x_t: Tensor, x_hat: Tensor) -> Tensor:
    """Return the trace by one backward pass for each number: (1, B). For small examples."""
    flat = x_hat.flatten(1)
    device = x_t.device if widest(x_t.device) is torch.float64 else "cpu"
    sums = torch.zeros(len(x_t), dtype=torch.float64, device=device)
    for i in range(flat.shape[1]):
        (row,) = torch.autograd.grad(flat[:, i].sum(), x_t, retain_graph=True)
        sums = sums + row.flatten(1)[:, i].to(sums)
    return sums[None]


class Hutchinson:
    """E[e . (dx_hat/dx_t) e] over random e of mean 0 and variance 1 (Hutchinson 1990; Grathwohl et al. 2019, eq. 8).

    Each probe has one e for the whole path, a function of (seed, position). "rademacher", +-1, has no variance where
    the Jacobian is diagonal; "gaussian" has 2 |J|_F^2 for a symmetric one. Raises ValueError.
    """

    def __init__(
        self,
        seed: int,
        positions: Sequence[int],
        shape: Sequence[int],
        probes: int = 1,
        kind: Literal["rademacher", "gaussian"] = "rademacher",
    ) -> None:
        if probes < 1 or kind not in ("rademacher", "gaussian"):
            raise ValueError(f"at least one probe, rademacher or gaussian, expected; got {probes}, '{kind}'")
        noise = torch.stack([normal(seed, "probe", positions, shape, k) for k in range(probes)])
        self.probes = torch.where(noise < 0, -1.0, 1.0) if kind == "rademacher" else noise

    def __call__(self, x_t: Tensor, x_hat: Tensor) -> Tensor:
        traces = []
        for probe in self.probes.to(x_t):
            (row,) = torch.autograd.grad(x_hat, x_t, probe, retain_graph=True)
            traces.append(total(row * probe))
        return torch.stack(traces)


def log_density(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    sigma_min: float,
    sigma_max: float,
    steps: int = 64,
    trace: Trace = exact_trace,
    method: Literal["heun", "rk4"] = "rk4",
    prior_variance: float = 0.0,
    mask: Tensor | None = None,
) -> LogDensity:
    """Return log p(x), x (B, *), under the model at noise sigma_min: of data plus N(0, sigma_min^2), not discrete data.

    Equal steps in log-SNR to sigma_max, where p is N(0, (prior_variance + sigma_max^2) I) in x_t / alpha. Two calls of
    `denoise` and of `trace` a step with "heun", four with "rk4". `denoise` must be differentiable: no torch.no_grad
    in it, and no norm over the batch. `mask`, (B, 1, *): x_t = x_hat = 0 where it is 0, and no density is counted.
    For discrete data see `dequantise` and `bits_per_dim`. Raises ValueError.
    """
    if steps < 1 or method not in ("heun", "rk4"):
        raise ValueError(f"at least one step of heun or rk4 expected, got {steps} of '{method}'")
    dims = total(torch.ones_like(x), mask)
    points = _points(schedule, sigma_min, sigma_max, 2 * steps)

    def slope(p: Point, y: Tensor) -> tuple[Tensor, Tensor]:
        n = math.hypot(p.alpha, p.sigma)
        with torch.enable_grad():
            x_t = (n * y).detach().requires_grad_(True)
            x_hat = call(denoise, x_t, p.t)
            if mask is not None:
                # whatever the denoiser returns in padding, no density flows there
                x_hat = x_hat * mask
            if not x_hat.requires_grad:
                raise ValueError("denoise is not differentiable: call the denoiser without torch.no_grad")
            inner = trace(x_t, x_hat).detach()
        signal = p.alpha / n
        return signal**2 * y - signal * x_hat.detach(), signal**2 * dims - p.alpha * inner

    def scale(p: Point) -> float:
        """Return the ratio of z = x_t / alpha to y."""
        return math.hypot(1, p.ratio)

    y = x / scale(points[0])
    gain = -dims * math.log(scale(points[0]))
    for i in range(steps):
        start, middle, end = points[2 * i : 2 * i + 3]
        h = start.lam - end.lam  # lam = log(alpha / sigma) falls
        a, p = slope(start, y)
        if method == "heun":
            b, q = slope(end, y + h * a)
            y, gain = y + h / 2 * (a + b), gain + h / 2 * (p + q)
            continue
        b, q = slope(middle, y + h / 2 * a)
        c, r = slope(middle, y + h / 2 * b)
        d, s = slope(end, y + h * c)
        y, gain = y + h / 6 * (a + 2 * b + 2 * c + d), gain + h / 6 * (p + 2 * q + 2 * r + s)
    nats = prior_log_density(y, (prior_variance + points[-1].ratio ** 2) / scale(points[-1]) ** 2, mask) + gain
    if trace is exact_trace:
        return LogDensity(nats[0], torch.zeros_like(nats[0]))
    spread = nats.std(0) if len(nats) > 1 else torch.full_like(nats[0], math.nan)
    return LogDensity(nats.mean(0), spread / math.sqrt(len(nats)))


def _points(schedule: Schedule, sigma_min: float, sigma_max: float, n: int) -> list[Point]:
    """Return n + 1 points with equal steps in log-SNR, least noise first."""
    lams = wide(schedule.log_snr(torch.tensor(ends(schedule, sigma_min, sigma_max), dtype=torch.float64))) / 2
    first, last = lams.tolist()
    if math.isinf(first) or math.isinf(last):
        raise ValueError("the ends must have some signal and some noise")
    return [at(schedule, float(t)) for t in schedule.time(2 * torch.linspace(first, last, n + 1, dtype=torch.float64))]
