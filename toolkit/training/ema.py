"""Power-function averages of the weights (Karras et al. 2024, "Analyzing and Improving the Training Dynamics of
Diffusion Models", section 3 and appendix C).

The average at step t gives step s the weight integral of (gamma + 1) u^gamma / t^(gamma + 1) over [s - 1, s]. It is a
peak whose width is a fixed share of t ("relative width", its standard deviation over t), so there is no warm-up to
tune: the start of the training fades by itself. Averages with two widths at two steps can be combined afterwards into
one of any width in between and a little below (`reconstruct`): a copy is kept at 0.9 of a training for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from toolkit.errors import ToolkitError, UsageError, unknown

MAX_WIDTH = math.sqrt(1 / 12)
"""Width of gamma = 0, the plain mean of all steps."""
KEPT_AT = 0.9
"""Progress of a training at which the averages are copied for `reconstruct`."""
USEFUL = (0.8, 0.935)
"""Shares of the updates at the end that the copy may be of: nearer or farther it tells too little of other widths."""
TOLERANCE = 0.08
"""The largest error of a reconstructed profile in the L2 norm: that of width 0.03 from 0.05 and 0.1, at KEPT_AT."""


def width_of_gamma(gamma: float) -> float:
    """Relative width, in (0, sqrt(1/12)], of the power `gamma` >= 0: the standard deviation of the profile over t."""
    return math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))


def gamma_of_width(width: float) -> float:
    """The inverse of `width_of_gamma`, bisected to the last bit. Raises UsageError outside (0, sqrt(1/12)]."""
    if not 0 < width <= MAX_WIDTH:
        raise UsageError(f"EMA width {width:g} is not possible; choose one above 0 and up to 0.288, e.g. 0.05")
    low, high = 0.0, 1 / width  # width < 1 / (gamma + 2), and it falls as gamma grows
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if width_of_gamma(middle) > width else (low, middle)
    return low


class PowerEMA:
    """Averages of `params` (name -> floating tensor of any shape), one for each relative width, in float32.

    Before the first update they equal `params`.
    """

    def __init__(self, params: Mapping[str, Tensor], widths: Sequence[float]) -> None:
        self.widths = tuple(widths)
        self._power = {_tag(width): gamma_of_width(width) + 1 for width in self.widths}
        self._names = list(params)
        first = [tensor.detach().float() for tensor in params.values()]
        self._average = {tag: [tensor.clone() for tensor in first] for tag in self._power}
        self.copied: EarlierAverages | None = None
        """All averages at an earlier step."""

    @torch.no_grad()
    def update(self, step: int, params: Mapping[str, Tensor]) -> None:
        """Take in `params` after optimiser step `step` (from 1): beta = (1 - 1/step)^(gamma + 1)."""
        if step < 1:
            raise ValueError(f"steps are counted from 1, not {step}")
        now = [params[name].detach().float() for name in self._names]
        for tag, power in self._power.items():
            torch._foreach_lerp_(self._average[tag], now, 1 - (1 - 1 / step) ** power)

    def copy(self, step: int) -> None:
        """Keep all averages as they are after `step`, in the processor's memory, in place of what was kept before."""
        self.copied = EarlierAverages(step, {name: tensor.cpu().clone() for name, tensor in self.state_dict().items()})

    def weights(self, width: float) -> dict[str, Tensor]:
        """The average of relative `width`, float32; the live tensors, so copy before changing them."""
        if _tag(width) not in self._average:
            raise unknown("EMA width", _tag(width), self._average)
        return dict(zip(self._names, self._average[_tag(width)]))

    def state_dict(self) -> dict[str, Tensor]:
        """All averages, flat: "0.05/conv.weight" -> the live tensor."""
        return {f"{tag}/{name}": tensor for tag in self._average for name, tensor in self.weights(float(tag)).items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy `state` in. Raises ToolkitError when names or shapes are not those of these parameters and widths."""
        own = self.state_dict()
        wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
        if wrong:
            raise ToolkitError(f"the stored averages do not fit this network and train.ema (first: '{wrong[0]}')")
        for name, tensor in own.items():
            tensor.copy_(state[name])


class EarlierAverages(NamedTuple):
    """All averages of an earlier step."""

    step: int
    """Updates taken by then."""
    averages: dict[str, Tensor]
    """As `PowerEMA.state_dict` has them, on the CPU."""


class Snapshot(NamedTuple):
    """One stored average."""

    step: int
    width: float
    weights: Mapping[str, Tensor]


def reconstruct(snapshots: Sequence[Snapshot], width: float, step: int | None = None) -> dict[str, Tensor]:
    """The average of relative `width` at `step` (default: the last stored), from stored ones of other widths, float32.

    Raises UsageError when `step` is after the last snapshot.
    """
    factors = coefficients([(s.step, s.width) for s in snapshots], width, step)
    used = [(c, s.weights) for c, s in zip(factors.tolist(), snapshots) if c != 0]
    total = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in snapshots[0].weights.items()}
    for factor, weights in used:
        for name, tensor in total.items():
            tensor.add_(weights[name], alpha=factor)
    return {name: tensor.float() for name, tensor in total.items()}


def coefficients(stored: Sequence[tuple[int, float]], width: float, step: int | None = None) -> Tensor:
    """Factors of the `stored` averages (step, relative width) whose sum is nearest to the one asked for: (n,) float64.

    Least squares between the averages' weight profiles (the paper's appendix C), with the factors made to sum to 1,
    so that weights which never moved come out unchanged.
    """
    if not stored:
        raise UsageError("there are no stored averages to combine; store some during training")
    times = torch.tensor([float(at) for at, _ in stored], dtype=torch.float64)
    goal = times.max() if step is None else torch.tensor(float(step), dtype=torch.float64)
    if not 0 < goal <= times.max():
        raise UsageError(f"no average at step {step} can be made from averages stored up to step {int(times.max())}")
    gammas = torch.tensor([gamma_of_width(w) for _, w in stored], dtype=torch.float64)
    gamma = torch.tensor(gamma_of_width(width), dtype=torch.float64)
    n = len(stored)
    system, right = torch.ones(n + 1, n + 1, dtype=torch.float64), torch.ones(n + 1, dtype=torch.float64)
    # In units of the last step, which brings the profiles' products near to 1, the size of the constraint's row.
    times, goal = times / times.max(), goal / times.max()
    system[:n, :n] = _product(times[:, None], gammas[:, None], times, gammas)
    system[n, n] = 0
    right[:n] = _product(times, gammas, goal, gamma)
    return torch.linalg.lstsq(system, right[:, None], driver="gelsd").solution[:n, 0]


def profile_error(stored: Sequence[tuple[int, float]], width: float) -> float:
    """Return the distance of the best combination of `stored` (step, width) from the profile of `width` at the end,
    relative to it, in the L2 norm."""
    factors = coefficients(stored, width)
    last = max(step for step, _ in stored)
    times = torch.tensor([step / last for step, _ in stored], dtype=torch.float64)
    gammas = torch.tensor([gamma_of_width(w) for _, w in stored], dtype=torch.float64)
    gamma, end = torch.tensor(gamma_of_width(width), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    whole = _product(end, gamma, end, gamma)
    cross = factors @ _product(times, gammas, end, gamma)
    square = factors @ _product(times[:, None], gammas[:, None], times, gammas) @ factors
    return math.sqrt(max(0.0, float((whole - 2 * cross + square) / whole)))


def widths_from(stored: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The least and the largest width that `stored` averages (step, width) give within `TOLERANCE`, by bisection.

    The largest is the largest that is stored: beyond it the past counts that none of them remembers.
    """
    least = most = min(width for _, width in stored)
    low = least / 16
    for _ in range(30):
        middle = math.sqrt(low * least)
        low, least = (low, middle) if profile_error(stored, middle) <= TOLERANCE else (middle, least)
    for width in torch.linspace(most, max(width for _, width in stored), 33, dtype=torch.float64).tolist()[1:]:
        if profile_error(stored, width) > TOLERANCE:
            break
        most = width
    return least, most


def _product(t: Tensor, gamma: Tensor, s: Tensor, other: Tensor) -> Tensor:
    """Integral of two profiles' product: (gamma + 1) u^gamma / t^(gamma + 1) up to t, and the same of `other` to s."""
    ratio = torch.where(t < s, (t / s) ** other, (s / t) ** gamma)
    return (gamma + 1) * (other + 1) / (gamma + other + 1) * ratio / torch.maximum(t, s)


def _tag(width: float) -> str:
    return f"{width:g}"
