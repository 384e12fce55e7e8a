"""Denoisers that are told what they found before (self-conditioning), and denoisers that are made of them.

What was found belongs to a trajectory, not to the denoiser: `Following` holds it for as long as one trajectory lasts
and hands it down through each `Composed`. A call from elsewhere is told nothing, so it is a function of x_t and t.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, *), t () or, for likelihoods, (B,)) -> E[x | x_t] (B, *)."""


class Estimates:
    """The last x_hat of each denoiser under each condition, in each window: nothing at first.

    All that takes part in one call is told what was found before that call; `turn` ends it.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[int, ...], Tensor] = {}
        self._now: dict[tuple[int, ...], Tensor] = {}
        self._place: tuple[int, ...] = ()

    def last(self, denoiser: Denoiser, cond: Cond | None) -> Tensor | None:
        """What this denoiser found under this condition, (B, *). Both are known by identity."""
        return self._before.get(self._key(denoiser, cond))

    def keep(self, denoiser: Denoiser, cond: Cond | None, x_hat: Tensor) -> None:
        """Remember an x_hat for the calls after this one."""
        self._now[self._key(denoiser, cond)] = x_hat

    def within(self, start: int) -> Estimates:
        """The same memory, for the window that begins at `start`."""
        part = Estimates()
        part._before, part._now, part._place = self._before, self._now, (*self._place, start)
        return part

    def turn(self) -> None:
        """From now on, what was found in this call is what was found before."""
        self._before.update(self._now)

    def _key(self, denoiser: Denoiser, cond: Cond | None) -> tuple[int, ...]:
        return (*self._place, id(denoiser), id(cond))


class Composed(ABC):
    """A `Denoise` made of others: a function of x_t and t, with no state. Final classes give `told`."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """E[x | x_t] of a call outside a trajectory: (B, *) for x_t (B, *) and t () or (B,)."""
        return self.told(x_t, t, Estimates())

    @abstractmethod
    def told(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        """The same, told what the trajectory has found; what is found now is kept there."""


def told(denoise: Denoise, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
    """`denoise` at x_t, told what was found before where it can be: a plain function cannot."""
    return denoise.told(x_t, t, estimates) if isinstance(denoise, Composed) else denoise(x_t, t)


class Following:
    """A denoiser as one trajectory calls it: each call is told what the calls before found, the first one nothing."""

    x_hat: Tensor
    """What the last call found, (B, *)."""

    def __init__(self, denoise: Denoise) -> None:
        self._denoise, self._estimates = denoise, Estimates()

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.x_hat = told(self._denoise, x_t, t, self._estimates)
        self._estimates.turn()
        return self.x_hat
