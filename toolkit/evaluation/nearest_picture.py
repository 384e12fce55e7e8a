"""Samples beside the training examples that are nearest to them, as a picture."""

from __future__ import annotations

import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional

from toolkit.modality import Modality

SHOWN = 16
_GAP = 24


def nearest_picture(modality: Modality, raw: Tensor, nearest: Tensor, distance: Tensor) -> PIL.Image.Image:
    """Return a picture of samples at the left and the nearest training examples in the same places at the right.

    raw: (n, ...); nearest, distance: (n,), as in `EvaluationResult`. Half of the samples are the nearest of all, the
    likeliest copies, in order; the other half are the first ones.
    """
    close = distance.argsort()[: SHOWN // 2]
    rest = torch.tensor([i for i in range(len(raw)) if i not in set(close.tolist())][: SHOWN // 2], dtype=torch.int64)
    rows = torch.cat([close, rest])
    mine, real = raw[rows], modality.dataset("train").take(nearest[rows]).raw
    length = max(mine.shape[-1], real.shape[-1])
    mine, real = (functional.pad(x, (0, length - x.shape[-1])) for x in (mine, real))
    sides = [modality.preview(x).convert("RGB") for x in (mine, real)]
    width = sum(side.width for side in sides) + _GAP
    whole = PIL.Image.new("RGB", (width, max(side.height for side in sides)), "white")
    whole.paste(sides[0], (0, 0))
    whole.paste(sides[1], (sides[0].width + _GAP, 0))
    return whole
