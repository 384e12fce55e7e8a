"""Self-conditioning: denoisers that are conditioned on their last x_hat, and denoisers that are made of them.

The last x_hat belongs to a trajectory, not to the denoiser: `Following` holds it while one trajectory lasts and passes
it down through each `Composed`. A call from elsewhere has no last x_hat, so it is a function of x_t and t.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from toolkit.diffusion.denoiser import Cond, Denoiser

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, *), t () or, for likelihoods, (B,)) -> E[x | x_t] (B, *)."""


class Estimates:
    """The last x_hat of each denoiser under each condition, in each window: empty at first.

    All denoisers that take part in one call get the estimates from before that call; `turn` ends the call.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[int, ...], Tensor] = {}
        self._now: dict[tuple[int, ...], Tensor] = {}
        self._place: tuple[int, ...] = ()

    def last(self, denoiser: Denoiser, cond: Cond | None) -> Tensor | None:
        """Return the last x_hat of this denoiser under this condition, (B, *), or None. Both are keys by identity."""
        return self._before.get(self._key(denoiser, cond))

    def keep(self, denoiser: Denoiser, cond: Cond | None, x_hat: Tensor) -> None:
        """Store an x_hat for the calls after this one."""
        self._now[self._key(denoiser, cond)] = x_hat

    def within(self, start: int) -> Estimates:
        """Return a view of this memory for the window that begins at `start`."""
        part = Estimates()
        part._before, part._now, part._place = self._before, self._now, (*self._place, start)
        return part

    def turn(self) -> None:
        """End a call: `last` returns its estimates from now on."""
        self._before.update(self._now)

    def _key(self, denoiser: Denoiser, cond: Cond | None) -> tuple[int, ...]:
        return (*self._place, id(denoiser), id(cond))


class Composed(ABC):
    """A `Denoise` made of others: a function of x_t and t, without state. Final classes define `estimate`."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t] outside a trajectory: (B, *) for x_t (B, *) and t () or (B,)."""
        return self.estimate(x_t, t, Estimates())

    @abstractmethod
    def estimate(self, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
        """Return E[x | x_t] given the trajectory's last `estimates`, and store the new ones there."""


def estimate(denoise: Denoise, x_t: Tensor, t: Tensor, estimates: Estimates) -> Tensor:
    """Return `denoise` at x_t given the last `estimates`, which a plain function does not take."""
    return denoise.estimate(x_t, t, estimates) if isinstance(denoise, Composed) else denoise(x_t, t)


class Following:
    """A denoiser within one trajectory: each call gets the estimates of the calls before, the first one none."""

    x_hat: Tensor
    """The x_hat of the last call, (B, *)."""

    def __init__(self, denoise: Denoise) -> None:
        self._denoise, self._estimates = denoise, Estimates()

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.x_hat = estimate(self._denoise, x_t, t, self._estimates)
        self._estimates.turn()
        return self.x_hat
