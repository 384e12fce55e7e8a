"""The choice of given and generated tokens: at random while training, and as a user writes it."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from toolkit.diffusion.randomness import Draws

MOST_HOLES = 3
_HOLES, _ENDS = 1 + 2 * MOST_HOLES, 3
"""Numbers that are drawn for each way to give tokens."""
_PART = re.compile(r"((?:\\_|[^_])+)|(_+)", re.DOTALL)


def draw_given(lengths: Tensor, width: int, share: float, draws: Draws) -> Tensor:
    """(B, width) bool: tokens that are given to the network, which has to generate the others.

    lengths: (B,) int64, real tokens of each row, 1 to width. share: of the rows in which any are given at all. Of
    those, a third has one to three holes and everything else given, a third has tokens given here and there at a rate
    uniform in [0, 1], and a third has a beginning, an end, or both given. Padding is never given, and at least one
    real token of each row is not.
    """
    size = lengths[:, None]
    place = torch.arange(width).expand(len(lengths), width)
    # drawn together, as every further stream costs some microseconds for each row
    kind, rate, any_, free, *others = draws.uniform("given", 4 + _HOLES + _ENDS).split(1, 1)
    holes, ends = torch.cat(others[:_HOLES], 1), torch.cat(others[_HOLES:], 1)
    here_and_there = draws.uniform("tokens", width) < rate
    given = torch.where((kind * 3).long() == 0, _outside_holes(size, place, holes), here_and_there)
    given = torch.where((kind * 3).long() == 2, _at_ends(size, place, ends), given)
    given &= (place < size) & (any_ < share)
    free = (free * size).long()
    return given & ~((given.sum(dim=1, keepdim=True) >= size) & (place == free))


def parse_holes(text: str) -> list[str | int]:
    r"""Return what a user gives in parts: texts, and holes as their number of characters. `parse_holes("To __, or")` is
    ["To ", 2, ", or"]. A run of underscores is a hole; `\_` is an underscore."""
    parts = _PART.findall(text)
    return [given.replace(r"\_", "_") if given else len(hole) for given, hole in parts]


def _outside_holes(size: Tensor, place: Tensor, drawn: Tensor) -> Tensor:
    """One to three holes, each of 1 to size / (number of holes) tokens; they may meet. drawn: (B, _HOLES)."""
    holes = 1 + (drawn[:, :1] * MOST_HOLES).long()
    longest = (size // holes).clamp(min=1)
    length = 1 + (drawn[:, 1 : 1 + MOST_HOLES] * longest).long()
    begin = (drawn[:, 1 + MOST_HOLES :] * (size - length + 1)).long()
    inside = (place[:, None] >= begin[:, :, None]) & (place[:, None] < (begin + length)[:, :, None])
    return ~(inside & (torch.arange(MOST_HOLES) < holes)[:, :, None]).any(dim=1)


def _at_ends(size: Tensor, place: Tensor, drawn: Tensor) -> Tensor:
    """A beginning, an end, or both; what is left between begins and ends anywhere. drawn: (B, _ENDS)."""
    which = (drawn[:, :1] * 3).long()
    cuts = (drawn[:, 1:] * (size + 1)).long().sort(dim=1).values
    begin, end = cuts[:, :1], cuts[:, 1:]
    first = (place < begin) & (which != 1)
    return first | ((place >= end) & (which != 0))
