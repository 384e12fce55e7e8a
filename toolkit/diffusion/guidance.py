"""Guidance: denoisers made from denoisers. Every guided denoiser is a `Denoise` again, so they compose.

The convention is x_hat = uncond + w (cond - uncond): w = 1 is the conditional model, w = 0 the unconditional
one. Papers that write (1 + w) cond - w uncond (Ho and Salimans 2022, eq. 6) use our w minus 1: `from_paper`.
All are affine in x_hat with weights that sum to one, so guiding x_hat, eps, v or the velocity is the same.
t is () or (B,); with (B,) each example is treated as it would be by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser
from toolkit.diffusion.recall import Composed, Denoise, Estimates, estimate
from toolkit.diffusion.schedule import Schedule


def from_paper(w: float) -> float:
    """Return our w for the w of Ho and Salimans (2022)."""
    return 1 + w


def conditional(denoiser: Denoiser, cond: Cond | None) -> Denoise:
    """Return the denoiser under a condition (None or null labels: unconditional)."""
    return Conditional(denoiser, cond)


def classifier_free(denoiser: Denoiser, cond: Cond, null: Cond, w: float, rescale: float = 0.0) -> Denoise:
    """Return classifier-free guidance (Ho and Salimans 2022), both halves in one batch.

    w = 1 and w = 0 call the network once, on B examples, and change nothing. `rescale` in [0, 1] brings the
    deviation of each example towards that of the conditional x_hat (Lin et al. 2024, eq. 15-16).
    Raises ValueError when the names of the conditions in `null` and `cond` differ.
    """
    if w == 1:
        return Conditional(denoiser, cond)
    if w == 0:
        return Conditional(denoiser, null)
    return ClassifierFree(denoiser, cond, null, w, rescale)


def autoguidance(strong: Denoise, weak: Denoise, w: float, rescale: float = 0.0) -> Denoise:
    """Return weak + w (strong - weak) (Karras et al. 2024, eq. 3), where `weak` is a smaller or earlier model.

    With weak = strong this changes nothing.
    """
    return strong if w == 1 else Autoguidance(strong, weak, w, rescale)


def interval(inside: Denoise, outside: Denoise, schedule: Schedule, low: float, high: float) -> Denoise:
    """Return `inside` where low <= lambda_t <= high (log-SNR), `outside` elsewhere (Kynkaanniemi et al. 2024).

    Only the denoiser that applies is called. Raises ValueError when `low` is not below `high`.
    """
    return Interval(inside, outside, schedule, low, high)


def clip(denoise: Denoise, low: float, high: float) -> Denoise:
    """Limit x_hat to the range of the data; samplers derive eps_hat from x_hat, so it follows.

    Raises ValueError when `low` is above `high`.
    """
    return Clip(denoise, low, high)


@dataclass(frozen=True, eq=False)
class Conditional(Composed):
    """A denoiser under a condition. With self-conditioning it gets its own x_hat of the call before, none at first."""

    denoiser: Denoiser
    cond: Cond | None

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        if not self.denoiser.self_conditioning:
            return self.denoiser(x_t, t, self.cond)
        last = estimates.last(self.denoiser, self.cond)
        x_hat: Tensor = self.denoiser(x_t, t, _with(self.cond or {}, last))
        estimates.keep(self.denoiser, self.cond, x_hat)
        return x_hat


@dataclass(frozen=True, eq=False)
class ClassifierFree(Composed):
    """null + w (cond - null). Each half is conditioned on its own last x_hat, or on the other's where it has none.

    So a half that starts later, inside an interval, has an estimate too, and the halves differ by the condition only.
    """

    denoiser: Denoiser
    cond: Cond
    null: Cond
    w: float
    rescale: float
    both: Cond = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.cond.keys() != self.null.keys():
            raise ValueError(f"the halves have other conditions: {', '.join(self.cond)}; {', '.join(self.null)}")
        both = {name: torch.cat([value, self.null[name]]) for name, value in self.cond.items()}
        object.__setattr__(self, "both", both)

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        halves = self.cond, self.null
        earlier = [last for cond in halves if (last := estimates.last(self.denoiser, cond)) is not None]
        both = torch.cat([earlier[0], earlier[-1]]) if earlier else None
        x_hat = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]) if t.ndim else t, _with(self.both, both))
        with_cond, without = x_hat.chunk(2)
        if self.denoiser.self_conditioning:
            estimates.keep(self.denoiser, self.cond, with_cond)
            estimates.keep(self.denoiser, self.null, without)
        return _rescale(without + self.w * (with_cond - without), with_cond, self.rescale)


@dataclass(frozen=True, eq=False)
class Autoguidance(Composed):
    """weak + w (strong - weak)."""

    strong: Denoise
    weak: Denoise
    w: float
    rescale: float

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        good, bad = estimate(self.strong, x_t, t, estimates), estimate(self.weak, x_t, t, estimates)
        return _rescale(bad + self.w * (good - bad), good, self.rescale)


@dataclass(frozen=True, eq=False)
class Interval(Composed):
    """`inside` where low <= lambda_t <= high, `outside` elsewhere.

    Where both use one denoiser under one condition, they share its last x_hat across the border.
    """

    inside: Denoise
    outside: Denoise
    schedule: Schedule
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"an interval of log-SNR goes from low to high, got {self.low} to {self.high}")

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        log_snr = self.schedule.log_snr(t)
        within = (self.low <= log_snr) & (log_snr <= self.high)
        if within.all():
            return estimate(self.inside, x_t, t, estimates)
        outside = estimate(self.outside, x_t, t, estimates)
        if not within.any():
            return outside
        return torch.where(_expand(within, x_t), estimate(self.inside, x_t, t, estimates), outside)


@dataclass(frozen=True, eq=False)
class Clip(Composed):
    """x_hat limited to low ... high."""

    denoise: Denoise
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"x_hat is clipped from low to high, got {self.low} to {self.high}")

    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        return estimate(self.denoise, x_t, t, estimates).clamp(self.low, self.high)


def _with(cond: Cond, estimate: Tensor | None) -> Cond:
    return cond if estimate is None else {**cond, "estimate": estimate}


def _rescale(guided: Tensor, reference: Tensor, phi: float) -> Tensor:
    if phi == 0:
        return guided
    wide, narrow = (_expand(x.flatten(1).std(1), x) for x in (guided, reference))
    return guided * (phi * narrow / wide + (1 - phi))


def _expand(value: Tensor, like: Tensor) -> Tensor:
    """Return a value for each example, (B,), in a shape that broadcasts with `like`, (B, *)."""
    return value.reshape(-1, *[1] * (like.ndim - 1))
