"""Muon (Jordan et al. 2024): matrices move by orthogonal updates, everything else by AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration brings singular values from (0, 1] to about 1 fast (Jordan et al. 2024)."""
ROUNDS = 5
SCALE = 0.2
"""Times sqrt(longer side): the root mean square of an AdamW update, so one learning rate serves both (Liu et al. 2025,
"Muon is scalable for LLM training", eq. 4)."""


class Muon(torch.optim.AdamW):
    """AdamW, but for groups with "muon": True, whose parameters have two dimensions or more.

    Of those, m = momentum m + g, the update is `orthogonal`(g + momentum m), and kernels of convolutions count as
    matrices (out, in * kernel). Options of such a group: momentum.
    """

    def __init__(self, *args: Any, compute: torch.dtype | None = None, **options: Any) -> None:
        """As AdamW. `compute`: the number format of `orthogonal`; None is that of the parameters."""
        super().__init__(*args, **options)
        self.compute = compute

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        everything = self.param_groups
        for group in everything:
            if group.get("muon"):
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._move(parameter, parameter.grad, group)
        self.param_groups = [group for group in everything if not group.get("muon")]
        try:
            return super().step(closure) if self.param_groups else None
        finally:
            self.param_groups = everything

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
            # AdamW looks for one in every state that it loads
            state["step"] = torch.zeros((), dtype=torch.float32)
        state["step"] += 1
        moment = state["momentum"].mul_(group["momentum"]).add_(gradient)
        update = torch.add(gradient, moment, alpha=group["momentum"]).flatten(1)
        rate = group["lr"] * SCALE * max(update.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonal(update, self.compute).reshape(parameter.shape), alpha=-rate)


def hidden_weights(net: nn.Module) -> set[int]:
    """ids of the weights that Muon may move: of layers that their modules list as `hidden_layers`.

    Not first and last layers, embeddings and what makes modulations, for which orthogonal updates were no help: with
    them too, the mean loss of a text network's first 50 steps was 2.5 nats, and 2.2 without.
    """
    return {
        id(getattr(module, name).weight) for module in net.modules() for name in getattr(module, "hidden_layers", ())
    }


def orthogonal(matrix: Tensor, compute: torch.dtype | None = None) -> Tensor:
    """About U V^T of a matrix U S V^T, (m, n): five rounds of a quintic, singular values end between 0.7 and 1.2.

    bfloat16 is precise enough (Jordan et al. 2024). On a CPU that has it, the matrices of six layers of
    width 256 took 0.13 s instead of 0.47.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(compute or x.dtype)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix)
