"""Guidance: a denoiser made from denoisers. Everything here returns a `Denoise`, and wraps into the next.

The convention is x_hat = uncond + w (cond - uncond): w = 1 is the conditional model, w = 0 the unconditional
one. Papers that write (1 + w) cond - w uncond (Ho and Salimans 2022, eq. 6) use our w minus 1: `from_paper`.
All of it is affine in x_hat with weights that sum to one, so guiding x_hat, eps, v or the velocity is the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.sampler import Denoise
from toolkit.diffusion.schedule import Schedule


def from_paper(w: float) -> float:
    """Our w for the w of Ho and Salimans (2022)."""
    return 1 + w


def conditional(denoiser: Denoiser, cond: Cond | None) -> Denoise:
    """The denoiser under a condition (None or null labels: unconditional)."""
    call = recalling(denoiser)
    return lambda x_t, t: call(x_t, t, cond)


def recalling(denoiser: Denoiser) -> Callable[[Tensor, Tensor, Cond | None], Tensor]:
    """The denoiser; one that recalls is told its own x_hat of the call before, none at first."""
    if not denoiser.recalls:
        return denoiser
    last: list[Tensor] = []

    def call(x_t: Tensor, t: Tensor, cond: Cond | None) -> Tensor:
        estimate = {"estimate": last[0]} if last else {}
        last[:] = [denoiser(x_t, t, {**(cond or {}), **estimate})]
        return last[0]

    return call


def classifier_free(denoiser: Denoiser, cond: Cond, null: Cond, w: float, rescale: float = 0.0) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2022), both halves in one batch.

    w = 1 and w = 0 call the network once, on B examples, and change nothing. `rescale` in [0, 1] brings the
    deviation of each example towards that of the conditional x_hat (Lin et al. 2024, eq. 15-16).
    """
    if w == 1:
        return conditional(denoiser, cond)
    if w == 0:
        return conditional(denoiser, null)
    both = {name: torch.cat([cond[name], null[name]]) for name in cond}
    call = recalling(denoiser)

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        with_cond, without = call(torch.cat([x_t, x_t]), t, both).chunk(2)
        return _rescale(without + w * (with_cond - without), with_cond, rescale)

    return guided


def autoguidance(strong: Denoise, weak: Denoise, w: float, rescale: float = 0.0) -> Denoise:
    """weak + w (strong - weak) (Karras et al. 2024, eq. 3), where `weak` is a smaller or earlier model.

    With weak = strong it changes nothing.
    """
    if w == 1:
        return strong

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        good, bad = strong(x_t, t), weak(x_t, t)
        return _rescale(bad + w * (good - bad), good, rescale)

    return guided


def interval(inside: Denoise, outside: Denoise, schedule: Schedule, low: float, high: float) -> Denoise:
    """`inside` where low <= lambda_t <= high (log-SNR), `outside` elsewhere (Kynkaanniemi et al. 2024)."""
    if not low < high:
        raise ValueError(f"an interval of log-SNR goes from low to high, got {low} to {high}")

    def limited(x_t: Tensor, t: Tensor) -> Tensor:
        return inside(x_t, t) if low <= float(schedule.log_snr(t)) <= high else outside(x_t, t)

    return limited


def clip(denoise: Denoise, low: float, high: float) -> Denoise:
    """x_hat limited to the range of the data; samplers derive eps_hat from x_hat, so it follows."""
    return lambda x_t, t: denoise(x_t, t).clamp(low, high)


def _rescale(guided: Tensor, reference: Tensor, phi: float) -> Tensor:
    if phi == 0:
        return guided
    wide, narrow = (x.flatten(1).std(1).reshape(-1, *[1] * (x.ndim - 1)) for x in (guided, reference))
    return guided * (phi * narrow / wide + (1 - phi))
