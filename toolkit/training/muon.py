"""Muon (Jordan et al. 2024): matrices move by orthogonal updates, everything else by AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ROUNDS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
"""a, b, c of a x + b x^3 + c x^5 for each round. The first is nearest to 1 on [0.01, 1] in the largest error, and each
further one on what the one before leaves (Amsel et al. 2025, "Polar Express"): singular values in [0.01, 1] end within
0.27 of 1, and smaller ones grow 78-fold."""
MARGIN = 1.02
"""Margin for rounding below float32: beyond the interval that a round was made for, its quintic is steep."""
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
    """About U V^T of a matrix U S V^T, (m, n): three rounds of a quintic, see `ROUNDS`.

    bfloat16 is precise enough (Jordan et al. 2024), with a margin in every round but the last (Amsel et al. 2025);
    `small_rounds` is for float32.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(compute or x.dtype)
    square = x @ x.T
    # a bound of the largest singular value that is a round nearer than the norm of x
    bound = square.norm().sqrt().clamp_min(1e-7)
    if x.dtype == torch.float32:
        rounds = small_rounds if x.shape[1] >= 2 * x.shape[0] else direct_rounds
        x = rounds(x / bound, square / bound.square())
    else:
        bound = bound * MARGIN
        x = direct_rounds(x / bound, square / bound.square(), MARGIN)
    return (x.T if tall else x).to(matrix)


def direct_rounds(x: Tensor, square: Tensor, margin: float = 1.0) -> Tensor:
    """Return the quintics of x (m, n), singular values up to 1; `square` (m, m) is x x^T. Each round but the last takes
    its input for `margin` times smaller."""
    for i, (a, b, c) in enumerate(ROUNDS):
        if i:
            square = x @ x.T
        if i < len(ROUNDS) - 1:
            a, b, c = a / margin, b / margin**3, c / margin**5
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def small_rounds(x: Tensor, square: Tensor) -> Tensor:
    """Return `direct_rounds` by (m, m) matrices until the last product: 4 m^3 a round instead of m^3 + 2 m^2 n."""
    factors: list[Tensor] = []
    for a, b, c in ROUNDS:
        if factors:
            square = factors[-1] @ square @ factors[-1]
        factors.append(torch.addmm(square, square, square, beta=b, alpha=c))
        factors[-1].diagonal().add_(a)
    for factor in reversed(factors):  # from the right: one wide product at the end
        square = factor if factor is factors[-1] else square @ factor
    return square @ x
