"""The conditions of a network: in training from the data, in sampling from the user's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from toolkit.data.dataset import Examples
from toolkit.recipe.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.diffusion.randomness import Draws


class Request(NamedTuple):
    """Some of the examples to be sampled, all of one shape."""

    which: tuple[int, ...]
    """Their places in the list of positions."""
    shape: tuple[int, ...]
    """Shape of one example in model space."""
    cond: dict[str, Tensor] = {}
    """Conditions besides `label`, one row for each of `which`."""
    window: int | None = None
    """Positions of the last axis that the network sees at once, where the example is longer than it was trained for."""
    stride: int = 1
    """Windows begin at multiples of so many positions."""


class Conditioning:
    """Training examples and samples as they are, of one shape, with a label or none. Override what should differ."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def batch(self, examples: Examples, draws: Draws) -> Examples:
        """Return training examples as the network meets them: augmented, with all conditions, cut to need.

        Random numbers come from `draws` alone, which has a row for each example.
        """
        return examples

    def plan(self, options: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """Return what to sample at `positions`: one request, or several where shapes differ.

        `options`: a `Modality.SampleOptions`; `labels`: (B,) int64 or None. Random numbers are functions of (seed,
        position). Raises UsageError, DataError.
        """
        return [Request(tuple(range(len(positions))), self.shape)]

    def count(self, options: Options) -> int | None:
        """Return the number of samples that the options imply, or None."""
        return None

    def redraw(self, request: Request, seed: int, positions: Sequence[int], round: int) -> Request:
        """Return the request with its random conditions redrawn for restart `round`; unchanged by default."""
        return request

    def finish(self, x: Tensor, cond: Mapping[str, Tensor], options: Options) -> Tensor:
        """Return samples x (B, *shape) after what follows the last step; `cond` are their request's."""
        return x
