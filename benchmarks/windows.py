"""Distance of averaged windows from the truth, without Monte Carlo.

    python benchmarks/windows.py

Data are a stationary AR(1), N(mean, r^|i - j|), of which each window is denoised exactly. All is linear then, so the
sampler's answer to unit vectors is the exact covariance of its samples. They begin with x_T as it is in truth (signal
and noise), so that no other error is seen; what one denoiser of the whole makes is the control.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from toolkit.diffusion import SAMPLERS, Denoise, RectifiedFlow, conditional, sample
from toolkit.diffusion.window import starts, windowed
from toolkit.verify.checks_windows import Autoregressive, covariance
from toolkit.verify.measure import log_uniform

SCHEDULE = RectifiedFlow()
MEAN = 1.0


def made(denoise: Denoise, length: int, r: float, sampler: str, steps: int) -> tuple[Tensor, Tensor]:
    """The exact mean (length,) and covariance (length, length) of what a deterministic sampler makes."""
    times = log_uniform(SCHEDULE, steps, 1e2, 1e-3)
    alpha_0, (alpha, sigma) = SCHEDULE(times[-1])[0], SCHEDULE(times[0])
    noisy = alpha**2 * covariance(length, r) + sigma**2 * torch.eye(length, dtype=torch.float64)
    rows = torch.cat([torch.zeros(1, length, dtype=torch.float64), torch.linalg.cholesky(noisy).T])
    x = sample(denoise, SCHEDULE, SAMPLERS[sampler](), alpha * MEAN + rows, times) / alpha_0
    away = x[1:] - x[:1]
    return x[0], away.T @ away


def correlation(k: Tensor, distance: int) -> float:
    """The mean correlation of places so far apart."""
    v = k.diagonal()
    return float((k.diagonal(distance) / (v[distance:] * v[: len(v) - distance]).sqrt()).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--lengths", type=float, nargs="+", default=[1.5, 2, 4], help="in windows")
    parser.add_argument("--r", type=float, nargs="+", default=[0.9, 0.98])
    parser.add_argument("--sampler", choices=[name for name, kind in SAMPLERS.items() if not kind.stochastic])
    parser.add_argument("--steps", type=int, default=200)
    parser.set_defaults(sampler="dpm++3m")
    args = parser.parse_args()
    torch.set_num_threads(1)
    window = args.window
    distances = (1, window // 2, window)
    print(
        "| r | windows long | bias of the mean | variance: least, mean | "
        + " | ".join(f"correlation at {k} (truth)" for k in distances)
        + " | of the ends (truth) | worst of the whole |\n|"
        + "---|" * (6 + len(distances))
    )
    for r in args.r:
        part = conditional(Autoregressive(SCHEDULE, window, r, MEAN), None)
        for times in args.lengths:
            length = round(times * window)
            whole = conditional(Autoregressive(SCHEDULE, length, r, MEAN), None)
            control = made(whole, length, r, args.sampler, args.steps)[1] - covariance(length, r)
            parts = windowed(lambda start, part=part: part, length, window, starts(length, window))
            mean, k = made(parts, length, r, args.sampler, args.steps)
            near = " | ".join(f"{correlation(k, d):.3f} ({r**d:.3f})" for d in distances)
            ends = f"{correlation(k, length - 1):.3f} ({r ** (length - 1):.3f})"
            v, bias = k.diagonal(), float((mean - MEAN).abs().max())
            print(
                f"| {r:g} | {times:g} | {bias:.0e} | {v.min():.3f}, {v.mean():.3f} | {near} | "
                f"{ends} | {float(control.abs().max()):.0e} |"
            )


if __name__ == "__main__":
    main()
