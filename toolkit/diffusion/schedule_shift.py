"""Schedules made from other schedules: another pace on the same path."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toolkit.diffusion.schedule import Schedule, VariancePreserving, wide


class Shift(Schedule):
    """sigma / alpha multiplied by `factor` at every t: lambda' = lambda - 2 log(factor).

    For rectified flow this is sigma' = s sigma / (1 + (s - 1) sigma) (Esser et al. 2024, eq. 23); for
    resolution, factor = size / 64 (Hoogeboom et al. 2023, section 3.1). Shifts form a group: f_a f_b = f_ab.
    """

    def __init__(self, schedule: Schedule, factor: float) -> None:
        if factor <= 0:
            raise ValueError(f"a shift factor is above 0, got {factor}")
        self.schedule = schedule
        self.factor = factor

    def __repr__(self) -> str:
        return f"Shift({self.schedule!r}, {self.factor:g})"

    @property
    def T(self) -> int | None:
        return self.schedule.T

    def on_path(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule.on_path(log_snr)

    def log_snr(self, t: Tensor) -> Tensor:
        return self.schedule.log_snr(t) - 2 * math.log(self.factor)

    def time(self, log_snr: Tensor) -> Tensor:
        return self.schedule.time(wide(log_snr) + 2 * math.log(self.factor))


class ZeroTerminalSNR(VariancePreserving):
    """sqrt(abar) shifted and scaled to 0 at t = 1 and unchanged at the first step (Lin et al. 2024, algorithm 1).

    The first step is t = 1 / T for a chain and `first` otherwise; before it nothing changes. Applying it
    twice is applying it once. eps-prediction is undefined at t = 1: use v, x0 or edm.
    """

    def __init__(self, schedule: Schedule, first: float = 1e-3) -> None:
        base = schedule.schedule if isinstance(schedule, Shift) else schedule
        if not isinstance(base, VariancePreserving):
            raise ValueError(f"zero terminal SNR needs a variance-preserving schedule, got {schedule!r}")
        self.schedule = schedule
        self.first = 1 / schedule.T if schedule.T else first
        ends = torch.tensor([self.first, 1.0], dtype=torch.float64)
        alpha = schedule(ends)[0]
        self._alpha_first, self._alpha_last = float(alpha[0]), float(alpha[1])

    def __repr__(self) -> str:
        return f"ZeroTerminalSNR({self.schedule!r})"

    @property
    def T(self) -> int | None:
        return self.schedule.T

    def log_snr(self, t: Tensor) -> Tensor:
        t = wide(t)
        before = self.schedule.log_snr(t)
        alpha = self.schedule.on_path(before)[0]
        moved = (alpha - self._alpha_last) * (self._alpha_first / (self._alpha_first - self._alpha_last))
        after = 2 * torch.log(moved.clamp(min=0)) - torch.log1p(-(moved.clamp(max=1) ** 2))
        return torch.where(t <= self.first, before, after)
