"""The discrete DDPM chain beta_1 ... beta_T as an exact member of the family, on its grid t_i = i / T.

Between grid points log(abar) is linear in t, which is a continuous process with piecewise constant beta(t)
(Song et al. 2021, eq. 11): nothing on the grid is approximated, and t_0 = 0 is clean data.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toolkit.diffusion.schedule import VariancePreserving, log_snr_of_log_alpha_bar, wide


class DiscreteSchedule(VariancePreserving):
    """A chain given by its betas: (T,), each in (0, 1]; only the last may be 1 (zero terminal SNR)."""

    def __init__(self, betas: Tensor) -> None:
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or len(betas) == 0 or not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError("betas must be a non-empty vector with every value in (0, 1]")
        if bool((betas[:-1] == 1).any()):
            raise ValueError("only the last beta may be 1")
        self.betas = betas
        self.log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas).cumsum(0)])
        """log(abar_i), i = 0 ... T: (T + 1,)."""

    @property
    def T(self) -> int:
        return len(self.betas)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(T={self.T})"

    def log_snr(self, t: Tensor) -> Tensor:
        t = wide(t)
        knots = self.log_alpha_bar.to(t)
        place = t * self.T
        # i / T * T can differ from i by one rounding error, and grid points must be exact
        nearest = place.round()
        place = torch.where((place - nearest).abs() < 1e-12 * self.T, nearest, place)
        below = place.floor().clamp(0, self.T - 1).long()
        share = place - below
        left, right = knots[below], knots[below + 1]
        inner = left + share * (right - left)
        # 0 * inf is nan: at zero terminal SNR the last knot is -inf
        between = torch.where(share == 0, left, torch.where(share == 1, right, inner))
        return log_snr_of_log_alpha_bar(between)

    def time(self, log_snr: Tensor) -> Tensor:
        target = -torch.nn.functional.softplus(-wide(log_snr))  # log abar
        knots = self.log_alpha_bar.to(target)
        above = torch.searchsorted(-knots, -target).clamp(1, self.T)
        left, right = knots[above - 1], knots[above]
        share = torch.where(right == target, torch.ones_like(target), (target - left) / (right - left))
        return ((above - 1) + share.clamp(0, 1)) / self.T


class LinearChain(DiscreteSchedule):
    """beta linear (Ho et al. 2020, section 4): 1e-4 to 0.02 in T = 1000 steps.

    With another T the betas are rescaled by 1000 / T, so that x_T is still noise; `rescale=False` keeps them.
    """

    def __init__(self, T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02, rescale: bool = True) -> None:
        super().__init__(torch.linspace(beta_1, beta_T, _steps(T), dtype=torch.float64) * _factor(T, rescale, beta_T))


class ScaledLinearChain(DiscreteSchedule):
    """sqrt(beta) linear (Rombach et al. 2022, latent diffusion): 0.00085 to 0.012 in 1000 steps, rescaled as above."""

    def __init__(self, T: int = 1000, beta_1: float = 0.00085, beta_T: float = 0.012, rescale: bool = True) -> None:
        roots = torch.linspace(beta_1**0.5, beta_T**0.5, _steps(T), dtype=torch.float64)
        super().__init__(roots**2 * _factor(T, rescale, beta_T))


class CosineChain(DiscreteSchedule):
    """abar_i = f(i / T) / f(0), f(u) = cos^2((u + s) / (1 + s) pi / 2) (Nichol and Dhariwal 2021, eq. 17).

    Every beta is limited to `max_beta`.
    """

    def __init__(self, T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> None:
        u = torch.arange(_steps(T) + 1, dtype=torch.float64) / T
        f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
        super().__init__((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def respace(chain: DiscreteSchedule, steps: Tensor) -> DiscreteSchedule:
    """Return the chain of these steps only (ascending, in 1 ... T), with the same abar there.

    beta'_i = 1 - abar_{S_i} / abar_{S_{i-1}} (Nichol and Dhariwal 2021, eq. 19).
    """
    knots = torch.cat([torch.zeros(1, dtype=torch.float64), chain.log_alpha_bar[steps]])
    return DiscreteSchedule(-torch.expm1(knots[1:] - knots[:-1]))


def _steps(T: int) -> int:
    if not 1 <= T <= 1_000_000:
        raise ValueError(f"T must be 1 to 1,000,000, got {T}")
    return T


def _factor(T: int, rescale: bool, beta_T: float) -> float:
    factor = 1000 / T if rescale else 1.0
    if beta_T * factor >= 1:
        raise ValueError(f"T = {T} is too short: rescaled by 1000 / T, beta_T = {beta_T * factor:.3g} is not below 1")
    return factor
