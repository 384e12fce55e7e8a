"""Dropout whose masks are functions of the examples of a batch, not of the order in which layers run."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Module):
    """x times 0 with probability `p` and times 1 / (1 - p) else, while training (Srivastava et al. 2014)."""

    draw: Callable[[Tensor, int], Tensor] | None = None
    """(keys (B, K) int64, n) -> (B, n) uniform in [0, 1) for this layer; the training loop sets it by `attach`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Drop by `keys`, a row for each example that determines its mask; without keys, by torch's generator."""
        if not self.training or self.p == 0:
            return x
        if keys is None or self.draw is None:
            return functional.dropout(x, self.p)
        mask = self.draw(keys, x[0].numel()) >= self.p
        return x * (mask.view(x.shape).to(x) / (1 - self.p))


def attach(net: nn.Module, draw: Callable[[str, Tensor, int], Tensor]) -> bool:
    """Set `draw` of every `Dropout` of a network, by its name: draw(layer, keys, n). Return False when none drops."""
    active = False
    for name, module in net.named_modules():
        if isinstance(module, Dropout) and module.p > 0:
            module.draw = _NamedDraw(draw, name)
            active = True
    return active


class _NamedDraw:
    """`draw` for one layer; an object and not a closure, so that networks can be copied."""

    def __init__(self, draw: Callable[[str, Tensor, int], Tensor], layer: str) -> None:
        self.source, self.layer = draw, layer

    def __call__(self, keys: Tensor, n: int) -> Tensor:
        return self.source(self.layer, keys, n)
