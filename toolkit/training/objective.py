"""The loss of each example: the denoiser's own, or a function of the user's in its place."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from toolkit.diffusion.denoiser import Denoiser
from toolkit.errors import ToolkitError

Objective = Callable[[Denoiser, Tensor, Tensor, Tensor, dict[str, Tensor]], Tensor]
"""(denoiser, encoded data x (B, ...), t (B,), noise eps (B, *), conditions) -> one loss for each example, (B,)."""


def example_losses(
    objective: Objective | None, denoiser: Denoiser, x: Tensor, t: Tensor, eps: Tensor, cond: dict[str, Tensor]
) -> Tensor:
    """Return the loss of each example, the denoiser's own or a researcher's objective: (B,). Raises ToolkitError."""
    if objective is None:
        return denoiser.loss(x, t, eps, cond)
    loss = objective(denoiser, x, t, eps, cond)
    if loss.shape != t.shape:
        raise ToolkitError(f"a loss is one number for each example, {tuple(t.shape)}, not {tuple(loss.shape)}")
    return loss
