"""Long examples by overlapping windows: a denoiser made from the denoisers of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond
from toolkit.diffusion.sampler import Denoise


def starts(length: int, window: int, step: int = 1) -> list[int]:
    """Where windows begin that cover `length` positions and overlap by half or more; multiples of `step`.

    Raises ValueError when a window is longer than the whole, or either is no multiple of `step`.
    """
    if not 0 < window <= length or window % step or length % step:
        raise ValueError(f"windows of {window} every {step} do not fit {length} positions")
    count = -(-2 * (length - window) // window) + 1
    return [round(i * (length - window) / max(1, count - 1) / step) * step for i in range(count)]


def cut(cond: Cond, start: int, window: int, length: int) -> dict[str, Tensor]:
    """The conditions of one window. Those with three or more axes run along the example, perhaps at another rate."""

    def part(value: Tensor) -> Tensor:
        if value.ndim < 3:
            return value
        size = value.shape[-1]
        if size * window % length or size * start % length:
            raise ValueError(f"a condition with {size} frames cannot be cut at {start} of {length} positions")
        return value[..., size * start // length : size * (start + window) // length]

    return {name: part(value) for name, value in cond.items()}


def windowed(part: Callable[[int], Denoise], length: int, window: int, places: Sequence[int]) -> Denoise:
    """x_hat of (B, *, length) as the weighted mean of the x_hat of its windows (Bar-Tal et al. 2023, eq. 5).

    `part(start)` denoises (B, *, window) at start : start + window. Weights rise and fall like a sine squared, so
    that the middle of a window counts most and nothing jumps where one ends. Memory is that of one window.
    """
    ramp = torch.sin(torch.pi * (torch.arange(window, dtype=torch.float64) + 0.5) / window) ** 2
    total = torch.zeros(length, dtype=torch.float64)
    for start in places:
        total[start : start + window] += ramp
    shares = {start: (ramp / total[start : start + window]).float() for start in places}
    parts = {start: part(start) for start in places}

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        x_hat = torch.zeros_like(x_t)
        for start, denoise_part in parts.items():
            inside = slice(start, start + window)
            x_hat[..., inside] += shares[start].to(x_t) * denoise_part(x_t[..., inside], t)
        return x_hat

    return denoise
